"""Suite `disk-full`: a small disk is filled to the last block, below the intake and inside its limit, and freed again.

The disk is a tmpfs of its own, which only root may mount. A round fills it with something foreign to a level that is
drawn, goes on sending and asking, frees it, and sends again. Now and then the ingester is killed and starts again.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torture.calls import RecordingCalls, Tape
from torture.oracle import Facts, Oracle, look_at_segment
from torture.power import STATE, add_notes
from torture.replay import Tree
from torture.suite import Outcome, Suite
from torture.workload import DAYS, NOON, Process, World, make_event

from services.common.days.names import StateNames
from services.common.durable import Disk, is_full
from services.ingester.room import TRY_AGAIN_S, Gauge, Room

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from torture.suite import Budget

    from services.common.system_calls import SystemCalls

DISK_BYTES = 4 << 20
STOP_PERCENT = 92.0
ROUNDS_A_STATE = 25
RESTART_EVERY = 5
PAGE = 4096
LEVELS = (0, 2, DISK_BYTES // PAGE // 20, *(DISK_BYTES // PAGE // part for part in (5, 6, 8)))
"""Pages that are left: none, a few, above the limit of the intake, and below it."""


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)  # noqa: S607 - of the system
    return done.returncode == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs of `DISK_BYTES` in `folder`, for root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "appia-torture", folder], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607


@dataclass
class Sender:
    """Sends again what was not acknowledged, as a sensor does."""

    waiting: list[bytes] = field(default_factory=list)
    sent: int = 0

    def next(self, luck: random.Random) -> list[bytes]:
        """The next frame: what waits, and something new."""
        for _ in range(luck.randint(1, 20)):
            self.sent += 1
            self.waiting.append(make_event(f"{self.sent}", NOON - 86_400 * luck.randint(0, 1) - self.sent))
        return self.waiting[:100]

    def acknowledged(self, payloads: list[bytes]) -> None:
        """Forget what was taken."""
        del self.waiting[: len(payloads)]


class FullDisk:
    """Does the rounds on one small disk."""

    def __init__(self, budget: Budget, top: Path, make_disk: Callable[[SystemCalls], Disk]) -> None:
        """Begin with an empty disk at `top`."""
        self._budget, self._top = budget, top
        self._ballast = top / "ballast"
        self._world = World(StateNames(top / STATE), make_disk=make_disk)
        self._seconds = 0.0
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Do the rounds of the budget; whole states, so that a round can be done again by its number."""
        for number in self._budget.numbers(self.outcome):
            if number % ROUNDS_A_STATE == 0 or not self.outcome.rounds:
                self._begin()
                for before in range(number - number % ROUNDS_A_STATE, number):
                    self._round(before, Outcome())
            self._round(number, self.outcome)
            self.outcome.rounds += 1
        self._process.kill()
        return self.outcome

    def _begin(self) -> None:
        if self.outcome.rounds:
            self._process.kill()
        subprocess.run(["find", self._top, "-mindepth", "1", "-delete"], check=True)  # noqa: S607
        self._facts, self._sender = Facts(), Sender()
        self._gauge = Gauge(
            Room(self._world.state.root, STOP_PERCENT), lambda _e, _f: None, lambda: self._seconds
        )
        self._start()

    def _start(self) -> None:
        self._tape = Tape(self._top)
        self._process = Process(self._world, RecordingCalls(self._tape), self._tape)

    def _round(self, number: int, outcome: Outcome) -> None:
        luck = self._budget.random(number)
        faults = [*self._fill_and_send(luck, outcome)]
        self._ballast.unlink()
        self._seconds += 2 * TRY_AGAIN_S
        if self._gauge.is_shut() or not self._send(luck, outcome):
            faults.append("the intake does not go on when there is room again")
        faults += self._ask()
        if number % RESTART_EVERY == RESTART_EVERY - 1:
            faults += self._restart()
        for fault in faults[:3]:
            outcome.fault(number, fault)

    def _fill_and_send(self, luck: random.Random, outcome: Outcome) -> Iterable[str]:
        self._fill(luck.choice(LEVELS))
        for _ in range(luck.randint(1, 6)):
            self._seconds += luck.choice((0.1, TRY_AGAIN_S))
            if self._gauge.is_shut():
                outcome.count("not read")
            else:
                if luck.random() < 0.5:  # another process is quicker
                    self._fill(luck.choice((0, 1, 2, 5)))
                self._send(luck, outcome)
            if luck.random() < 0.4:
                self._process.index()
        yield from self._ask()

    def _fill(self, pages: int) -> None:
        """Leave so many pages free."""
        free = os.statvfs(self._top).f_bavail - pages
        with self._ballast.open("ab") as file:
            if free > 0:
                os.posix_fallocate(file.fileno(), file.tell(), free * PAGE)

    def _send(self, luck: random.Random, outcome: Outcome) -> bool:
        """Send a frame; whether it was acknowledged. A process that ends is started again, as the supervisor does."""
        payloads = self._sender.next(luck)
        try:
            self._process.take(payloads)
        except OSError as error:
            outcome.count("found full")
            self._gauge.found_full()
            if not is_full(error):
                outcome.count("processes ended")
                self._process.kill()
                self._start()
            return False
        self._gauge.has_written()
        self._sender.acknowledged(payloads)
        outcome.count("acknowledged", len(payloads))
        return True

    def _ask(self) -> Iterable[str]:
        """Look at the open days as a replica does."""
        for day in DAYS:
            names = self._world.state.day(day)
            for segment in names.segments():
                yield from look_at_segment(self._world, names.segment(segment))

    def _restart(self) -> Iterable[str]:
        self._process.kill()
        add_notes(self._facts, self._tape, 0, len(self._tape.operations))
        self._tape = Tape(self._top)
        faults = Oracle(self._world).judge(_tree(self._top), self._facts, self._tape)
        add_notes(self._facts, self._tape, 0, len(self._tape.operations))
        self._start()
        return faults


def _tree(top: Path) -> Tree:
    found = [path for path in top.rglob("*") if not path.name.endswith("-shm")]
    files = {str(path.relative_to(top)): (path.read_bytes(), 0o640) for path in found if path.is_file()}
    return Tree(files, {str(path.relative_to(top)): 0o750 for path in found if path.is_dir()})


def run(budget: Budget, make_disk: Callable[[SystemCalls], Disk] = Disk) -> Outcome:
    """Do the rounds; `make_disk` gives what is tortured. Needs root."""
    with small_disk(budget.folder / "disk") as top:
        return FullDisk(budget, top, make_disk).run()


SUITE = Suite(
    "disk-full",
    "a full disk loses nothing, holds up no question, and the intake resumes by itself",
    "rounds",
    ci_rounds=100,
    full_rounds=5_000,
    run=run,
)
