"""Suite `power-cut`: the power goes at any operation, and the disk keeps any part of what was not synced.

A recording (a story of many lives, see `workload.py`) serves so many rounds as `ROUNDS_A_RECORDING`; each round cuts it
at one operation and draws one state of the disk. In a part of the rounds the power goes once more while the ingester
recovers and goes on.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torture.calls import Tape
from torture.oracle import Facts, Oracle, touched
from torture.replay import Volume
from torture.stage import Stage
from torture.suite import Outcome, Suite
from torture.workload import OneKey, Story, World, in_turn

from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torture.replay import Tree
    from torture.suite import Budget

    from services.common.system_calls import SystemCalls

ROUNDS_A_RECORDING = 1000
LIVES = 8
AGAIN_SHARE = 0.2
"""Of the rounds, in how many the power goes once more."""
DEEPER_EVERY = 300
MEMORY = Path("/dev/shm")  # noqa: S108 - not shared: a folder of its own is made there
STATE = "state"


@dataclass(frozen=True)
class Recording:
    """What a story did, and how many operations."""

    number: int
    tape: Tape


def record(top: Path, world: World, seed: int, number: int) -> Recording:
    """Tell the story with a number; the same seed and number give the same tape."""
    tape, luck = Tape(top), random.Random(f"{seed}/recording {number}")
    with in_turn(luck):
        Story(world, tape, luck).tell(LIVES)
    return Recording(number, tape)


class PowerCuts:
    """Does the rounds. One folder is used again and again, in memory where there is such a file system."""

    def __init__(self, budget: Budget, make_disk: Callable[[SystemCalls], Disk]) -> None:
        """Prepare; `make_disk` gives what is tortured."""
        self._budget = budget
        self._top = Path(tempfile.mkdtemp(prefix="appia-power-", dir=_quickest(budget.folder)))
        self._stage = Stage(self._top)
        self._world = World(StateNames(self._top / STATE), make_disk=make_disk)
        self._oracle = Oracle(self._world)
        self._recording: Recording | None = None
        self._volume, self._at = Volume(), 0
        self._facts, self._noted = Facts(), 0
        self._seen: set[int] = set()
        self._tape = Tape(self._top)
        self._ids = random.Random(
            0
        )  # of log files; drawn from apart, so that no draw of a round depends on them
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Do the rounds of the budget."""
        try:
            with in_turn(self._ids):
                for number in self._budget.numbers(self.outcome):
                    self._ids.seed(f"{self._budget.seed}/ids {number}")
                    self._round(number)
                    self.outcome.rounds += 1
        finally:
            shutil.rmtree(self._top)
        return self.outcome

    def _round(self, number: int) -> None:
        luck = self._budget.random(number)
        tape = self._recorded(number // ROUNDS_A_RECORDING)
        cut = len(tape.operations) * (number % ROUNDS_A_RECORDING + 1) // ROUNDS_A_RECORDING
        self._forward(tape, cut)
        tree, facts = self._volume.cut(luck), self._facts
        if luck.random() < AGAIN_SHARE:
            tree, facts = self._again(tree, facts, luck)
            self.outcome.count("cut twice")
        key = tree.key()
        if key in self._seen:
            self.outcome.count("seen before")
            return
        self._seen.add(key)
        self._judge(number, tree, facts)

    def _judge(self, number: int, tree: Tree, facts: Facts) -> None:
        faults = self._oracle.judge(tree, facts, self._show(tree))
        if not faults and number % DEEPER_EVERY == 0:
            faults = self._oracle.deeper(facts)
            self.outcome.count("sealed after")
            self._stage.forget()
        for fault in faults[:3]:
            self.outcome.fault(number, fault)

    def _show(self, tree: Tree) -> Tape:
        """Make the folder hold a tree; gives a new tape for what is done to it."""
        self._stage.show(tree, touched(self._tape))
        self._tape = Tape(self._top)
        return self._tape

    def _again(self, tree: Tree, facts: Facts, luck: random.Random) -> tuple[Tree, Facts]:
        """Let the ingester start over `tree` and go on, and cut that; gives what is left and what was promised."""
        tape = self._show(tree)
        self._oracle.live(tape, facts, luck)
        cut = luck.randint(0, len(tape.operations))
        volume, later = Volume(tree), facts.copy()
        volume.follow(tape.operations[:cut])
        add_notes(later, tape, 0, cut)
        return volume.cut(luck), later

    def _recorded(self, number: int) -> Tape:
        if self._recording is None or self._recording.number != number:
            self._stage.clear()
            keys = OneKey() if number % 4 == 2 else NO_KEYS
            world = replace(self._world, is_signed=number % 2 == 1, keys=keys)
            self._oracle = Oracle(world)
            self._recording = record(self._top, world, self._budget.seed, number)
            self._stage.clear()
            self._volume, self._at, self._facts, self._noted = Volume(), 0, Facts(), 0
            self._seen.clear()
            self.outcome.count("recordings")
            self.outcome.count("operations", len(self._recording.tape.operations))
        return self._recording.tape

    def _forward(self, tape: Tape, cut: int) -> None:
        if cut < self._at:
            self._volume, self._at, self._facts, self._noted = Volume(), 0, Facts(), 0
        self._volume.follow(tape.operations[self._at : cut])
        self._at = cut
        self._noted = add_notes(self._facts, tape, self._noted, cut)


def add_notes(facts: Facts, tape: Tape, first: int, cut: int) -> int:
    """Add the notes from number `first` on that hold after `cut` operations; gives the number of the next."""
    while first < len(tape.notes) and tape.notes[first][0] <= cut:
        _, kind, what = tape.notes[first]
        facts.add(kind, what)
        first += 1
    return first


def _quickest(folder: Path) -> Path:
    """Syncs are recorded and not done, so a file system in memory shows the same and is quicker."""
    return MEMORY if MEMORY.is_dir() else folder


def run(budget: Budget, make_disk: Callable[[SystemCalls], Disk] = Disk) -> Outcome:
    """Do the rounds; `make_disk` gives what is tortured, by default what the product has."""
    return PowerCuts(budget, make_disk).run()


SUITE = Suite(
    "power-cut",
    "what is acknowledged survives a power cut, once, and nothing torn is shown",
    "states",
    ci_rounds=20_000,
    full_rounds=1_000_000,
    run=run,
    weight=3.0,
)
