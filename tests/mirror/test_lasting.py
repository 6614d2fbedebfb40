"""What a mirror does wrong only after a while: faults that stay, days that are forgotten, readers that look away."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.counts import read_counts
from services.common.days.holds import Book, Dropped, to_bytes
from services.common.days.manifest import MANIFEST
from services.common.days.open_reader import OpenSegmentReader
from services.common.durable import Disk
from services.common.observing.beats import Beats
from services.mirror.pace import LEAST
from services.rag.day_files import DayFiles, look_at_day
from tests.mirror.conftest import QuickCalls
from tests.mirror.test_open_days import view_of
from tests.mirror.test_sealed_days import DAY, DAYS, held_days, not_held

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_reader_that_looked_away_while_a_segment_began_anew_takes_the_new_one(
    there: Any, make_mirror: Any, tmp_path: Path
) -> None:
    """The folder has the same name and more rows: what was read of the one before must not be mixed with it."""
    there.fill(DAY, 80, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    known = look_at_day(DayFiles(mirror.state.day(DAY)), 0.0)
    (segment,) = known.segments()
    before = segment.view.events.fetch([79])
    other = type(there)(tmp_path / "other", seed=2)
    other.fill(DAY, 90, sealed=False)
    mirror.rounds._parts.source._root = str(other.state.root)
    mirror.settle()
    assert view_of(mirror.state, DAY) == view_of(other.state, DAY)
    known.followers[0].poll()
    assert (
        known.segments()[0].view.events.fetch([79]) == before
    )  # what it maps, until the day is looked at again
    again = look_at_day(known, 1.0)
    with closing(OpenSegmentReader(DAY, other.state.day(DAY).segment(1))) as fresh:
        view, wanted = again.segments()[0].view, fresh.view()
        assert (view.identity, view.texts) == (wanted.identity, wanted.texts)
        assert view.events.fetch([79]) == wanted.events.fetch([79])
    for reader in known.readers() | again.readers():
        reader.close()
    other.close()


def test_events_of_a_flood_that_a_source_lost_are_not_kept(
    there: Any, make_mirror: Any, tmp_path: Path
) -> None:
    """They are alike but for where they lie and when they were: the last bytes of a row do not tell them apart."""
    hosts = there.flood(DAY, 3)
    alike = [type(hosts[0]).FromString(hosts[0].SerializeToString()) for _ in range(60)]
    for number, event in enumerate(alike):
        event.event_id = f"alike-{number:03d}"
        event.event_timestamp.nanos = number * 1_000_000
    there.write(DAY, alike[:30], index=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    other = type(there)(tmp_path / "other", seed=1)
    other.write(DAY, alike[30:45], index=False)
    other._open[DAY, 1].log.close()
    other._open[DAY, 1].log = type(other._open[DAY, 1].log)(other.disk, other.state.day(DAY).segment(1), 15)
    other.write(DAY, alike[:30], index=False)
    mirror.rounds._parts.source._root = str(other.state.root)
    mirror.settle()
    assert view_of(mirror.state, DAY)["events"] == view_of(other.state, DAY)["events"]
    other.close()


def test_faults_end_with_what_they_were_about(there: Any, make_mirror: Any) -> None:
    """Of a segment that is sealed, of a day that was dropped: else an alert would ring for ever."""
    there.fill(DAYS[0], 10, sealed=True)
    there.fill(DAY, 30, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.filesystem.change = lambda path, _start, data: (
        b""
        if path.endswith(("open/000001/attack.f32", f"{DAYS[0]}/sealed/000001/chunk/events.log"))
        else data
    )
    mirror.settle()
    assert len(mirror.rounds.status.faults) == 2
    there.seal(DAY)
    there.disk.write_file(there.state.retention, to_bytes(Book(dropped=(Dropped(DAYS[0], "", 1, 1),))))
    there.disk.remove(there.state.day(DAYS[0]).folder)
    mirror.settle()
    assert mirror.rounds.status.faults == ()
    assert held_days(mirror) == [DAY]


def test_a_disk_that_failed_once_is_not_told_for_ever(there: Any, make_mirror: Any) -> None:
    """The next round that goes through clears it."""
    mirror = make_mirror(there.state.root)
    stop = threading.Event()
    failing = iter([OSError(5, "Input/output error"), None])
    seen: list[tuple[str, ...]] = []

    def turn(*_: Any) -> None:
        seen.append(mirror.rounds.status.faults)
        if len(seen) == 3:
            stop.set()
        if (error := next(failing, None)) is not None:
            raise error

    mirror.rounds.round = turn
    stop.wait = mirror.clock.wait  # type: ignore[method-assign]
    mirror.rounds.run(stop, Beats(mirror.clock))
    assert [len(faults) for faults in seen] == [0, 1, 0]
    assert "Input/output" in seen[1][0]


def test_open_segments_stay_until_the_generation_that_holds_them_is_here(
    there: Any, make_mirror: Any
) -> None:
    """Also where its manifest cannot be used, and a late segment follows: nobody knows then what is in it."""
    there.fill(DAY, 30, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    there.seal(DAY)
    there.forget(DAY)
    there.write(DAY, there.make(DAY, 5, "late"), segment=2)
    mirror.filesystem.change = lambda path, _start, data: b"{" if path.endswith(f"chunk/{MANIFEST}") else data
    mirror.settle()
    assert mirror.state.day(DAY).segments() == [1, 2]
    assert DAY in not_held(mirror)
    mirror.filesystem.change = lambda _path, _start, data: data
    mirror.settle()
    assert (mirror.state.day(DAY).segments(), held_days(mirror)) == ([2], [DAY])


def test_what_was_said_to_be_missing_is_said_while_the_source_lists_nothing(
    there: Any, make_mirror: Any
) -> None:
    """An answer would be silently partial otherwise; once the source drops the day nothing of it is missing."""
    for day in DAYS:
        there.fill(day, 10, sealed=True)
    mirror = make_mirror(there.state.root, budget=1)
    mirror.settle()
    said = not_held(mirror)
    assert set(said) == set(DAYS)
    days = there.state.root / "days"
    days.rename(there.state.root / "away")
    mirror.settle()
    assert not_held(mirror) == said
    mirror.restart()
    mirror.settle()
    assert not_held(mirror) == said
    (there.state.root / "away").rename(days)
    there.disk.write_file(there.state.retention, to_bytes(Book(dropped=(Dropped(DAYS[0], "", 1, 1),))))
    there.disk.remove(there.state.day(DAYS[0]).folder)
    mirror.settle()
    assert set(not_held(mirror)) == set(DAYS[1:])


def test_a_day_that_rotted_here_is_pulled_anew_and_stops_no_other(there: Any, make_mirror: Any) -> None:
    """A manifest that cannot be read on this disk is this day's trouble only, and the source has it."""
    there.fill(DAYS[0], 10, sealed=True)
    there.fill(DAY, 10, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.settle()
    manifest = mirror.state.day(DAYS[0]).generation(1).chunk / MANIFEST
    manifest.chmod(0o600)
    manifest.write_bytes(b"{")
    mirror.restart()
    there.fill(DAY, 5, sealed=False)
    mirror.settle()
    assert read_counts(mirror.state.day(DAY).segment(1).counts("metadata"))[0] == 15
    assert held_days(mirror) == [DAYS[0]]
    assert mirror.rounds.status.faults == ()


def test_a_day_that_is_sealed_while_others_are_pulled_comes_before_them(there: Any, make_mirror: Any) -> None:
    """A first pull of years takes days: what was sealed yesterday does not wait for its end."""
    for day in DAYS:
        there.fill(day, 10, sealed=True)
    mirror = make_mirror(there.state.root)
    days = mirror.rounds._parts.sealed_days
    work = days.work(lambda: mirror.rounds._parts.survey.days, lambda: None)
    mirror.rounds._parts.survey.look(whole=True)
    while not mirror.state.day(DAY).current.exists():
        next(work)
    there.fill("2026-01-22", 10, sealed=True)
    mirror.rounds._parts.survey.look(whole=True)
    while not mirror.state.day("2026-01-22").current.exists():
        assert not mirror.state.day(DAYS[0]).current.exists()
        next(work)


def test_little_is_asked_while_nothing_changes(
    there: Any, make_mirror: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indices are looked at in turn, so each is seen within some rounds, and not all of them in each."""
    monkeypatch.setattr("services.mirror.sealed_days._IN_TURN", 1)
    days = [f"2026-01-{number:02d}" for number in range(1, 8)]
    for day in days:
        there.fill(day, 3, sealed=True)
    mirror = make_mirror(there.state.root)
    mirror.settle()
    asked: list[str] = []

    def noted(path: str, _start: int, data: bytes) -> bytes:
        asked.append(path)
        return data

    mirror.filesystem.change = noted
    mirror.turn()
    pointers = [path for path in asked if path.endswith("/attack/CURRENT")]
    assert 1 <= len(pointers) <= 3
    there.sealer().build_again(there.state.day(days[2]), "attack")
    mirror.turn(2 * len(days))
    assert mirror.state.day(days[2]).generation(1).index_current("attack").read_text() == "000002\n"


def test_long_files_are_synced_as_they_come(
    there: Any, make_mirror: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that publishing a day does not wait for gigabytes at once, while the open day waits for it."""
    monkeypatch.setattr("services.mirror.pulling._SYNCED", 2000)
    monkeypatch.setattr("services.mirror.pace.MOST", 1500)
    there.fill(DAY, 40, sealed=True)
    calls = _Counting()
    mirror = make_mirror(there.state.root, disk=Disk(calls))
    mirror.settle()
    assert held_days(mirror) == [DAY]
    assert max(calls.unsynced) <= 4000


class _Counting(QuickCalls):
    """Notes how many bytes each sync of file data had to write at most."""

    def __init__(self) -> None:
        self._written: dict[int, int] = {}
        self.unsynced = [0]

    def write(self, fd: int, data: Any) -> int:
        done = int(super().write(fd, data))
        self._written[fd] = self._written.get(fd, 0) + done
        return done

    def sync_data(self, fd: int) -> None:
        self.unsynced.append(self._written.pop(fd, 0))

    def close(self, fd: int) -> None:
        self.unsynced.append(self._written.pop(fd, 0) if fd in self._written else 0)
        super().close(fd)


def test_a_piece_that_never_arrives_is_asked_for_in_smaller_ones(there: Any, make_mirror: Any) -> None:
    """A link so slow that a piece takes longer than a request may: without it nothing would ever come."""
    there.fill(DAY, 200, sealed=True)
    mirror = make_mirror(there.state.root)
    asked: list[int] = []

    def slow(path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        size = (end or 0) - (start or 0)
        asked.append(size)
        mirror.clock.now += min(size / 4000, 10.0)
        if size > 40_000:
            raise TimeoutError("did not answer within 10 s")
        with open(path, "rb") as file:  # noqa: PTH123 - as a file system does
            file.seek(start or 0)
            return file.read(size)

    mirror.filesystem.cat_file = slow
    for _ in range(300):
        try:
            mirror.turn()
        except Exception as error:  # noqa: BLE001 - until the pieces are short enough
            assert "did not answer" in str(error)  # noqa: PT017 - later it does
        if mirror.state.day(DAY).current.exists():
            break
    assert held_days(mirror) == [DAY]
    assert max(asked) > 40_000
    assert min(asked[-5:]) <= LEAST
    assert np.median(asked) <= 40_000
