"""Nothing that a reader's program would open, run or draw comes through; what people write in earnest does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rag.assistant.links import REMOVED, Taken, without_links

GONE = [
    "![a](http://evil.example/?q=1)",
    "![a][ref]",
    "[click here](http://evil.example)",
    "[E1](javascript:alert(1))",
    "[a]( <http://evil.example/a b> 'title')",
    "![a](![b](http://evil.example))",
    "[![a](http://evil.example/i.png)](http://evil.example)",
    "[ref]: http://evil.example/x 'title'",
    "[ref]: //evil.example/x",
    "<http://evil.example>",
    "<me@evil.example>",
    "<img src=x onerror=alert(1)>",
    '<IMG SRC="http://evil.example"',
    "<scr<script>ipt>alert(1)</script>",
    "&lt;img src=http://evil.example&gt;",
    "&amp;lt;img src=x&amp;gt;",
    "&#104;ttp://evil.example",
    "&amp;#104;ttp://evil.example",
    "htt<b>p://evil.example</b>",
    "HTTPS://EVIL.EXAMPLE/X",
    "hxxp://evil.example",
    "http:\\\\evil.example\\x",
    "ftp://evil.example ssh://evil.example",
    "see //evil.example/x",
    "www.evil.example",
    "evil.example/x?d=10.0.0.5",
    "evil.example:8080/x",
    "data.evil.example",
    "\uff45\uff56\uff49\uff4c.example/x",
    "evil。example",
    "bücher.example/x",
    "203.0.113.5/steal?d=1",
    "203.0.113.5:80/steal",
    "203.0.113.5?d=1",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html;base64,PHNjcmlwdD4=",
    "mailto:me@evil.example",
    "<!-- hidden -->",
    "<?php echo 1 ?>",
    "</div>",
]  # fmt: skip
ALIVE = re.compile(
    r"""://|:\\\\|\]\(|!\[|<[a-z/!?]|\bwww\.|(?:javascript|data|mailto):\S|(?<!\S)//
    |[\w-][.。](?:example|com)\b|&(?:lt|amp|\#x?\d)""",
    re.IGNORECASE | re.VERBOSE,
)


@pytest.mark.parametrize("text", GONE)
def test_links_and_markup_go(text: str) -> None:
    """Alone, and in the middle of a sentence."""
    for whole in (text, f"Before {text} after.", f"({text})", f"[{text}]", text * 3):
        shown = without_links(whole, Taken())
        assert not ALIVE.search(shown), shown
    assert without_links(f"Before {text} after.", Taken()).startswith("Before")


KEPT = [
    "From 203.0.113.68:443 to 10.20.1.10 and 10.0.0.0/8, 2001:db8::1.",
    "Scores < 0.5 and > 0.3; a <- b; 3 < 4.",
    "At 2026-11-20 09:45:23.123 UTC, e.g. TCP/UDP, i.e. both; 1,280 events (0.98).",
    "Attention! [E1] shows it; AT&T is no entity, and fish & chips neither.",
    "¿Qué pasó? ¡Nada! El 20.11.2026 a las 9:45.",
    "the data: 5 events; about: 3",
]


@pytest.mark.parametrize("text", KEPT)
def test_plain_sentences_stay(text: str) -> None:
    """What analysts write has addresses, networks, times and comparisons in it."""
    taken = Taken()
    assert without_links(text, taken) == text
    assert taken == Taken()


def test_names_of_hosts_are_spelt_out() -> None:
    """So that they can be read and not clicked."""
    assert without_links("ask evil.example.com now", Taken()) == "ask evil(.)example(.)com now"


def test_what_was_taken_is_counted() -> None:
    """The reader is told that something is missing, and of what kind."""
    taken = Taken()
    shown = without_links("a ![x](http://e.example) b http://e.example <b>c</b> [d](e)", taken)
    assert shown == f"a {REMOVED} b {REMOVED} c d"
    assert taken == Taken(links=3, markup=2)


PIECES = st.sampled_from((
    "http", "://", ":", "/", "//", "evil.com", ".", "[", "]", "(", ")", "!", "<", ">", "b", "&lt;", "&amp;",
    "&#60;", "www", "\\", " ", "javascript", "a", "1.2.3.4", "?", "#", "img", "script", "data", "。", "E1",
))  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_nesting_gets_through(text: str) -> None:
    """Pieces in any order: what taking one thing out leaves behind is looked at again."""
    shown = without_links(text, Taken())
    assert not re.search(r"://|\]\(|!\[|<[a-z/!?]|\bwww\.\w|\b(?:javascript|data):[\w/.]|evil\.com", shown), (
        shown
    )


@pytest.mark.parametrize(
    "text",
    ["<a", "[a](", "![[", "a.", "a-", "&amp;", "1.1.1.1:", "\\", "//", "a:", "www.", "a@a.", "((((", "<<<<"],
)
def test_long_texts_take_no_time_to_speak_of(text: str) -> None:
    """Nothing grows faster than the text: 6,000 characters of the worst are done at once."""
    assert len(without_links(text * (6000 // len(text)), Taken())) < 60_000
