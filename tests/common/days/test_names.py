"""Names on disk are built and parsed in one place, and nothing foreign is taken for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.days.names import (
    StateNames,
    day_of,
    day_start_ns,
    number_name,
    numbered,
    parse_day,
    parse_number,
    read_pointer,
)
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["", "1", "0000001", "00000a", "-00001", "000001.tmp", "staging", " 000001"])
def test_foreign_folder_names_are_no_numbers(name: str) -> None:
    """A folder that this module did not name is never taken for a segment or generation."""
    assert parse_number(name) is None


@pytest.mark.parametrize("number", [0, 1, 999_999])
def test_numbers_survive_the_way_to_a_name_and_back(number: int) -> None:
    """`parse_number` reads what `number_name` wrote."""
    assert parse_number(number_name(number)) == number


@pytest.mark.parametrize(
    "text", ["", "today", "2026-1-2", "2026-02-30", "2026-01-22T00:00", "../etc", "20260122"]
)
def test_what_is_no_day_is_refused_with_the_right_form(text: str) -> None:
    """A day that a user misspells gives one sentence that shows how to write it."""
    with pytest.raises(UsageError, match="YYYY-MM-DD"):
        parse_day(text)


@pytest.mark.parametrize(
    ("time_ns", "day"),
    [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (86_400_000_000_000 - 1, "1970-01-01"),
        (1_769_040_000_000_000_000, "2026-01-22"),
    ],
)
def test_the_day_of_a_time_is_utc(time_ns: int, day: str) -> None:
    """A day begins and ends at midnight UTC, also before 1970."""
    assert day_of(time_ns) == day
    assert day_start_ns(day) <= time_ns < day_start_ns(day) + 86_400_000_000_000


def test_days_and_numbers_are_listed_in_order_without_foreign_entries(tmp_path: Path) -> None:
    """What lies beside days and generations is passed over."""
    state = StateNames(tmp_path)
    for name in ("2026-01-23", "2026-01-22", "lost+found", "2026-01-22.bak"):
        (tmp_path / "days" / name).mkdir(parents=True)
    for name in ("000010", "000002", "staging"):
        (state.day("2026-01-22").sealed_folder / name).mkdir(parents=True)
    assert state.days() == ["2026-01-22", "2026-01-23"]
    assert numbered(state.day("2026-01-22").sealed_folder) == [2, 10]
    assert state.day("2026-01-23").generations() == []


def test_only_log_files_are_logs(tmp_path: Path) -> None:
    """Other files in a segment are not read as logs."""
    names = StateNames(tmp_path).day("2026-01-22").segment(1)
    names.folder.mkdir(parents=True)
    for name in (
        "events-000002.log",
        "events-000001.log",
        "events-1.log",
        "events-000001.log.bak",
        "attack.f32",
    ):
        (names.folder / name).touch()
    assert names.logs() == [1, 2]


def test_a_pointer_is_read_or_refused(tmp_path: Path) -> None:
    """CURRENT names a number, is absent, or is damaged: the three are told apart."""
    pointer = tmp_path / "CURRENT"
    assert read_pointer(pointer) is None
    pointer.write_text("000007\n")
    assert read_pointer(pointer) == 7
    pointer.write_text("seven")
    with pytest.raises(AppiaError, match="seven"):
        read_pointer(pointer)
