"""Patterns as text: figures of all their events, the words once, and the ids of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_patterns import hosts_cell, show_similar

if TYPE_CHECKING:
    import pytest

RECEIPT = {"rows": 1234, "days": ["2026-01-21", "2026-01-22"], "missing": [], "took_ms": 2.34}


def side(count: int, *most: str, at_least: bool = False) -> dict[str, Any]:
    return {
        "count": count,
        "at_least": at_least,
        "most": [{"address": address, "events": 5} for address in most],
    }


def group(**more: Any) -> dict[str, Any]:
    return {
        "narrative": "A scan.",
        "score": 0.5,
        "count": 17_576,
        "first_seen": "2026-01-21T10:00:00.123456Z",
        "last_seen": "2026-01-22T11:00:00.000000Z",
        "classes": {"MALICIOUS": 17_500, "BENIGN": 75, "": 1},
        "hosts": {"sources": side(1, "10.0.0.1"), "destinations": side(3, "10.0.0.2", "10.0.0.3")},
        "examples": [{"event_id": "e-1"}, {"event_id": "e-2"}],
        **more,
    }


def test_a_pattern_is_a_line_of_figures_and_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Count, span, hosts and classes stand in the table; the sentence and the examples below it."""
    show_similar({"groups": [group()], "patterns": 1, "receipt": RECEIPT})
    header, row, words, ids = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["#", "score", "events", "first"]
    assert row.split() == [
        *("1", "0.5000", "17,576", "2026-01-21", "10:00:00", "2026-01-22", "11:00:00", "10.0.0.1"),
        *("10.0.0.2", "and", "2", "more", "MALICIOUS,", "BENIGN,", "1", "more"),
    ]
    assert (words, ids) == ("1: A scan.", "   such as e-1, e-2")


def test_more_patterns_than_shown_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Who sees ten of a thousand patterns is told so; who sees all is not."""
    show_similar({"groups": [group(), group()], "patterns": 1032, "receipt": RECEIPT})
    assert "shown are 2 of 1,032 patterns" in capsys.readouterr().out.splitlines()
    show_similar({"groups": [group(), group()], "patterns": 2, "receipt": RECEIPT})
    assert "shown are" not in capsys.readouterr().out
    show_similar({"groups": [], "patterns": 0, "receipt": RECEIPT})
    assert capsys.readouterr().out == "No event was found.\n"


def test_hosts_that_were_cut_off_are_at_least_so_many() -> None:
    """A bound is told as one."""
    assert hosts_cell(side(1, "10.0.0.1")) == "10.0.0.1"
    assert hosts_cell(side(2000, "10.0.0.1", at_least=True)) == "10.0.0.1 and at least 1,999 more"


def test_hostile_patterns_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in words, classes and ids are spelled out."""
    hostile = group(narrative="x\x1b[2J", classes={"\x1b]0;a\x07": 1}, examples=[{"event_id": "e\n1"}])
    show_similar({"groups": [hostile], "patterns": 1, "receipt": RECEIPT})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"e\n1" in out
