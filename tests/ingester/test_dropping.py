"""A day is dropped whole and signed, never one that is held or read; a crash at any step loses nothing but time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from services.common.chain.keys import new_signing_key
from services.common.chain.store import read_chain
from services.common.days.holds import Going, read_book
from services.common.days.leases import alone_with, hold_folder
from services.common.days.proof import prove_day
from services.common.days.sealed_reader import SealedReader
from services.common.days.sealing import Sealer
from services.common.days.verify import verify_day
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.events.vocabulary import load_vocabulary
from services.common.system_calls import SystemCalls
from services.ingester.dropping import DROP, Dropping
from services.ingester.holding import BookKeeper, HoldDesk
from services.ingester.jobs import Job
from services.ingester.queue import ByteQueue
from services.ingester.sealing_jobs import JobTools
from services.ingester.signing import Signing

from .conftest import DAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames

A_DAY = 86_400
EVENTS = 20


class Here:
    """Stands where the receiver does: work is done at once."""

    @staticmethod
    def call(work: Callable[[], Any]) -> Any:
        return work()


class World:
    """One life of the parts that drop days, over a state directory."""

    def __init__(self, state: StateNames, opened: Any, clock: Any, reports: Any, disk: Disk) -> None:
        self.state, self.opened, self.reports = state, opened, reports
        self.keeper = BookKeeper(state, disk)
        self.desk = HoldDesk(state, self.keeper, clock.ns)
        here: Any = Here()
        self.tools = JobTools(
            opened.intake,
            here,
            ByteQueue(1),
            disk,
            Signing(state, state.keys, disk, clock.ns),
            clock.ns,
            clock.monotonic,
            reports,
            lambda: False,
            self.keeper,
        )
        self.dropping = Dropping(state, self.tools, lambda _going: "")

    def drop(self, day: str = DAY) -> Job:
        """What the thread of the jobs does with a request."""
        self.dropping.check(day, {})
        job = Job("drop-1", day, DROP)
        self.dropping.kind().work(job)
        return job


@pytest.fixture
def sealed(  # noqa: PLR0917 - fixtures
    state: StateNames,
    start: Callable[[], Any],
    make_events: Callable[..., list[bytes]],
    disk: Disk,
    embedders: Embedders,
    clock: Any,
) -> Any:
    """A signed sealed day, and the intake behind it a day later."""
    new_signing_key(state.keys, disk)
    opened = start()
    opened.add(make_events(EVENTS))
    opened.intake.rotate(DAY)
    links = Signing(state, state.keys, disk, clock.ns).links()
    Sealer(disk, load_vocabulary(), embedders, lambda *_: None, links=links).seal(state.day(DAY), 1)
    clock.seconds += A_DAY
    return opened


@pytest.fixture
def world(state: StateNames, sealed: Any, clock: Any, reports: Any, disk: Disk) -> World:
    return World(state, sealed, clock, reports, disk)


def days_left(state: StateNames) -> list[str]:
    """What lies in the folder of days, hidden things too."""
    return [path.name for path in (state.root / "days").iterdir()]


def faults(state: StateNames) -> list[str]:
    """What `appia verify` would say."""
    proof = prove_day(DAY, [state.day(DAY)], read_chain(state.links, None))
    return [*verify_day(state.day(DAY)).faults, *proof.faults]


def test_a_dropped_day_leaves_nothing_but_its_link_and_its_line_in_the_book(
    world: World, state: StateNames, make_events: Callable[..., list[bytes]], dead_letters: Any
) -> None:
    """Its files are gone, the chain says so, and what comes for it later is set aside as such, also after a start."""
    report = world.drop().report
    assert report is not None
    assert (report["rows"], report["waits"]) == (EVENTS, "")
    assert report["bytes"] > 10_000
    assert days_left(state) == []
    assert [link.what for link in read_chain(state.links, None).links] == ["begin", "sealed", "removed"]
    assert faults(state) == []
    book = read_book(state.retention)
    assert (book.going, book.refused, book.dropped[0].rows) == ((), {DAY}, EVENTS)
    assert world.opened.add(make_events(2, "late")) == (0, 0, {"day_dropped": 2})
    assert {letter["reason"] for letter in dead_letters()} == {"day_dropped"}
    with pytest.raises(AppiaError, match="dropped already"):
        world.drop()
    assert world.opened.add(make_events(1, "later")) == (0, 0, {"day_dropped": 1}), (
        "asking again changes nothing"
    )
    with pytest.raises(AppiaError, match="only a backup has it"):
        world.desk.hold({"day": DAY, "who": "ana"})


def test_a_held_day_is_not_dropped(world: World, state: StateNames) -> None:
    """Two cases hold it: it goes when the last has let go, and whoever asks is told which hold it."""
    for case in ("smith", ""):
        world.desk.hold({"day": DAY, "case": case, "who": "ana", "note": "evidence"})
    with pytest.raises(AppiaError, match=r"held for manual \(ana\), smith \(ana\)"):
        world.drop()
    assert [one["case"] for one in world.desk.release({"day": DAY, "case": "smith"})["left"]] == ["manual"]
    with pytest.raises(AppiaError, match="is held for manual"):
        world.drop()
    assert faults(state) == []
    world.desk.release({"day": DAY})
    assert world.drop().report is not None
    with pytest.raises(AppiaError, match="not held"):
        world.desk.release({"day": DAY})


def test_a_hold_that_comes_while_a_day_is_about_to_go_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at once more under the lock of the book; the intake takes events of the day again then."""
    drop = world.opened.intake.drop

    def held_meanwhile(day: str) -> None:
        drop(day)
        world.desk.hold({"day": day, "who": "ana"})

    monkeypatch.setattr(world.opened.intake, "drop", held_meanwhile)
    world.dropping.check(DAY, {})
    with pytest.raises(AppiaError, match="is held"):
        world.dropping.kind().work(Job("drop-1", DAY, DROP))
    assert world.state.day(DAY).current.exists()
    assert world.opened.intake._dropped == set()


