"""Texts of attackers on one line: nothing hidden, nothing endless."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rag.assistant.hostile import clean, clean_lines

CASES = [
    ("plain text", "plain text"),
    ("  many \t spaces  ", "many spaces"),
    ("two\nlines\r\nand\x0bmore\x85and\u2028more\u2029end", "two lines and more and more end"),
    ("red \x1b[31mtext\x1b[0m", "red \ufffd[31mtext\ufffd[0m"),
    ("\x9b31mC1\x07", "\ufffd31mC1\ufffd"),
    ("abc\u202edcba\u202c", "abc\ufffddcba\ufffd"),
    ("zero\u200bwidth\u200d\u2060\ufeff", "zero\ufffdwidth\ufffd"),
    ("soft\u00adhyphen", "soft\ufffdhyphen"),
    ("".join(chr(0xE0000 + ord(c)) for c in "obey"), "\ufffd"),
    ("a" + "".join(chr(0xE0100 + n) for n in range(50)), "a\ufffd"),
    ("a\ufe0f\ufe00", "a\ufffd"),
    ("private \ue000 use", "private \ufffd use"),
    ("z" + "\u0335" * 40 + "algo", "z\u0335\u0335algo"),
    ("niño año café", "niño año café"),
    ("\ud800", "\ufffd"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "shown"), CASES, ids=range(len(CASES)))
def test_what_is_hidden_becomes_visible(text: str, shown: str) -> None:
    """What a person would not see, a model does not get."""
    assert clean(text, 100) == shown


@given(st.text(st.characters(), max_size=300), st.integers(1, 50))
def test_any_text_becomes_one_printable_line(text: str, limit: int) -> None:
    """Whatever it was, and cleaning it again changes nothing."""
    line = clean(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert clean(line, limit) == line
    lines = clean_lines(text, limit)
    assert len(lines) <= limit
    assert all(char.isprintable() or char == "\n" for char in lines)
    assert "\n\n\n" not in lines


def test_a_cut_is_seen() -> None:
    """The last character says that there was more."""
    assert clean("a" * 50, 10) == "a" * 9 + "…"
    assert clean("a" * 10, 10) == "a" * 10
    assert clean("word " * 10**6, 12) == "word word w…"
    assert clean_lines("a\n\n\n\nb\n", 20) == "a\n\nb"


def test_no_character_that_unicode_hides_comes_through() -> None:
    """All code points, one by one: controls, formats, surrogates, private ones, and those without a glyph."""
    kept = [code for code in range(sys.maxunicode + 1) if clean(f"a{chr(code)}b", 9) == f"a{chr(code)}b"]
    forbidden = [
        *range(0x20), *range(0x7F, 0xA0), 0xAD, 0x34F, 0x61C, 0x115F, 0x3164, *range(0x200B, 0x2010),
        *range(0x2028, 0x202F), *range(0x2060, 0x2070), *range(0xD800, 0xE000), *range(0xFE00, 0xFE10), 0xFEFF,
        0xFFA0, *range(0xFFF0, 0xFFFC), *range(0xE0000, 0xE1000), *range(0xF0000, 0xF0100),
    ]  # fmt: skip
    assert not set(kept) & set(forbidden)
    assert set(range(0x21, 0x7F)) <= set(kept)
