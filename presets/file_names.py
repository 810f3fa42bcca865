"""What a file may be called on every system: one set of rules for presets, stems and folders."""

from __future__ import annotations

import re
import unicodedata

# separators, what Windows forbids, controls, what is no text, and marks that reorder or hide
# what one reads
FORBIDDEN = re.compile(
    r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]'
)
_RESERVED = re.compile(
    r"\s*(con|prn|aux|nul|clock\$|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.I
)


def is_reserved(name: str) -> bool:
    """Whether Windows takes a name for a device, whatever its ending."""
    return _RESERVED.fullmatch(name) is not None


def same_name_key(name: str) -> str:
    """Equal for names that some file system would take for the same: NFC/NFD and case twins."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
