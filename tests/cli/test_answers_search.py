"""What `search` prints: what was understood, then what was found."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.answers_patterns import show_similar
from services.cli.answers_search import understood_lines

RECEIPT = {"days": ["2026-01-22"], "rows": 7, "missing": [], "took_ms": 2.34}
PLAIN: dict[str, Any] = {
    "language": "en",
    "filters": {},
    "parts": [],
    "rest": "port scan",
    "notes": [],
    "searched": "port scan",
}
GROUP = {
    "narrative": "a scan",
    "index": "fused",
    "score": 0.0312,
    "count": 1234,
    "first_seen": "2026-01-20T10:00:00.000000Z",
    "last_seen": "2026-01-22T11:30:00.000000Z",
    "classes": {"DDoS": 1234},
    "hosts": {
        side: {"count": 1, "at_least": False, "most": [{"address": "10.0.0.1", "events": 1234}]}
        for side in ("sources", "destinations")
    },
    "examples": [{"event_id": "e-1"}],
}


def test_nothing_is_said_where_the_text_is_searched_as_it_is() -> None:
    """A question without phrases that became filters has no lines before its answer."""
    assert understood_lines(PLAIN) == []


def test_what_was_understood_is_said() -> None:
    """Every phrase, the filters, the words that were searched for, and what no filter can say."""
    understood = PLAIN | {
        "parts": [{"phrase": "yesterday", "filters": {}, "means": "on 2026-01-21"}],
        "filters": {"since": "2026-01-21", "dst_port": [80, 443], "fast_triggered": True},
        "notes": ["no filter tells new hosts"],
    }
    assert understood_lines(understood) == [
        "understood 'yesterday': on 2026-01-21",
        "filters: since 2026-01-21, dst_port 80 or 443, fast_triggered true (--no-parse searches the text as it is)",
        "searched for: port scan",
        "note: no filter tells new hosts",
    ]


def test_it_is_said_when_nothing_is_left_to_search_for() -> None:
    """Filters alone list the newest."""
    lines = understood_lines(
        PLAIN
        | {
            "filters": {"class": "DDoS"},
            "rest": "",
            "searched": "",
            "parts": [{"phrase": "DDoS", "filters": {"class": "DDoS"}, "means": "of the class DDoS"}],
        }
    )
    assert lines[-1] == "searched for: nothing more, the newest come first"


def test_other_words_are_said() -> None:
    """A Spanish question shows the English words that were searched for."""
    assert understood_lines(PLAIN | {"rest": "escaneo de puertos"}) == ["searched for: port scan"]


def test_patterns_are_a_table_and_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """Each pattern has its number, score, count, span and an event to ask on with; its sentence follows."""
    show_similar({"groups": [GROUP], "understood": PLAIN})
    lines = capsys.readouterr().out.splitlines()
    for value in ("0.0312", "1,234", "2026-01-20 10:00:00", "2026-01-22 11:30:00", "DDoS"):
        assert value in lines[1]
    assert lines[2:] == ["1: a scan", "   such as e-1"]


@pytest.mark.parametrize("kind", ["groups", "hits"])
def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """No table without rows."""
    show_similar({kind: [], "understood": PLAIN})
    assert capsys.readouterr().out.splitlines()[0] == "No event was found."
