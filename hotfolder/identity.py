"""What betrays that a file is not the one that it was."""

from __future__ import annotations

import os


def identity_of(facts: os.stat_result) -> str:
    """Return what changes whenever a file is written, replaced, resized or touched."""
    times = f"{facts.st_mtime_ns}:{facts.st_ctime_ns}"
    return f"{facts.st_dev}:{facts.st_ino}:{facts.st_size}:{times}"


def content_identity(facts: os.stat_result) -> str:
    """Like `identity_of`, but a rename leaves it as it was."""
    return f"{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}"
