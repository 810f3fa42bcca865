"""The plug-in host bridge: chains, and every plug-in in a process of its own."""
