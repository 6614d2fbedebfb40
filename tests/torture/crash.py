"""Suite `crash`: kill -9 at named points, then a start over what is left.

A point is a system call on a file of one role, such as "write open/events.log" or "rename sealed/CURRENT", before it,
after it, or in the middle of a write. A dry run finds the points; each round kills a real process, forked from this
one, at one occurrence of one of them, and looks at what it acknowledged through a pipe. It dies by its own SIGKILL:
nothing of Python runs after that. The folder lies in memory, because what a kill leaves is what the kernel has.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import msgpack
from torture.calls import Tape
from torture.oracle import Facts, Oracle
from torture.replay import Tree
from torture.suite import Outcome, Suite
from torture.workload import DAYS, NOON, Process, World, make_event

from services.common.days.names import StateNames
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from torture.suite import Budget

MEMORY = Path("/dev/shm")  # noqa: S108 - not shared: a folder of its own is made there
LIVES_LOOKED_AT = 2
POINTS = 520
"""About so many points there are; a run of every change kills at each of them once, a full one a hundred times."""
_SIZE = struct.Struct("<I")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, order=True)
class Point:
    """Where a process dies: `when` is "before", "after", or "within" for half of a write."""

    when: str
    call: str
    role: str

    def __str__(self) -> str:
        return f"{self.when} {self.call} {self.role}"


def role_of(path: str) -> str:
    """What a file is, whatever its day and number: the last two parts of its path without digits."""
    parts = [_NUMBER.sub("", part).strip("-.") or "N" for part in path.split("/")]
    return "/".join(parts[-2:])


class PointCalls(SystemCalls):
    """The real calls; each is counted by its point, and at one occurrence of one point the process dies."""

    def __init__(self, top: Path, fatal: Point | None = None, occurrence: int = 0) -> None:
        """Paths are told below `top`; the `occurrence`-th time (from 1) at `fatal` is the last."""
        self.seen: Counter[Point] = Counter()
        self._top = len(str(top)) + 1
        self._fatal, self._occurrence = fatal, occurrence
        self._paths: dict[int, str] = {}

    def _at(self, point: Point) -> None:
        self.seen[point] += 1
        if point == self._fatal and self.seen[point] == self._occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    def _around(self, call: str, path: str, do: Callable[[], Any]) -> Any:
        role = role_of(path[self._top :])
        self._at(Point("before", call, role))
        result = do()
        self._at(Point("after", call, role))
        return result

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        if not flags & os.O_CREAT:
            fd = super().open(path, flags, mode)
        else:
            fd = self._around("create", str(path), lambda: SystemCalls.open(self, path, flags, mode))
        self._paths[fd] = str(path)
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        half = memoryview(data)[: len(data) // 2]
        point = Point("within", "write", role_of(self._paths[fd][self._top :]))
        if point == self._fatal and self.seen[point] + 1 == self._occurrence:
            super().write(fd, half)
        self._at(point)
        return int(self._around("write", self._paths[fd], lambda: SystemCalls.write(self, fd, data)))

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return int(
            self._around("pwrite", self._paths[fd], lambda: SystemCalls.pwrite(self, fd, data, offset))
        )

    def truncate(self, fd: int, size: int) -> None:
        self._around("truncate", self._paths[fd], lambda: SystemCalls.truncate(self, fd, size))

    def sync(self, fd: int) -> None:
        self._around("sync", self._paths[fd], lambda: SystemCalls.sync(self, fd))

    def sync_data(self, fd: int) -> None:
        self._around("sync", self._paths[fd], lambda: SystemCalls.sync_data(self, fd))

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._around("rename", str(new), lambda: SystemCalls.rename(self, old, new))

    def unlink(self, path: Path | str) -> None:
        self._around("unlink", str(path), lambda: SystemCalls.unlink(self, path))

    def mkdir(self, path: Path | str, mode: int) -> None:
        self._around("mkdir", str(path), lambda: SystemCalls.mkdir(self, path, mode))

    def rmdir(self, path: Path | str) -> None:
        self._around("rmdir", str(path), lambda: SystemCalls.rmdir(self, path))

    def written_by_library(self, path: Path | str) -> None:
        self._around("commit", str(path), lambda: None)


class Pipe(Tape):
    """A tape whose notes go to another process at once: what has been said there has been said."""

    def __init__(self, top: Path, fd: int) -> None:
        super().__init__(top)
        self._fd = fd

    def note(self, kind: str, what: Any) -> None:
        data = msgpack.packb((kind, what))
        os.write(self._fd, _SIZE.pack(len(data)) + data)


def life(world: World, calls: SystemCalls, tape: Tape, luck: random.Random) -> None:
    """One life that does everything there is to do, in an order that is much the same each time."""
    process = Process(world, calls, tape)
    number = luck.randrange(1 << 30)

    def events(count: int, day: int = 0) -> list[bytes]:
        return [make_event(f"{number}-{luck.random()}", NOON - 86_400 * day + i) for i in range(count)]

    first = events(luck.randint(1, 6)) + events(luck.randint(0, 3), day=1)
    process.take(first)
    process.take([b"no event", *events(1)])
    process.remark(number)
    process.index()
    process.take(first[:2] + events(2, day=1))
    process.seal(DAYS[luck.randrange(2)])
    process.take(events(2) + events(2, day=1))
    process.index()
    for day in DAYS:
        process.seal(day)
    process.take(events(1))
    process.remark(number + 1)
    process.end()


def find_points(world: World, luck: random.Random) -> Counter[Point]:
    """The points that some lives pass, one after the other, and how often."""
    seen: Counter[Point] = Counter()
    for _ in range(LIVES_LOOKED_AT):
        calls = PointCalls(world.state.root.parent)
        life(world, calls, Tape(world.state.root), luck)
        seen.update(calls.seen)
    return seen


class Crashes:
    """Does the rounds."""

    def __init__(self, budget: Budget, home: Path) -> None:
        """Work in the folder `home`."""
        faiss.omp_set_num_threads(1)  # a process that is forked has none of its parent's threads
        self._budget, self._home = budget, home
        self.world = World(StateNames(home / "state"))
        self._oracle = Oracle(self.world)
        self._passed = find_points(self.world, budget.random(-1))
        self.points = sorted(self._passed)

    def round(self, number: int, outcome: Outcome) -> None:
        """Let one or two processes die, then judge what is left."""
        luck = self._budget.random(number)
        shutil.rmtree(self.world.state.root, ignore_errors=True)
        facts = Facts()
        point = self.points[number % len(self.points)]
        if luck.random() < 0.5:
            self._die(luck.choice(self.points), luck, facts)
        died = self._die(point, luck, facts)
        outcome.count("killed" if died else "ended before its point")
        tape = Tape(self.world.state.root.parent)
        told = self._oracle.judge(tree_of(tape.top), facts, tape)
        if luck.random() < 0.25:
            outcome.count("sealed and compared")
            told += self._oracle.deeper(facts)
        for sentence in dict.fromkeys(told):
            outcome.fault(number, f"killed {point}: {sentence}")
        outcome.rounds += 1

    def _die(self, point: Point, luck: random.Random, facts: Facts) -> bool:
        """Fork a process that dies at `point`; what it said is added to `facts`. False when it came to its end."""
        often = self._passed[point] // LIVES_LOOKED_AT
        occurrence = luck.randint(1, max(often, 1))
        seed = luck.random()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._live_and_die(PointCalls(self._home, point, occurrence), writing, seed)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            while head := pipe.read(_SIZE.size):
                facts.add(*msgpack.unpackb(pipe.read(*_SIZE.unpack(head))))
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
            raise RuntimeError(f"the process failed before {point}, status {os.WEXITSTATUS(status)}")
        return os.WIFSIGNALED(status)

    def _live_and_die(self, calls: PointCalls, writing: int, seed: float) -> None:
        import random  # noqa: PLC0415 - at the top it is for the types alone

        status = 1
        try:
            life(self.world, calls, Pipe(self._home, writing), random.Random(seed))
            status = 0
        finally:
            os._exit(status)


def tree_of(top: Path) -> Tree:
    """What lies below a folder."""
    tree = Tree({}, {})
    for folder, _, names in os.walk(top):
        place = Path(folder)
        tree.folders[place.relative_to(top).as_posix()] = place.stat().st_mode & 0o777
        for name in names:
            path = place / name
            tree.files[path.relative_to(top).as_posix()] = path.read_bytes(), path.stat().st_mode & 0o777
    return tree


def run(budget: Budget) -> Outcome:
    """The rounds of a budget."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="appia-crash-", dir=MEMORY if MEMORY.is_dir() else None) as home:
        crashes = Crashes(budget, Path(home))
        outcome.count("points", 0 if budget.first else len(crashes.points))
        for number in budget.numbers(outcome):
            crashes.round(number, outcome)
    return outcome


SUITE = Suite(
    "crash",
    "what is acknowledged survives kill -9 at any point, and is there once",
    "kills",
    POINTS,
    POINTS * 100,
    run,
    weight=4,
)
