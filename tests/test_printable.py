"""What may reach a terminal of the names and tags that others have written."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presets import name_text, printable

PASSED = {"\u200c", "\u200d"}


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = printable(text)

    assert not [
        letter
        for letter in shown
        if letter not in PASSED and unicodedata.category(letter)[0] == "C"
    ]
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")  # no lone surrogate is left


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_made_printable_twice_is_made_printable_once(text):
    assert printable(printable(text)) == printable(text)


@given(st.characters(categories=("L", "M", "N", "P", "S", "Zs")))
def test_letters_of_every_script_stay(letter):
    assert printable(letter) == letter


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("song\r\nall is well", r"song\x0d\x0aall is well"),
        ("a\tb\x00\x7f", r"a\x09b\x00\x7f"),
        ("\x9b31m\x85", r"\u009b31m\u0085"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("\u2028\u2029\ufeff", r"\u2028\u2029\ufeff"),
        (b"Bj\xf6rk".decode("utf-8", "surrogateescape"), r"Bj\xf6rk"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("Björk ♫ 東京\u3000夜", "Björk ♫ 東京\u3000夜"),
    ],
)
def test_what_is_seen_of(text, shown):
    assert printable(text) == shown


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"caf\xc3\xa9", "café"), (b"caf\xe9", "café"), (b"\x80\x81", "€\ufffd"), (b"", "")],
)
def test_a_name_is_text_whatever_wrote_it(raw, text):
    assert name_text(os.fsdecode(raw)) == text
