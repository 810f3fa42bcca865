"""The endings of audio files. What a file is, its content says; they tell which to look at."""

from __future__ import annotations

AUDIO_SUFFIXES = (
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".flac", ".mp3",
    ".ogg", ".oga", ".opus", ".caf", ".au", ".snd",
)  # fmt: skip