def test_what_is_not_over_or_not_sealed_is_not_dropped(
    world: World, clock: Any, make_events: Callable[..., list[bytes]], state: StateNames
) -> None:
    """Today, a day that is not there, and a day with late events that are not sealed."""
    clock.seconds -= A_DAY
    with pytest.raises(AppiaError, match="not over"):
        world.drop()
    clock.seconds += A_DAY
    with pytest.raises(AppiaError, match="not sealed"):
        world.drop("2026-01-01")
    world.opened.add(make_events(3, "late"))
    with pytest.raises(AppiaError, match="events that are not sealed"):
        world.drop()
    assert faults(state) == []
    assert not state.retention.exists()


def test_nothing_is_deleted_that_somebody_reads(world: World, state: StateNames, clock: Any) -> None:
    """The pointer goes, the files stay until the reader closes them; meanwhile verify finds nothing wrong."""
    reader = SealedReader(DAY, state.day(DAY).generation(1))
    view = reader.view()
    job = world.drop()
    assert job.report is not None
    assert job.report["waits"] == "a replica still reads it"
    assert not state.day(DAY).current.exists()
    assert state.day(DAY).generations() == [1]
    assert faults(state) == []
    assert [fields["event_id"] for fields in view.events.fetch([0])] != []
    for _ in range(3):
        clock.seconds += 10
        world.dropping.go_on()
    assert state.day(DAY).generations() == [1]
    assert [facts["why"] for facts in world.reports.named("drop_waits")] == ["a replica still reads it"]
    reader.close()
    del view, reader
    clock.seconds += 10
    world.dropping.go_on()
    assert days_left(state) == []
    assert read_book(state.retention).going == ()


HOLDER = """
import sys, time
from pathlib import Path
from services.common.days.leases import alone_with, hold_folder
hold_folder(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_reader_that_was_killed_holds_nothing(world: World, state: StateNames, clock: Any) -> None:
    """A process that holds the folder is killed with SIGKILL; the next look deletes it."""
    command = [sys.executable, "-c", HOLDER, str(state.day(DAY).generation(1).folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert world.drop().report["waits"]  # type: ignore[index]
        process.kill()
    clock.seconds += 10
    world.dropping.go_on()
    assert days_left(state) == []


def test_who_comes_while_it_is_deleted_is_refused(state: StateNames, world: World) -> None:
    """A reader that opens files which somebody is deleting is told so, and holds nothing."""
    folder = state.day(DAY).generation(1).folder
    with alone_with(state.day(DAY).folder) as is_alone:
        assert is_alone
        with pytest.raises(AppiaError, match="being deleted"):
            hold_folder(folder)
        with pytest.raises(AppiaError, match="being deleted"):
            SealedReader(DAY, state.day(DAY).generation(1))
    SealedReader(DAY, state.day(DAY).generation(1)).close()
    assert world.keeper.book().going == ()


class Killed(BaseException):
    """The end of the process."""


class Mortal(SystemCalls):
    """Ends the process before its n-th change of a file."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        if flags & os.O_CREAT:
            self._count()
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._count()
        return super().write(fd, data)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self._count()
        return super().pwrite(fd, data, offset)

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._count()
        super().rename(old, new)

    def unlink(self, path: Path | str) -> None:
        self._count()
        super().unlink(path)

    def rmdir(self, path: Path | str) -> None:
        self._count()
        super().rmdir(path)


