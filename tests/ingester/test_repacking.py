"""The whole vectors go when their smaller form serves and nobody maps them; a crash or a change of mind is no harm."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from services.common.chain.keys import new_signing_key
from services.common.chain.store import read_chain
from services.common.days.holds import Going, make_hold, read_book
from services.common.days.names import numbered, read_pointer
from services.common.days.proof import prove_day
from services.common.days.repacking import Repacker
from services.common.days.sealed_reader import SealedReader
from services.common.days.sealing import Sealer
from services.common.days.switching import roll_back
from services.common.days.verify import verify_day
from services.common.errors import AppiaError, UsageError
from services.common.events.vocabulary import load_vocabulary
from services.ingester.dropping import Dropping
from services.ingester.holding import BookKeeper
from services.ingester.jobs import Job
from services.ingester.queue import ByteQueue
from services.ingester.repacking import REPACK, Repacking
from services.ingester.sealing_jobs import JobTools
from services.ingester.signing import Signing

from .conftest import DAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames
    from services.common.durable import Disk


class InProcess:
    """The sealer, in this process."""

    stopped = False

    def __init__(self, state: StateNames, disk: Disk, signing: Signing) -> None:
        self._state, self._disk, self._signing = state, disk, signing

    def run(self, job: Job, *what: str) -> None:
        assert what == ("--repack", "attack", "--form", "balanced")
        repacker = Repacker(self._disk, lambda *_: None, links=self._signing.links())
        job.report = asdict(repacker.build(self._state.day(job.day), "attack", "balanced"))

    def give_way(self) -> None:
        """Nothing runs."""

    def stop(self) -> None:
        """Nothing runs."""


class World:
    """What makes days smaller, over a state directory."""

    def __init__(self, state: StateNames, disk: Disk, clock: Any, reports: Any) -> None:
        self.state, self.keeper, nobody = state, BookKeeper(state, disk), None
        signing = Signing(state, state.keys, disk, clock.ns)
        unused: Any = nobody
        self.tools = JobTools(
            unused,
            unused,
            ByteQueue(1),
            disk,
            signing,
            clock.ns,
            clock.monotonic,
            reports,
            lambda: False,
            self.keeper,
        )
        self.repacking = Repacking(state, self.tools, InProcess(state, disk, signing))
        self.dropping = Dropping(state, self.tools, self.repacking.finish)

    def repack(self) -> dict[str, Any]:
        kind = self.repacking.kind()
        job = Job("repack-1", DAY, REPACK, kind.check(DAY, {"index": "attack", "form": "balanced"}))
        kind.work(job)
        assert job.report is not None
        return job.report

    def faults(self) -> list[str]:
        day = self.state.day(DAY)
        proof = prove_day(DAY, [day], read_chain(self.state.links, None))
        return [*verify_day(day).faults, *proof.faults]

    def versions(self) -> tuple[int | None, list[int]]:
        generation = self.state.day(DAY).generation(1)
        return read_pointer(generation.index_current("attack")), numbered(generation.index("attack"))


@pytest.fixture
def world(  # noqa: PLR0917 - fixtures
    state: StateNames,
    start: Callable[[], Any],
    make_events: Callable[..., list[bytes]],
    disk: Disk,
    embedders: Embedders,
    clock: Any,
    reports: Any,
) -> World:
    """A signed sealed day."""
    new_signing_key(state.keys, disk)
    opened = start()
    opened.add(make_events(50))
    opened.intake.rotate(DAY)
    links = Signing(state, state.keys, disk, clock.ns).links()
    Sealer(disk, load_vocabulary(), embedders, lambda *_: None, links=links).seal(state.day(DAY), 1)
    return World(state, disk, clock, reports)


def test_the_smaller_form_serves_and_the_larger_one_goes(world: World, state: StateNames) -> None:
    """It is signed; asked again nothing is done."""
    report = world.repack()
    assert (report["waits"], world.versions(), world.faults()) == ("", (2, [2]), [])
    assert read_book(state.retention).going == ()
    assert world.repack()["version"] == 2
    assert world.versions() == (2, [2])


def test_the_larger_form_waits_for_who_maps_it(world: World, state: StateNames, clock: Any) -> None:
    """A reader that has the old vectors open keeps their files; one that sees the new pointer lets go."""
    reader = SealedReader(DAY, state.day(DAY).generation(1))
    old = reader.view().indices["attack"]
    assert world.repack()["waits"] == "a replica still reads it"
    assert world.versions() == (2, [1, 2])
    assert world.faults() == []
    reader.view()
    assert old.vector(3) is not None
    del old
    clock.seconds += 10
    world.dropping.go_on()
    assert (world.versions(), read_book(state.retention).going) == ((2, [2]), ())
    assert world.faults() == []
    reader.close()


def test_who_went_back_keeps_the_larger_form(world: World, state: StateNames) -> None:
    """It waited for a reader, and somebody had it served again meanwhile: it is not deleted."""
    world.repack()
    going = Going(DAY, "000001/attack/000002")
    world.keeper.change(lambda book: book.with_going(going))
    world.dropping.go_on()
    assert (world.versions(), read_book(state.retention).going) == ((2, [2]), ())


def test_a_crash_before_the_larger_form_is_written_down_is_made_good(
    world: World, state: StateNames, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forms lie there; the same request again lets the larger one go."""
    with monkeypatch.context() as patch:
        patch.setattr(world.repacking, "_let_go", lambda *_: "")
        world.repack()
    assert world.versions() == (2, [1, 2])
    world.repack()
    assert (world.versions(), world.faults()) == ((2, [2]), [])
    with pytest.raises(AppiaError, match="no earlier version"):
        roll_back(state.day(DAY), "attack", disk, world.tools.signing.links())


