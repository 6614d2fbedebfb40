"""The disk is watched: a warning in time, a pause above the limit or where a write finds it full, and on by itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from services.ingester.room import TRY_AGAIN_S, Gauge, Room

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def fill(monkeypatch: pytest.MonkeyPatch, percent: float) -> None:
    """As a file system whose last 5 % are for root: what is neither used nor free."""
    usage = Usage(1000, int(10 * percent) - 50, 1000 - int(10 * percent))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_warning_comes_before_the_pause_and_both_end_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reports: Any
) -> None:
    """Each change is told once, with how full the disk is; what is kept for root counts as used."""
    gauge = Gauge(Room(tmp_path, 92.0, 85.0), reports)
    shut = []
    for percent in (84.9, 85.0, 91.9, 92.0, 93.0, 91.0, 84.0):
        fill(monkeypatch, percent)
        shut.append(gauge.is_shut())
    assert shut == [False, False, False, True, True, False, False]
    assert [(event, facts["used_percent"]) for event, facts in reports.told] == [
        ("disk_filling", 85.0),
        ("intake_paused", 92.0),
        ("intake_resumed", 91.0),
        ("disk_has_room", 84.0),
    ]
    assert gauge.as_dict() == {"paused": False, "disk_percent": 84.0, "disk_filling": False}


def test_a_write_that_found_the_disk_full_is_tried_again_after_a_while(
    tmp_path: Path, reports: Any, clock: Any
) -> None:
    """It stays paused, and is told once, until something went on the disk."""
    gauge = Gauge(Room(tmp_path, 100.0), reports, clock.monotonic)
    for _ in range(3):
        gauge.found_full()
        assert gauge.is_shut()
        clock.seconds += TRY_AGAIN_S
        assert not gauge.is_shut()
        assert gauge.is_paused
    gauge.has_written()
    assert not gauge.is_shut()
    assert [event for event, _ in reports.told] == ["intake_paused", "intake_resumed"]


def test_room_is_measured_on_the_disk_of_the_folder(tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    used = 100.0 - 100.0 * usage.free / usage.total
    assert abs(Room(tmp_path, 92.0).used_percent() - used) < 1.0
