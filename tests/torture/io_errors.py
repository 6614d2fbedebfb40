"""Suite `io-errors`: every operation of the ingester fails, once or for good, with each of the errors of a disk.

A chapter is a short piece of the ingester's life over a state that is prepared once. A round does one chapter with one
operation that fails; then the ingester starts again over what is there, and once more over what the disk alone kept.
"""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torture.calls import FailingCalls, Sync, SyncFailed, Tape, Write
from torture.oracle import Facts, Oracle, touched
from torture.power import MEMORY, STATE, add_notes
from torture.replay import Tree, Volume
from torture.stage import Stage
from torture.suite import Outcome, Suite
from torture.workload import DAYS, NOON, Process, World, in_turn, make_event

from services.common.days.names import INDICES, StateNames
from services.common.days.sealed_reader import NOT_BUILT
from services.common.durable import Disk
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torture.suite import Budget

    from services.common.system_calls import SystemCalls

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.EACCES)
SENDS = tuple(make_event(f"{number}", NOON - 86_400 * (number % 2) + number) for number in range(12))
REFUSED = b"no event at all"


def begin(process: Process) -> None:
    """Events of two days, a refused one, feedback."""
    process.take(SENDS[:4])
    process.take([REFUSED, *SENDS[2:5]])
    process.remark(1)
    process.take(SENDS[5:6])
    process.remark(2)


def index(process: Process) -> None:
    """Events that were there, and new ones, go to the indices; what was told is told again."""
    process.take(SENDS[4:8])
    process.index()
    process.remark(2)


def seal(process: Process) -> None:
    """A day is sealed; the other goes on."""
    process.seal(DAYS[1])
    process.take(SENDS[8:10])


def seal_again(process: Process) -> None:
    """A late event makes a second generation."""
    process.take(SENDS[10:12])
    process.seal(DAYS[1])


def switch(process: Process) -> None:
    """An index is made anew, served, and the one before served again."""
    process.reindex(DAYS[1], INDICES[0])
    process.roll_back(DAYS[1], INDICES[0])


CHAPTERS: tuple[Callable[[Process], None], ...] = (begin, index, seal, switch, seal_again)
"""The last takes as long as all before; a change is judged without it."""


@dataclass(frozen=True)
class Chapter:
    """A chapter, what lies on disk before it, what was promised by then, and how many operations it has."""

    act: Callable[[Process], None]
    tree: Tree
    facts: Facts
    operations: int


class IoErrors:
    """Does the rounds."""

    def __init__(self, budget: Budget, make_disk: Callable[[SystemCalls], Disk]) -> None:
        """Prepare the chapters."""
        self._budget = budget
        folder = MEMORY if MEMORY.is_dir() else budget.folder
        self._top = Path(tempfile.mkdtemp(prefix="appia-errors-", dir=folder))
        self._stage = Stage(self._top)
        self._world = World(StateNames(self._top / STATE), make_disk=make_disk, is_signed=True)
        self._oracle = Oracle(self._world)
        self._left_open: list[str] = []
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Do the rounds of the budget."""
        try:
            with in_turn(random.Random(self._budget.seed)):
                chapters = list(self._prepare())
                for chapter in chapters:
                    self.outcome.count(f"operations of {chapter.act.__name__}", chapter.operations)
                for number in self._budget.numbers(self.outcome):
                    self._round(number, chapters)
                    self.outcome.rounds += 1
        finally:
            shutil.rmtree(self._top)
        return self.outcome

    def _prepare(self) -> Iterable[Chapter]:
        tree, facts = Tree({}, {}), Facts()
        for act in CHAPTERS:
            counting = FailingCalls(Tape(self._top), -1, 0)
            tape = self._live(tree, act, counting)
            yield Chapter(act, tree, facts.copy(), counting.count)
            volume = Volume(tree)
            volume.follow(tape.operations)
            add_notes(facts, tape, 0, len(tape.operations))
            tree = volume.now()

    def _live(self, tree: Tree, act: Callable[[Process], None], calls: FailingCalls) -> Tape:
        """Do a chapter over a tree; gives its tape. Raises what ends the process."""
        self._stage.forget()
        self._stage.show(tree, ())
        process: Process | None = None
        try:
            process = Process(self._world, calls, calls.tape, models=int(act is switch))
            act(process)
        finally:
            if process is not None:
                failed = calls.failed
                with suppress(OSError, AppiaError):
                    process.end()
                self._left_open = (
                    calls.left_open() if calls.failed == failed else []
                )  # it may fail while it ends
                calls.bury()
        return calls.tape

    def _round(self, number: int, chapters: list[Chapter]) -> None:
        """Round by round: each operation with one error, then each with the next, and later each for good."""
        total = sum(chapter.operations for chapter in chapters)
        turn, at = divmod(number, total)
        chapter = chapters[0]
        for chapter in chapters:
            if at < chapter.operations:
                break
            at -= chapter.operations
        error = ERRORS[(turn + number) % len(ERRORS)]
        calls = FailingCalls(Tape(self._top), at, error, forever=(turn // len(ERRORS)) % 2 == 1)
        for fault in list(self._judge(chapter, calls))[:3]:
            where = f"{chapter.act.__name__}, operation {at}, {errno.errorcode[error]}"
            self.outcome.fault(number, f"{where}: {fault}")
        self.outcome.count(errno.errorcode[error])

    def _judge(self, chapter: Chapter, calls: FailingCalls) -> Iterable[str]:
        try:
            self._live(chapter.tree, chapter.act, calls)
        except (OSError, AppiaError):
            self.outcome.count("processes ended")
        except Exception as error:  # noqa: BLE001 - which it is, is what is judged
            yield f"the process ends with {type(error).__name__}: {error}"
        else:  # it lives on, so what it does not close is never closed
            yield from (f"{path} stays open" for path in self._left_open)
        if not calls.failed:
            yield "the operation did not come"
        yield from retried(calls.tape)
        facts = chapter.facts.copy()
        add_notes(facts, calls.tape, 0, len(calls.tape.operations))
        volume = Volume(chapter.tree)
        volume.follow(calls.tape.operations)
        again = Tape(self._top)
        yield from _named("a start", self._oracle.judge(volume.now(), facts, again))
        volume.follow(again.operations)
        add_notes(facts, again, 0, len(again.operations))
        left = volume.promised()
        self._stage.forget()
        self._stage.show(left, touched(again))
        yield from _named("a power cut later", self._oracle.judge(left, facts, Tape(self._top)))


def _named(what: str, faults: Iterable[str]) -> Iterable[str]:
    """All but indices that could not be built: the day serves without, and the jobs of sealing build them later."""
    return (f"after {what}: {fault}" for fault in faults if NOT_BUILT not in fault)


def retried(tape: Tape) -> Iterable[str]:
    """Syncs that were tried again after they failed, with nothing written anew: they succeed and sync nothing."""
    failed: set[int] = set()
    for operation in tape.operations:
        if isinstance(operation, SyncFailed):
            failed.add(operation.handle)
        elif isinstance(operation, Write):
            failed.discard(operation.handle)
        elif isinstance(operation, Sync) and operation.handle in failed:
            yield "a sync that failed is tried again"


def run(budget: Budget, make_disk: Callable[[SystemCalls], Disk] = Disk) -> Outcome:
    """Do the rounds; `make_disk` gives what is tortured."""
    return IoErrors(budget, make_disk).run()


SUITE = Suite(
    "io-errors",
    "a disk that fails loses nothing acknowledged, and ends or pauses the process",
    "operations",
    ci_rounds=1_120,
    full_rounds=20_000,
    run=run,
)
