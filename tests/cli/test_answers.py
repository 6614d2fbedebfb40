"""Answers as text: what is missing is said, equal texts are said once, and numbers read well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.answers import receipt_line, show_days, show_hits, show_hosts, show_stats

if TYPE_CHECKING:
    import pytest

RECEIPT = {"rows": 1234, "days": ["2026-01-21", "2026-01-22"], "missing": [], "took_ms": 2.34}
HIT = {
    "score": 0.5,
    "time": "2026-01-22T10:00:00.123456Z",
    "src_ip": "10.0.0.1",
    "src_port": 1,
    "dst_ip": "10.0.0.2",
    "dst_port": 2,
    "protocol": 6,
    "class": "MALICIOUS",
    "category": "scan",
    "overall": 0.25,
    "event_id": "e-1",
}


def test_a_receipt_names_what_is_missing() -> None:
    """Nobody takes a partial answer for a whole one, and who asked about another time sees when there are events."""
    searched = "searched 1,234 rows of 2 days (2026-01-21 to 2026-01-22) in 2.3 ms"
    assert receipt_line(RECEIPT) == f"{searched}; nothing was missing"
    gap = {"day": "2026-01-22", "index": "temporal", "reason": "it is damaged"}
    assert receipt_line(RECEIPT | {"missing": [gap]}) == (
        f"{searched}; missing: temporal of 2026-01-22: it is damaged"
    )
    one = RECEIPT | {"rows": 1, "days": ["2026-01-22"]}
    assert receipt_line(one).startswith("searched 1 row of 1 day (2026-01-22) in")
    nothing = receipt_line(RECEIPT | {"rows": 0, "days": [], "newest_event": "2026-01-22T10:11:12.5Z"})
    assert nothing == (
        "searched 0 rows of 0 days (none) in 2.3 ms; the newest event here is of 2026-01-22 10:11:12; "
        "nothing was missing"
    )


def test_equal_descriptions_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern that many hits share is one line, behind their numbers."""
    words = ["a scan", "a scan", "a scan", "a flood", "a scan"]
    show_hits({"hits": [HIT | {"narrative": text} for text in words], "receipt": RECEIPT})
    lines = capsys.readouterr().out.splitlines()
    assert lines[6:8] == ["1-3, 5: a scan", "4: a flood"]
    assert lines[1].split() == [
        *("1", "0.5000", "2026-01-22", "10:00:00", "10.0.0.1:1", "10.0.0.2:2"),
        *("tcp", "MALICIOUS", "scan", "0.25", "e-1"),
    ]


def test_hostile_fields_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """An event that carries escape sequences is shown with them spelled out."""
    hit = HIT | {"category": "\x1b]0;owned\x07", "event_id": "e\n1", "narrative": "x\x1b[2J"}
    show_hits({"hits": [hit], "receipt": RECEIPT})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"e\n1" in out
    assert r"1: x\x1b[2J" in out


def test_faults_of_days_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged day stands in the table with its reason below."""
    indices = {name: {"rows": 0, "generation": 0, "model": None} for name in ("attack", "semantic")}
    day = {
        "day": "2026-01-22",
        "state": "damaged",
        "rows": 0,
        "indices": indices,
        "hosts": None,
        "faults": ["the chunk differs"],
    }
    show_days({"days": [day]})
    assert capsys.readouterr().out.splitlines()[-1] == "2026-01-22: the chunk differs"
    show_days({"days": []})
    assert capsys.readouterr().out == "There are no events yet.\n"


def test_days_of_different_models_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Where an index is of several models, each is told with its days; where it is of one, nothing is said."""

    def day(date: str, attack: str) -> dict[str, object]:
        models = {"attack": attack, "semantic": "semantic@1"}
        indices = {name: {"rows": 1, "generation": 1, "model": model} for name, model in models.items()}
        shown = {"day": date, "state": "sealed", "rows": 1, "indices": indices, "hosts": None, "faults": []}
        return dict(shown)

    days = [day(f"2026-01-2{n}", "attack@2" if n == 3 else "attack@1") for n in range(1, 4)]
    show_days({"days": days})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("attack is of several models: attack@1 2 days, attack@2 1 day; `appia reindex`")
    show_days({"days": days[:2]})
    assert "several models" not in capsys.readouterr().out


def test_long_counts_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """The most frequent ten are named and the rest counted; nothing is a dash."""
    answer = {"rows": 0, "days": {}, "hosts": {}, "first_event": None, "last_event": None}
    answer |= {"classes": {}, "categories": {f"c{n}": 1 for n in range(12)}, "nodes": {"": 1500}}
    show_stats(answer)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 events in 0 days"
    assert lines[1] == "classes: -"
    assert lines[2].endswith("c9 1, and 2 more")
    assert lines[3] == "nodes: (none) 1,500"
    show_stats(answer | {"hosts": {"2026-01-22": 54, "2026-01-23": 1200}})
    assert "hosts: up to 1,200 a day in 2 sealed days" in capsys.readouterr().out.splitlines()


def test_hosts_are_shown_with_what_they_did(capsys: pytest.CaptureFixture[str]) -> None:
    """The host asked about stands first; each hit has a line of numbers and a line in words, control bytes escaped."""
    side = {"events": 1200, "bytes": 5, "peers": 3, "ports": 2, "services": {}}
    host = {
        "address": "10.0.0.5",
        "day": "2026-01-22",
        "last_seen": "2026-01-22T10:11:12.000000Z",
        "summary": "began 1,200 events",
        "out": side,
        "in": side | {"events": 0, "peers": 0},
        "verdicts": {"benign": 0.5, "suspicious": 0.0, "malicious": 0.25},
    }
    hit = host | {"address": "10.0.0.6", "score": 0.75, "summary": "quiet\x1b[2J"}
    show_hosts({"host": host, "hits": [hit], "receipt": RECEIPT})
    first, _, row, words = capsys.readouterr().out.splitlines()
    assert first == "10.0.0.5 on 2026-01-22: began 1,200 events"
    assert row.split() == [
        "1",
        "0.7500",
        "10.0.0.6",
        "2026-01-22",
        "1,200",
        "0",
        "3+0",
        "25.0%",
        "2026-01-22",
        "10:11:12",
    ]
    assert words == "1: quiet\\x1b[2J"
    show_hosts({"host": host, "hits": [], "receipt": RECEIPT})
    assert "No other host was found." in capsys.readouterr().out
