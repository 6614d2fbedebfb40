"""A start finds every committed event again, whatever a crash or a bad disk did to the files."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from services.common.counts import pack_counts
from services.common.days.sealing import Sealer
from services.common.events.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.embedders import Embedders
    from services.common.days.names import OpenNames, StateNames
    from services.common.durable import Disk

DAY = "2026-01-22"
NOON = 1_769_040_000 + 43_200
HEADER = 32
RECORD = 17


@pytest.fixture
def segment(state: StateNames) -> OpenNames:
    return state.day(DAY).segment(1)


@pytest.fixture
def events(start: Callable[[], Any], make_events: Callable[..., list[bytes]]) -> list[bytes]:
    """Ten events that a process committed before it was killed."""
    found = make_events(10)
    start().add(found)
    return found


def _damage(path: Path, event: bytes, times: int = 1) -> None:
    """Change bytes in the middle of an event in a log."""
    raw = path.read_bytes()
    at = raw.index(event) + len(event) // 2
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) * times + raw[at + times :])


def _days(opened: Any) -> list[tuple[str, int, int]]:
    return [(found.day, found.names.number, found.rows) for found in opened.recovered]


def test_an_empty_state_directory_has_nothing_to_recover(start: Callable[[], Any]) -> None:
    opened = start()
    assert (opened.recovered, opened.sentences) == ([], [])


def test_all_committed_events_are_found_in_order_over_several_starts(
    start: Callable[[], Any], events: list[bytes], make_events: Callable[..., list[bytes]], segment: OpenNames
) -> None:
    """Every start that takes events in opens a new log file; rows go on behind those there are."""
    more = make_events(5, "more")
    again = start()
    assert again.add(more) == (5, 0, {})
    third = start()
    assert _days(third) == [(DAY, 1, 15)]
    assert segment.logs() == [1, 2]
    assert third.add([*events, *more]) == (0, 15, {})
    assert third.sentences == []


@pytest.mark.parametrize("left", [0, 1, RECORD - 1, RECORD, RECORD + 1, -1])
def test_a_torn_tail_is_cut_and_kept(
    start: Callable[[], Any],
    events: list[bytes],
    segment: OpenNames,
    dead_letters: Callable[[], list[dict[str, Any]]],
    left: int,
) -> None:
    """Wherever in the last record the crash came: the others are whole, the torn bytes are in the dead letter."""
    path = segment.log(1)
    raw = path.read_bytes()
    last = len(raw) - len(events[-1]) - RECORD
    torn = raw[last : last + left] if left >= 0 else raw[last:-1]
    path.write_bytes(raw[:last] + torn)
    opened = start()
    assert _days(opened) == [(DAY, 1, 9)]
    assert path.read_bytes() == raw[:last]
    opened.dead_letter.sync()
    assert [record["data"] for record in dead_letters()] == ([torn] if torn else [])
    assert opened.add(events) == (1, 9, {})


def test_events_behind_damage_are_kept_and_rows_have_no_hole(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any],
    events: list[bytes],
    segment: OpenNames,
    state: StateNames,
    logged: Callable[..., list[bytes]],
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """A bad middle is set aside, the other nine events move to a new segment, and the next start finds it in order."""
    _damage(segment.log(1), events[4])
    opened = start()
    rest = events[:4] + events[5:]
    assert _days(opened) == [(DAY, 2, 9)]
    assert state.day(DAY).segments() == [2]
    assert logged(state.day(DAY).segment(2)) == rest
    assert len(opened.sentences) == 1
    assert "set aside" in opened.sentences[0]
    (record,) = dead_letters()
    assert (record["reason"], len(record["data"])) == ("damaged_log", len(events[4]) + RECORD)
    assert opened.add(events) == (1, 9, {})
    assert _days(start()) == [(DAY, 2, 10)]


def test_a_crash_while_damage_is_repaired_shows_no_event_twice(
    start: Callable[[], Any], events: list[bytes], segment: OpenNames, tmp_path: Path
) -> None:
    """The copy was written but the damaged segment not yet removed: the next start keeps each event once."""
    _damage(segment.log(1), events[4])
    shutil.copytree(segment.folder, tmp_path / "damaged")
    start()
    shutil.copytree(tmp_path / "damaged", segment.folder)
    again = start()
    assert sum(found.rows for found in again.recovered) == 9
    assert again.add(events) == (1, 9, {})


def test_a_log_that_lost_rows_which_were_indexed_is_written_anew(
    start: Callable[[], Any], events: list[bytes], segment: OpenNames, state: StateNames, disk: Disk
) -> None:
    """Row i is one event in the log and in every index, also where the log's end is damaged after indexing."""
    counts = disk.counts(segment.counts("attack"))
    counts.write(10, 10)
    counts.close()
    _damage(segment.log(1), events[9])
    opened = start()
    assert _days(opened) == [(DAY, 2, 9)]
    assert state.day(DAY).segments() == [2]
    assert any("attack has 10 rows and the log 9" in sentence for sentence in opened.sentences)


def test_a_counter_that_cannot_be_read_is_written_anew(
    start: Callable[[], Any], events: list[bytes], segment: OpenNames
) -> None:
    segment.counts("metadata").write_bytes(pack_counts(10, 0)[:-1] + b"\xff")
    opened = start()
    assert _days(opened) == [(DAY, 2, len(events))]
    assert "metadata.count" in opened.sentences[0]


