"""The dashboard: a hot folder in the browser, with buttons. Needs the extra `web`."""
