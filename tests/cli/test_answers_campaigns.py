"""Campaigns as text: a sentence each, their steps, why they belong together, and nothing that a terminal obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_campaigns import show_campaigns

if TYPE_CHECKING:
    import pytest

HOSTS = {
    "sources": {"count": 1, "at_least": False, "most": [{"address": "10.0.0.1", "events": 3}]},
    "destinations": {"count": 70, "at_least": False, "most": [{"address": "10.0.0.2", "events": 3}]},
}
STEP = {
    "day": "2026-01-22",
    "kind": "scan\x1b[2J",
    "first_seen": "2026-01-22T10:00:00.123456Z",
    "last_seen": "2026-01-22T11:30:00.123456Z",
    "count": 1234,
    "hosts": HOSTS,
}
CAMPAIGN: dict[str, Any] = {
    "id": "762998b6f45d",
    "summary": "On 2026-01-22: 10.0.0.1 against 10.0.0.2 and 69 more.",
    "steps": [STEP],
    "stepped": 3,
    "links": [{"sentence": "10.0.0.1 is the source of 2 patterns on 1 day"}],
    "linked": 2,
    "examples": [{"event_id": "e-1"}, {"event_id": "e-2"}],
}


def shown(capsys: pytest.CaptureFixture[str], **more: Any) -> list[str]:
    show_campaigns({"campaigns": [CAMPAIGN], "found": 4, "events": 1300, "patterns": 9, "alone": 1, **more})
    return capsys.readouterr().out.splitlines()


def test_a_campaign_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Summary, steps in a table, reasons, examples, and how much more of each there is."""
    lines = shown(capsys)
    assert lines[:2] == ["1: campaign 762998b6f45d", f"   {CAMPAIGN['summary']}"]
    assert lines[3].split("  ")[0] == ""
    assert lines[3].split() == [
        "2026-01-22",
        "10:00",
        "11:30",
        "scan\\x1b[2J",
        "1,234",
        "10.0.0.1",
        *["10.0.0.2", "and", "69", "more"],
    ]
    assert lines[4:] == [
        "   and 2 more steps",
        "   why: 10.0.0.1 is the source of 2 patterns on 1 day",
        "   and 1 more link",
        "   such as e-1, e-2",
        "",
        "shown are 1 of 4 campaigns",
        "1,300 events looked at, in 9 patterns; 1 of these linked to nothing",
    ]


def test_no_campaign_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """In all, and of an event."""
    assert shown(capsys, campaigns=[], found=0)[0] == "No campaign was found."
    assert shown(capsys, campaigns=[], found=0, event={})[0] == "The event is linked to nothing else."


def test_what_is_linked_to_nothing_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """In words a person would say."""
    assert shown(capsys, alone=0)[-1] == "1,300 events looked at, in 9 patterns; each is linked to another"
    assert shown(capsys, alone=2)[-1] == "1,300 events looked at, in 9 patterns; 2 of these linked to nothing"
    assert shown(capsys, events=0, patterns=0, alone=0)[-1] == "0 events looked at, in 0 patterns"