@pytest.mark.parametrize("content", [b"", b"APPIALOG", bytes(HEADER + 100)])
def test_a_log_without_a_header_never_held_an_event(
    start: Callable[[], Any], events: list[bytes], segment: OpenNames, content: bytes
) -> None:
    """A crash right after a log file was made leaves it empty, short or full of zeros: it goes."""
    segment.log(2).write_bytes(content)
    opened = start()
    assert _days(opened) == [(DAY, 1, len(events))]
    assert segment.logs() == [1]


def test_a_segment_without_an_event_goes(
    start: Callable[[], Any], state: StateNames, segment: OpenNames, make_event: Callable[..., bytes]
) -> None:
    """A crash before the first event was whole leaves no segment that would be sealed as an empty day."""
    segment.folder.mkdir(parents=True)
    segment.log(1).write_bytes(b"")
    opened = start()
    assert opened.recovered == []
    assert state.day(DAY).segments() == []
    assert opened.add([make_event()]) == (1, 0, {})
    assert state.day(DAY).segments() == [1]


def test_a_segment_of_which_nothing_can_be_read_goes_to_the_dead_letter(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any],
    events: list[bytes],
    segment: OpenNames,
    state: StateNames,
    disk: Disk,
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    """Indexed rows whose log is noise: the start goes on, the noise is kept, and the events can come again."""
    counts = disk.counts(segment.counts("metadata"))
    counts.write(10, 0)
    counts.close()
    raw = segment.log(1).read_bytes()
    segment.log(1).write_bytes(raw[:HEADER] + b"\xa5" * (len(raw) - HEADER))
    opened = start()
    assert opened.recovered == []
    assert state.day(DAY).segments() == []
    assert b"".join(record["data"] for record in dead_letters()) == b"\xa5" * (len(raw) - HEADER)
    assert opened.add(events) == (10, 0, {})


def test_long_damage_is_kept_in_pieces_that_can_be_read_again(
    start: Callable[[], Any],
    events: list[bytes],
    segment: OpenNames,
    dead_letters: Callable[[], list[dict[str, Any]]],
) -> None:
    noise = b"\xa5" * ((2 << 20) + 5)
    with segment.log(1).open("ab") as file:
        file.write(noise)
    opened = start()
    assert _days(opened) == [(DAY, 1, len(events))]
    opened.dead_letter.sync()
    assert [len(record["data"]) for record in dead_letters()] == [1 << 20, 1 << 20, 5]


def test_a_day_that_cannot_be_read_is_named_and_the_rest_goes_on(
    start: Callable[[], Any], state: StateNames, make_event: Callable[..., bytes]
) -> None:
    """A log of an unknown kind is left where it is, its day takes nothing, and all other days are recovered."""
    yesterday = make_event("y", NOON - 86_400)
    start().add([make_event("t"), yesterday])
    path = state.day("2026-01-21").segment(1).log(1)
    path.write_bytes(b"ANOTHERLOG" + path.read_bytes()[10:])
    opened = start()
    assert _days(opened) == [(DAY, 1, 1)]
    assert opened.sentences[0].startswith("day 2026-01-21 is left alone: ")
    assert path.exists()
    assert opened.add([yesterday, make_event("z")]) == (1, 0, {"day_unreadable": 1})


def test_a_day_on_a_bad_sector_is_named_and_the_rest_goes_on(
    start: Callable[[], Any],
    segment: OpenNames,
    events: list[bytes],
    make_event: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its events are where they are; those that come for it now are kept in the dead letter, with the reason."""
    read, bad = os.pread, segment.log(1).stat().st_ino

    def pread(fd: int, size: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == bad and offset >= HEADER:
            raise OSError(errno.EIO, "Input/output error")
        return read(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    opened = start()
    assert len(opened.sentences) == 1
    assert f"day {DAY} is left alone" in opened.sentences[0]
    assert "cannot be read at 32 (Input/output error)" in opened.sentences[0]
    other = make_event("other", NOON - 86_400)
    assert opened.add([other, *events]) == (1, 0, {"day_unreadable": 10})
    monkeypatch.undo()
    assert start().add(events) == (0, 10, {})


def test_what_a_seal_left_behind_is_cleared(
    start: Callable[[], Any], events: list[bytes], state: StateNames, disk: Disk, embedders: Embedders
) -> None:
    """Killed after publishing: segments that the generation holds go, staging goes, later segments stay."""
    opened = start()
    opened.intake.rotate(DAY)
    day = state.day(DAY)
    kept = state.root / "kept"
    shutil.copytree(day.segment(1).folder, kept)
    Sealer(disk, load_vocabulary(), embedders, lambda _step, _done, _total: None).seal(day, 1)
    shutil.copytree(kept, day.segment(1).folder)
    (day.staging / "chunk").mkdir(parents=True)
    (day.staging / "chunk" / "events.log").write_bytes(b"half")
    again = start()
    assert again.recovered == []
    assert (day.segments(), day.staging.exists()) == ([], False)
    assert again.add(events) == (0, 10, {})
