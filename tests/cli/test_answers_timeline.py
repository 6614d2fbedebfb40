"""A timeline as text: changes first, idle hours folded, and nothing in it that a terminal obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_timeline import show_timeline

if TYPE_CHECKING:
    import pytest


def hour(time: str, **more: Any) -> dict[str, Any]:
    return {
        "hour": f"2026-01-22T{time}:00:00.000000Z",
        "out": 1200,
        "in": 3,
        "bytes": 2_100_000,
        "peers": 7,
        "new_peers": 2,
        "ports": 4,
        "matters": 0,
        "services": [{"side": "out", "service": "DNS (UDP port 53)", "events": 1100}],
        "most_met": [{"address": "10.0.0.3", "events": 1100}],
        **more,
    }


def answer(**more: Any) -> dict[str, Any]:
    return {
        "host": "10.0.0.5",
        "total": {"out": 2400, "in": 6, "bytes": 4_200_000, "peers": 9},
        "watched_hours": 24,
        "active_hours": 3,
        "hours": [hour("08"), hour("09"), hour("14", peers=1)],
        "changed": 1,
        "changes": [
            {
                "from": "2026-01-22T09:00:00.000000Z",
                "to": "2026-01-22T10:00:00.000000Z",
                "sentence": "had 5 events that matter, the first: evil\x1b[2J",
                "event_id": "e-7",
            }
        ],
        **more,
    }


def shown(capsys: pytest.CaptureFixture[str], found: dict[str, Any]) -> list[str]:
    show_timeline(found)
    return capsys.readouterr().out.splitlines()


def test_a_timeline_is_told_hour_by_hour(capsys: pytest.CaptureFixture[str]) -> None:
    """The host in a sentence, each change with its event, a mark at its hour, and idle hours in one line."""
    lines = shown(capsys, answer())
    assert lines[0] == (
        "10.0.0.5: 2,400 events begun and 6 received, 4.2 MB, with 9 hosts; active in 3 of 24 hours that were watched"
    )
    assert lines[2] == "  2026-01-22 09:00  had 5 events that matter, the first: evil\\x1b[2J"
    assert lines[3] == "    see event e-7"
    rows = lines[5:9]
    assert [row.split()[:3] for row in rows] == [
        ["2026-01-22", "08:00", "1,200"],
        ["2026-01-22", "09:00", "*"],
        ["4", "idle", "hours"],
        ["2026-01-22", "14:00", "1,200"],
    ]
    assert rows[0].endswith("out DNS (UDP port 53) 1,100  10.0.0.3 and 6 more")
    assert rows[3].endswith("10.0.0.3")


def test_what_is_not_shown_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Of very many hours and changes only the last are there, and it says of how many."""
    lines = shown(capsys, answer(active_hours=1200, changed=300))
    assert "  ... of which the last 1 are shown" in lines
    assert "shown are the last 3 of 1,200 hours: see --from and --to" in lines
    assert "No change was found." in shown(capsys, answer(changed=0, changes=[]))


def test_a_host_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was found."""
    assert shown(capsys, answer(hours=[], changes=[])) == ["Nothing of 10.0.0.5 was found."]
