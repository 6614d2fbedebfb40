"""Quiet hours are those of a place: over midnight, on their days, and when its clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.health.alerts.quiet import Quiet, held_back


def at_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


NIGHT = {"from": "22:00", "to": "07:00"}
WORK = {"from": "09:00", "to": "17:00"}


@pytest.mark.parametrize(
    ("keys", "moment", "quiet"),
    [
        (NIGHT, "2026-11-20T21:59:59", False),
        (NIGHT, "2026-11-20T22:00:00", True),
        (NIGHT, "2026-11-21T06:59:59", True),
        (NIGHT, "2026-11-21T07:00:00", False),
        (WORK, "2026-11-20T12:00:00", True),
        (WORK, "2026-11-20T08:59:59", False),
        ({**NIGHT, "days": ["fri"]}, "2026-11-21T06:00:00", True),  # the night that began on Friday
        ({**NIGHT, "days": ["fri"]}, "2026-11-20T06:00:00", False),  # the one that began on Thursday
        ({**NIGHT, "days": ["sat", "sun"]}, "2026-11-20T23:00:00", False),
        ({"from": "00:00", "to": "00:00", "days": ["sun"]}, "2026-11-22T13:00:00", True),  # the whole day
        ({"from": "00:00", "to": "00:00", "days": ["sun"]}, "2026-11-23T00:00:00", False),
        ({**NIGHT, "timezone": "Europe/Madrid"}, "2026-11-20T21:30:00", True),  # 22:30 there in winter
        ({**NIGHT, "timezone": "Europe/Madrid"}, "2026-07-20T20:30:00", True),  # 22:30 there in summer
        ({**NIGHT, "timezone": "Europe/Madrid"}, "2026-11-20T20:30:00", False),
    ],
)
def test_when_it_is_quiet(keys: dict[str, object], moment: str, quiet: bool) -> None:  # noqa: FBT001 - a table
    """Each line of the table is a clock on a wall."""
    assert Quiet.model_validate(keys).covers(at_ns(moment)) is quiet


@pytest.mark.parametrize(
    ("passes", "held"),
    [
        ("critical", ["info", "warning"]),
        ("warning", ["info"]),
        ("info", []),
        ("none", ["info", "warning", "critical"]),
    ],
)
def test_what_is_bad_enough_passes(passes: str, held: list[str]) -> None:
    """The rest waits for the end of the hours."""
    quiet = [Quiet.model_validate({**NIGHT, "passes": passes})]
    night = at_ns("2026-11-20T23:00:00")
    assert [
        severity for severity in ("info", "warning", "critical") if held_back(quiet, severity, night)
    ] == held
