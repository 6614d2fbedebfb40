"""Every answer ends alike: more about its events, what was understood, what analysts said, what was searched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from services.cli.answers_end import show_end
from services.cli.answers_enriched import show_enrichment

if TYPE_CHECKING:
    import pytest

RECEIPT = {
    "rows": 7,
    "days": ["2026-01-22"],
    "missing": [],
    "took_ms": 2.34,
    "as_of": "2026-01-22:1",
    "unrepeatable": [],
    "enrichment": {"files": [{"path": "city.mmdb"}], "faults": []},
}
REMARK = {
    "verdict": "false_positive",
    "confidence": 4,
    "analyst": "ada",
    "time": "2026-01-23T10:00:00Z",
    "note": "backup",
    "tags": [],
}
UNDERSTOOD = {
    "parts": [],
    "filters": {"src_internal": False},
    "searched": "scan",
    "rest": "scan",
    "notes": [],
}
OUTSIDE = {"internal": False, "country": "DE", "country_name": "Germany", "city": "Berlin", "asn": 64500}
SMB = {"id": "T1021.002", "name": "SMB", "tactic": "TA0008", "tactic_name": "Lateral Movement"}


def event(**more: Any) -> dict[str, Any]:
    known = {"src": OUTSIDE | {"organization": "Example Net"}, "dst": {"internal": True}}
    return {
        "event_id": "e-1",
        "src_ip": "203.0.113.5",
        "dst_ip": "10.0.0.1",
        "dst_port": 445,
        "enrichment": known | {"service": "SMB", "techniques": [SMB]},
        **more,
    }


def test_the_lines_at_the_end_have_one_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Enrichment, what was understood, feedback, receipt, as of: whatever the question was."""
    show_end({"hits": [event(feedback=[REMARK])], "understood": UNDERSTOOD, "receipt": RECEIPT})
    lines = capsys.readouterr().out.splitlines()
    starts = ["", "address", "203.0.113.5", "10.0.0.1", "services", "T1021.002", ""]
    starts += [
        "filters: ",
        "e-1: false positive (4 of 5 sure) by ada",
        "searched 7 rows",
        "as of 2026-01-22:1",
    ]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * len(starts)


def test_an_address_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is met, in hits, patterns or a single event; columns without anything are left out."""
    groups = [{"examples": [event(), event(event_id="e-2")]}]
    show_enrichment({"event": event(), "groups": groups, "receipt": RECEIPT})
    assert [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()[1:-1]] == [
        ["address", "side", "place", "network"],
        ["203.0.113.5", "outside", "Berlin, Germany", "AS64500 Example Net"],
        ["10.0.0.1", "inside"],
        ["services: 445 SMB"],
        ["T1021.002: SMB, tactic TA0008 Lateral Movement"],
    ]
    inside = {"src": {"internal": True}, "dst": {"internal": True}}
    show_enrichment({"fields": event(enrichment=inside), "receipt": RECEIPT})
    assert capsys.readouterr().out.splitlines()[1].split() == ["address", "side"]


def test_what_places_need_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for places where no file of them is set is told so; a file that cannot be read is named."""
    for used, line in (
        ({"files": [], "faults": []}, "settings geoip_city and geoip_asn"),
        ({"files": [], "faults": ["city.mmdb is damaged"]}, "missing: city.mmdb is damaged"),
    ):
        show_enrichment({"hits": [event()], "receipt": RECEIPT | {"enrichment": used}})
        assert line in capsys.readouterr().out
    show_enrichment({"hits": [{"event_id": "e-1"}], "receipt": RECEIPT})
    assert capsys.readouterr().out == ""


def test_hostile_places_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of places is as little trusted as an event."""
    known = {
        "src": {"internal": False, "city": "\x1b[2J"},
        "dst": {"internal": False, "organization": "\x07"},
    }
    show_enrichment({"hits": [event(enrichment=known)], "receipt": RECEIPT})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert r"\x1b[2J" in out
