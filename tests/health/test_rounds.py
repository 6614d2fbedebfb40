"""The rounds of health go on whatever the disk does: what cannot be remembered is not done, and is told."""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from services.common.config.tree import HealthLive
from services.common.durable import Disk
from services.common.errors import UsageError
from services.common.observing.beats import Beats
from services.health.executor import Executor
from services.health.memory import Memory
from services.health.observation import CORRUPT, REPAIR, Day, Index, Intake, Observation
from services.health.observation import Disk as SeenDisk
from services.health.probes.asking import Answer, Target
from services.health.service import Parts, Rounds

if TYPE_CHECKING:
    from pathlib import Path

    from services.health.readings import Readings

NOW = 1_800_000_000_000_000_000
BROKEN = Day("2026-11-19", True, 1, (Index("attack", CORRUPT, "a bit is another", REPAIR, 1),), generation=1)  # noqa: FBT003


class FullDisk(Disk):
    """A disk that can be full."""

    full = False

    def write_file(self, path: Path, data: bytes, mode: int = Disk.FILE_MODE) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        super().write_file(path, data, mode)


@dataclass
class World:
    """Sees a damaged index, an ingester that repairs nothing, and keeps what was asked, told and logged."""

    memory: Memory
    asked: list[str] = field(default_factory=list)
    told: list[Readings] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    awaited: frozenset[str] = frozenset()
    seconds: float = 0.0

    def observe(self, _live: HealthLive) -> Observation:
        attempts = tuple(self.memory.now.attempts.values())
        room = SeenDisk("/state", 10, 5, 50.0, 0.0)
        return Observation(NOW, disks=(room,), intake=Intake("a", 1), days=(BROKEN,), attempts=attempts)

    def ingester(self) -> Target:
        return Target("tcp://127.0.0.1:9")

    def ask(self, _target: Target, op: str, *_: Any) -> Answer:
        self.asked.append(op)
        return Answer({"job": "repair-1", "state": "running"})

    def step(self, readings: Readings | None = None, _now_ns: int = 0) -> None:
        if readings is not None:
            self.told.append(readings)

    def stop(self) -> None:
        """Children have nothing to end."""

    def check_all(self) -> None:
        """Note that all days are looked at."""
        self.asked.append("look")

    def check_again(self, _day: str) -> None:
        """No look is needed."""


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def world(tmp_path: Path, disk: FullDisk) -> World:
    return World(Memory(tmp_path, disk))


@pytest.fixture
def rounds(world: World) -> Rounds:
    def note(_logger: object, _method: str, line: Any) -> str:
        world.logged.append(line["event"])
        return ""

    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
    executor = Executor(world, world, world.memory, log, lambda: NOW)  # type: ignore[arg-type]
    parts = Parts(world, executor, world, world, world, world.memory)  # type: ignore[arg-type]
    return Rounds(parts, HealthLive, Beats(), log, lambda: world.seconds)


def test_on_a_full_disk_alerts_go_on_and_nothing_is_done(
    rounds: Rounds, world: World, disk: FullDisk
) -> None:
    """What is wrong is told each round, once in the log; the repair begins when it can be remembered."""
    disk.full = True
    for _ in range(3):
        rounds.round()
    assert (len(world.told), world.asked) == (3, [])
    assert world.logged.count("memory_not_kept") == 1
    assert world.memory.now.attempts == {}
    disk.full = False
    rounds.round()
    assert world.asked == ["repair"]
    (attempt,) = world.memory.now.attempts.values()
    assert (attempt.tries, attempt.job) == (1, "repair-1")


def test_who_is_asked_to_look_looks_in_its_own_thread(rounds: Rounds, world: World) -> None:
    """The order is obeyed by the next round, which begins at once; a sensor that nobody knows is refused."""
    rounds.hurry()
    assert world.asked == []
    rounds.round()
    assert world.asked == ["look", "repair"]
    with pytest.raises(UsageError, match="There is no sensor 'ghost'"):
        rounds.forget("ghost")


def test_what_was_seen_counts_as_late_when_no_look_follows(rounds: Rounds, world: World) -> None:
    """`/readyz` says it: whoever shows what health saw shows what was."""
    assert rounds.late() == "Nothing was looked at yet."
    rounds.round()
    world.seconds += HealthLive().interval_s + 30
    assert rounds.late() == ""
    world.seconds += 1
    assert rounds.late() == "The last look at everything ended 41 s ago."
    rounds.round()
    assert rounds.late() == ""


def test_a_service_that_ends_on_a_full_disk_ends_in_order(
    rounds: Rounds, world: World, disk: FullDisk
) -> None:
    """The last write is tried, and its failure said."""
    disk.full = True
    stop = threading.Event()
    stop.set()
    rounds.run(stop)
    assert world.logged == ["memory_not_kept"]


def test_who_asks_for_looks_without_end_has_one_a_second(rounds: Rounds, world: World) -> None:
    """Asking is cheap for who asks; the rounds keep their pace, and nothing piles up."""
    stop = threading.Event()
    threading.Timer(2.5, stop.set).start()

    def ask() -> None:
        while not stop.is_set():
            rounds.hurry()

    asking = threading.Thread(target=ask)
    asking.start()
    rounds.run(stop)
    asking.join()
    assert 2 <= len(world.told) <= 4
    assert world.asked.count("look") <= len(world.told)
