"""Texts of events are made harmless for language models, and lose nothing that can be seen."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.rpc import RequestError
from services.rag.places import Places
from services.rag.untrusted import HIDDEN, MAX_CHARS, harmless, shortened, visible

HIDDEN_TEXTS = {
    "a tag for each letter": ("ok" + "".join(chr(0xE0000 + ord(char)) for char in "obey me"), f"ok{HIDDEN}"),
    "selectors of variations": ("ok" + "".join(chr(0xE0100 + byte) for byte in b"obey me"), f"ok{HIDDEN}"),
    "right to left": ("a\u202eb\u2066c", f"a{HIDDEN}b{HIDDEN}c"),
    "zero width": ("a\u200b\u200c\u200d\ufeffb", f"a{HIDDEN}b"),
    "fillers": ("a\u3164\u115f\uffa0\u034fb", f"a{HIDDEN}b"),
    "an escape of a terminal": ("\x1b[2Ja\x07", f"{HIDDEN}[2Ja{HIDDEN}"),
    "ends of lines": ("a\nb\r\u2028c\u2029d\x85e", "a b  c d e"),
    "half a pair": ("a\ud800b", f"a{HIDDEN}b"),
    "for private use": ("a\ue000b", f"a{HIDDEN}b"),
}


@pytest.mark.parametrize("name", HIDDEN_TEXTS)
def test_what_cannot_be_seen_is_taken_out(name: str) -> None:
    """A run of hidden characters becomes one U+FFFD, the end of a line a space."""
    text, shown = HIDDEN_TEXTS[name]
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["", "plain", "PortScan (ünder*)", "日本語 العربية", "naïve Ω ½ 🙂", "a" * 5000]
)
def test_what_can_be_seen_stays(text: str) -> None:
    """Letters of all scripts, signs and pictures are as they were."""
    assert visible(text) == text


@given(st.text())
def test_nothing_hidden_comes_through(text: str) -> None:
    """Of any text at all, no control, format, private or unassigned character and no line break is left."""
    assert all(unicodedata.category(char)[0] != "C" for char in visible(text))
    assert len(visible(text).splitlines()) <= 1
    assert visible(visible(text)) == visible(text)


def test_long_texts_are_shortened_with_a_word_about_it() -> None:
    """So many characters are kept as are allowed, and the number of the others is said."""
    assert shortened("x" * MAX_CHARS) == "x" * MAX_CHARS
    assert shortened("x" * (MAX_CHARS + 7)) == "x" * MAX_CHARS + "… (7 more characters)"
    assert harmless({"as_of": "x" * 9000}, whole=True) == {"as_of": "x" * 9000}


def test_values_are_copied_with_their_keys() -> None:
    """Keys are texts of attackers too; two that look alike do not become one. The original stays."""
    value = {
        "classes": {"BE\u200bNIGN": 1, "BE\u2060NIGN": 2, "BENIGN": 3},
        "rows": [1, 2.5, None, True, "a\x00"],
    }
    before = json.dumps(value)
    assert harmless(value) == {
        "classes": {f"BE{HIDDEN}NIGN": 1, f"BE{HIDDEN}NIGN{HIDDEN}": 2, "BENIGN": 3},
        "rows": [1, 2.5, None, True, f"a{HIDDEN}"],
    }
    assert json.dumps(value) == before


def test_who_finds_no_place_is_told() -> None:
    """As many are in as may be; a place is free again however its block ended."""
    places = Places(2)
    with (
        places.taken(),
        places.taken(),
        pytest.raises(RequestError, match="ask again") as full,
        places.taken(),
    ):
        pass
    assert full.value.code == "busy"
    with pytest.raises(ZeroDivisionError), places.taken():
        raise ZeroDivisionError
    with places.taken(), places.taken():
        pass