def test_a_held_day_is_not_changed(world: World) -> None:
    """Not even made smaller."""
    world.keeper.change(lambda book: book.with_hold(make_hold(DAY, "smith", "ana", "", "now")))
    with pytest.raises(AppiaError, match="is held"):
        world.repack()
    assert world.versions() == (1, [1])


def test_a_day_that_is_held_while_it_is_made_smaller_stays_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smaller form waits beside the whole vectors, which serve on; the day let go, it goes on from there."""
    hold = make_hold(DAY, "smith", "ana", "", "now")
    build = InProcess.run

    def held_meanwhile(worker: InProcess, job: Job, *what: str) -> None:
        build(worker, job, *what)
        world.keeper.change(lambda book: book.with_hold(hold))

    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "run", held_meanwhile)
        with pytest.raises(AppiaError, match="is held"):
            world.repack()
    assert (world.versions(), world.faults()) == ((1, [1, 2]), [])
    world.keeper.change(lambda book: book.without_holds((hold,)))
    assert (world.repack()["waits"], world.versions()) == ("", (2, [2]))


def test_whole_vectors_that_wait_for_a_reader_stay_once_their_day_is_held(
    world: World, state: StateNames, clock: Any
) -> None:
    """A day is held or something of it is on its way out, never both; what was to go is asked for again later."""
    reader = SealedReader(DAY, state.day(DAY).generation(1))
    old = reader.view().indices["attack"]
    assert world.repack()["waits"]
    world.keeper.change(lambda book: book.with_hold(make_hold(DAY, "smith", "ana", "", "now")))
    reader.close()
    del old, reader
    clock.seconds += 10
    world.dropping.go_on()
    assert (world.versions(), read_book(state.retention).going) == ((2, [1, 2]), ())


@pytest.mark.parametrize(
    "args", [{}, {"index": "entity", "form": "balanced"}, {"index": "attack", "form": "fast"}]
)
def test_what_is_no_smaller_form_of_an_index_of_events_is_refused(world: World, args: dict[str, str]) -> None:
    """Before anything is queued."""
    with pytest.raises(UsageError, match="smaller form"):
        world.repacking.kind().check(DAY, args)