def test_a_crash_at_any_step_is_gone_on_from(  # noqa: PLR0917 - fixtures
    state: StateNames, sealed: Any, start: Callable[[], Any], clock: Any, reports: Any, tmp_path: Path
) -> None:
    """Before every change of a file the process ends: the next start has the whole day, or drops the rest of it."""
    sealed.intake.close()
    sealed.is_closed_elsewhere = True
    before = tmp_path / "before"
    shutil.copytree(state.root, before)
    outcomes = []
    for steps in range(400):
        shutil.rmtree(state.root)
        shutil.copytree(before, state.root)
        world = World(state, start(), clock, reports, Disk(Mortal(steps)))
        try:
            world.drop()
        except Killed:
            was_decided = Going(DAY) in read_book(state.retention).going
        else:
            break
        finally:
            world.opened.intake.close()
            world.opened.is_closed_elsewhere = True
        outcomes.append(_start_again(state, start, clock, reports, was_decided=was_decided))
    assert outcomes == sorted(outcomes), "until it was decided the day is whole; from then on it goes"
    assert set(outcomes) == {False, True}
    assert len(outcomes) > 30, len(outcomes)


def _start_again(
    state: StateNames, start: Callable[[], Any], clock: Any, reports: Any, *, was_decided: bool
) -> bool:
    disk = Disk()
    Signing(state, state.keys, disk, clock.ns).prepare(lambda _sentence: None)
    world = World(state, start(), clock, reports, disk)
    world.dropping.go_on()
    world.opened.intake.close()
    world.opened.is_closed_elsewhere = True
    is_gone = days_left(state) == []
    assert is_gone == was_decided
    assert faults(state) == []
    assert read_book(state.retention).going == ()
    assert is_gone or verify_day(state.day(DAY)).rows == EVENTS
    return is_gone


@pytest.mark.parametrize("how", ["flipped", "shorter", "newer", "other", "checksum"])
def test_a_damaged_book_holds_every_day(world: World, state: StateNames, disk: Disk, how: str) -> None:
    """No day is dropped, held or released until it is restored; then all is as before, without a start."""
    world.desk.hold({"day": DAY, "who": "ana"})
    good = state.retention.read_bytes()
    bad = {
        "flipped": good.replace(DAY.encode(), b"2026-01-23"),
        "shorter": good[:-20],
        "newer": good.replace(b'"format":1', b'"format":2'),
        "other": b"[]\n",
        "checksum": good.replace(b'"sha256":"', b'"sha256":"0'),
    }
    disk.write_file(state.retention, bad[how])
    fresh = BookKeeper(state, disk)
    world.dropping._keeper = fresh
    world.desk._keeper = fresh
    with pytest.raises(AppiaError, match="cannot be used"):
        world.drop()
    with pytest.raises(AppiaError, match="cannot be used"):
        world.desk.release({"day": DAY})
    world.dropping.go_on()
    disk.write_file(state.retention, good)
    with pytest.raises(AppiaError, match="is held"):
        world.drop()
    assert faults(state) == []


def test_without_a_key_days_are_dropped_too(world: World, state: StateNames) -> None:
    """Nothing is signed then."""
    shutil.rmtree(state.keys)
    shutil.rmtree(state.links.parent)
    assert world.drop().report is not None
    assert not state.links.exists()


def test_a_damaged_chain_stops_a_drop_before_anything_is_done(
    world: World, state: StateNames, disk: Disk
) -> None:
    """The day serves on, and takes events."""
    data = state.links.read_bytes()
    disk.write_file(state.links, data.replace(b'"number":1', b'"number":7'))
    with pytest.raises(AppiaError, match="damaged"):
        world.drop()
    assert state.day(DAY).current.exists()
    assert not state.retention.exists()
    assert world.opened.intake._dropped == set()


def test_a_book_that_cannot_be_written_leaves_the_day_as_it_is(world: World, state: StateNames) -> None:
    """A full disk at that very moment: the intake takes events of the day again."""

    class Full(SystemCalls):
        def write(self, fd: int, data: bytes | memoryview) -> int:  # noqa: ARG002 - as the port has it
            raise OSError(28, "No space left on device")

    full = BookKeeper(state, Disk(Full()))
    world.dropping._keeper = full
    world.dropping._tools = replace(world.tools, keeper=full)
    with pytest.raises(OSError, match="No space"):
        world.drop()
    assert world.opened.intake._dropped == set()
    assert state.day(DAY).current.exists()
    assert faults(state) == []
