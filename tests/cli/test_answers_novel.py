"""What was new, as text: how unusual, since when, between whom, and what was nearest before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_novel import show_novel

if TYPE_CHECKING:
    import pytest

RECEIPT = {"rows": 10, "days": ["2026-01-22"], "missing": [], "took_ms": 2.34}
ONE_HOST = {"count": 1, "at_least": False, "most": [{"address": "10.0.0.1", "events": 3}]}
MANY_HOSTS = {"count": 70, "at_least": True, "most": [{"address": "10.0.0.2", "events": 3}]}
GROUP: dict[str, Any] = {
    "narrative": "a scan",
    "index": "temporal",
    "distance": 3.0,
    "threshold": 1.2,
    "percentile": 99.9996,
    "count": 1234,
    "events": 1300,
    "first_seen": "2026-01-22T10:00:00.123456Z",
    "last_seen": "2026-01-22T11:00:00.123456Z",
    "hosts": {"sources": ONE_HOST, "destinations": MANY_HOSTS},
    "examples": [{"event_id": "e-1"}],
    "nearest_before": {
        "distance": 3.0,
        "time": "2026-01-20T09:00:00.000000Z",
        "event_id": "e-0",
        "narrative": "a question",
    },
}
JUDGED: dict[str, Any] = {
    "day": "2026-01-22",
    "index": "temporal",
    "events": 2000,
    "novel": 1234,
    "threshold": 1.2,
    "compared_days": 12,
    "past_days": ["2026-01-21", "2026-01-20"],
    "past_events": 5000,
}
ANSWER: dict[str, Any] = {
    "groups": [GROUP],
    "patterns": 2,
    "novel": 1240,
    "percentile": 99.9,
    "judged": [JUDGED],
    "receipt": RECEIPT,
}


def test_a_pattern_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line says what a reader asks next, and how it was measured stands below."""
    show_novel(ANSWER)
    lines = capsys.readouterr().out.splitlines()
    measured = "2026-01-22 in temporal: 1,234 of 2,000 events novel"
    usual = "usual for 99.9 % of 5,000 events of 2026-01-20 to 2026-01-21 is a distance up to 1.200"
    assert lines[1].split() == [
        *("1", "99.99", "2.5", "temporal", "1,234", "1,300", "2026-01-22", "10:00:00"),
        *("2026-01-22", "11:00:00", "10.0.0.1", "10.0.0.2", "and", "at", "least", "69", "more", "e-1"),
    ]
    assert lines[2:] == [
        "1: a scan",
        "   nearest before, at 3.000 (usual: up to 1.200): 2026-01-20 09:00:00, event e-0: a question",
        "shown are 1 of 2 patterns",
        f"{measured}; compared with 12 days before; {usual}",
    ]


def test_a_first_day_and_nothing_new_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody takes a first day for a measured one, nor an empty table for a fault."""
    alone = JUDGED | {"compared_days": 0, "past_days": []}
    first = {**GROUP, "nearest_before": None, "threshold": 0.0}
    show_novel(ANSWER | {"groups": [first], "patterns": 1, "judged": [alone]})
    told = capsys.readouterr().out
    assert "nothing was before that day" in told
    assert "the first day of its model: compared with what came before on the day itself" in told
    assert "shown are" not in told
    show_novel(ANSWER | {"groups": [], "patterns": 0, "judged": [JUDGED | {"threshold": None, "novel": 0}]})
    told = capsys.readouterr().out
    assert told.startswith("Nothing was as unlike everything before.\n")
    assert "no distance is unusual enough" in told
    show_novel(ANSWER | {"groups": [], "patterns": 0, "judged": []})
    assert capsys.readouterr().out == "No event passes the filters.\n"


def test_hostile_fields_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in an event are spelled out, in the table and in the lines below it."""
    before = {**GROUP["nearest_before"], "event_id": "\x1b[2J", "narrative": "\x07"}
    show_novel(ANSWER | {"groups": [{**GROUP, "narrative": "\x1b[31mred", "nearest_before": before}]})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
