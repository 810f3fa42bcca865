"""Recordings that are composed: scores, computed instruments, drum kits, renderers."""
