"""What is to be done is remembered before it is asked for, followed to its end, forgotten when it is seen to help."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from services.common.durable import Disk
from services.common.errors import AppiaError
from services.health.executor import ASKED, Executor
from services.health.memory import NAME, Memory
from services.health.observation import CORRUPT, NO_HELP, OK, REPAIR, Day, Index, Intake, Observation
from services.health.observation import Disk as DiskSeen
from services.health.probes.asking import Answer, Target
from services.health.reconciler import Desired, Repair, reconcile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

S = 1_000_000_000
NOW = 1_800_000_000 * S
ACTION = Repair("2026-11-19", "attack", "corrupt in generation 1, version 1", "a bit is another")
KEY = "repair 2026-11-19/attack"
INGESTER = Target("tcp://127.0.0.1:9")


class Killed(BaseException):
    """Stands for kill -9."""


@dataclass
class Service:
    """Answers as it is told, and keeps what it was asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ask(self, _target: Target, op: str, args: Mapping[str, Any], _timeout_s: float) -> Answer:
        self.asked.append((op, dict(args)))
        answer = self.answers[op]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer)


@dataclass
class Looks:
    days: list[str] = field(default_factory=list)

    def check_again(self, day: str) -> None:
        self.days.append(day)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, NOW
        self.service, self.looks = Service(), Looks()
        self.start()

    def start(self) -> None:
        self.memory = Memory(self.folder, Disk())
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[lambda _l, _m, line: repr(line)])
        self.executor = Executor(self.service, self.looks, self.memory, log, lambda: self.now)  # type: ignore[arg-type]

    def seen(self, state: str, checked_ns: int) -> Observation:
        day = Day("2026-11-19", True, 1, (Index("attack", state),), checked_ns=checked_ns)  # noqa: FBT003
        return Observation(self.now, days=(day,))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_repair_is_asked_for_followed_and_forgotten(world: World) -> None:
    """The job is polled until it ends; a look at the day that began after that says that it helped."""
    world.service.answers = {"repair": {"job": "repair-1"}, "seal_status": {"state": "running"}}
    world.executor.do([ACTION], INGESTER)
    assert world.service.asked == [("repair", {"day": "2026-11-19", "index": "attack"})]
    world.executor.follow(world.seen(CORRUPT, 0), INGESTER)
    assert world.memory.now.attempts[KEY].runs
    world.service.answers["seal_status"] = {"state": "done", "error": ""}
    world.executor.follow(world.seen(CORRUPT, 0), INGESTER)
    ended = world.memory.now.attempts[KEY]
    assert (ended.runs, ended.tries, ended.error, world.looks.days) == (False, 1, "", ["2026-11-19"])
    assert ended.failures == 0
    world.executor.follow(world.seen(OK, NOW), INGESTER)
    assert KEY in world.memory.now.attempts
    world.executor.follow(world.seen(OK, NOW + 1), INGESTER)
    assert world.memory.now.attempts == {}


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"repair": Answer(None, "There is no such day.", alive=True)}, "There is no such day."),
        ({"repair": {"job": "j"}, "seal_status": {"state": "failed", "error": "no room"}}, "no room"),
        (
            {"repair": {"job": "j"}, "seal_status": Answer(None, "There is no job 'j'.", alive=True)},
            "There is no job 'j'.",
        ),
    ],
)
def test_what_fails_is_counted_with_its_reason(world: World, answers: dict[str, Any], why: str) -> None:
    """Three in a row of the same count as three; something else that is wrong begins anew."""
    world.service.answers = answers
    for _ in range(3):
        world.executor.do([ACTION], INGESTER)
        world.executor.follow(world.seen(CORRUPT, NOW + 9), INGESTER)
    attempt = world.memory.now.attempts[KEY]
    assert (attempt.failures, attempt.error) == (3, why)
    world.executor.do([replace(ACTION, seen="missing in generation 1, version 1")], INGESTER)
    assert world.memory.now.attempts[KEY].tries == 1


def test_an_ingester_that_is_away_keeps_its_jobs(world: World) -> None:
    """Whether they ended is unknown until it answers."""
    away = Answer(None, "it did not answer", alive=False)
    world.service.answers = {"repair": {"job": "repair-1"}, "seal_status": away}
    world.executor.do([ACTION], INGESTER)
    world.executor.follow(world.seen(CORRUPT, 0), INGESTER)
    world.executor.follow(world.seen(CORRUPT, 0), None)
    assert world.memory.now.attempts[KEY].job == "repair-1"


def test_a_kill_while_asking_counts_as_an_attempt(world: World) -> None:
    """It is on disk before the ingester hears of it, so the next start waits as after a failure."""
    world.service.answers = {"repair": Killed()}
    with pytest.raises(Killed):
        world.executor.do([ACTION], INGESTER)
    world.start()
    assert world.memory.now.attempts[KEY].job == ASKED
    world.executor.follow(world.seen(CORRUPT, 0), INGESTER)
    attempt = world.memory.now.attempts[KEY]
    assert (attempt.tries, attempt.failures, world.looks.days) == (1, 0, ["2026-11-19"])


def test_a_repair_that_ended_well_and_did_not_help_has_failed(world: World) -> None:
    """Only a look that ended after it says so."""
    world.service.answers = {"repair": {"job": "j"}, "seal_status": {"state": "done", "error": ""}}
    world.executor.do([ACTION], INGESTER)
    world.executor.follow(world.seen(CORRUPT, NOW), INGESTER)
    world.executor.follow(world.seen(CORRUPT, NOW), INGESTER)
    assert world.memory.now.attempts[KEY].failures == 0
    world.executor.follow(world.seen(CORRUPT, NOW + 1), INGESTER)
    attempt = world.memory.now.attempts[KEY]
    assert (attempt.failures, attempt.error) == (1, NO_HELP)


def test_what_is_damaged_again_and_again_is_not_repaired_for_ever(world: World) -> None:
    """Each repair leaves another version, which is damaged too: they count as one row, which comes to an end."""
    world.service.answers = {"repair": {"job": "j"}, "seal_status": {"state": "done", "error": ""}}
    wanted, asked = Desired(tries=3), 0
    for version in range(1, 20):
        broken = Index("attack", CORRUPT, "a bit is another", REPAIR, version=version)
        day = Day("2026-11-19", True, 1, (broken,), generation=1, checked_ns=world.now)  # noqa: FBT003
        seen = Observation(
            world.now,
            disks=(DiskSeen("/state", 1000, 500, 50.0, 1.0),),
            intake=Intake("2026-11-20T10:00:00+00:00", 10),
            days=(day,),
            attempts=tuple(world.memory.now.attempts.values()),
        )
        actions = reconcile(wanted, seen)
        world.executor.do(actions, INGESTER)
        asked += len(actions)
        world.executor.follow(seen, INGESTER)
        world.now += 100_000 * S
        world.executor.follow(
            replace(seen, time_ns=world.now, days=(replace(day, checked_ns=world.now),)), INGESTER
        )
    assert asked == 3
    assert world.memory.now.attempts[KEY].failures == 3


def test_a_day_that_has_gone_needs_no_repair(world: World) -> None:
    """Nothing is left to look at."""
    world.service.answers = {"repair": Answer(None, "no", alive=True)}
    world.executor.do([ACTION], INGESTER)
    world.executor.follow(Observation(NOW), INGESTER)
    assert KEY in world.memory.now.attempts
    world.executor.follow(Observation(NOW, days=()), INGESTER)
    assert world.memory.now.attempts == {}


def test_memory_survives_and_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    """What was learned is there after a start; a damaged file is said and replaced, a newer one is not touched."""
    memory = Memory(tmp_path, Disk())
    memory.now.chain_head = "abc"
    memory.keep()
    assert not (tmp_path / NAME).exists()
    memory.urgent()
    memory.keep()
    assert Memory(tmp_path, Disk()).now.chain_head == "abc"
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[: len(whole) // 2])
    damaged = Memory(tmp_path, Disk())
    assert ("damaged" in damaged.fault, damaged.now.chain_head) == (True, "")
    (tmp_path / NAME).write_bytes(whole.replace(b'"version":1', b'"version":2'))
    with pytest.raises(AppiaError, match="install a newer appia"):
        Memory(tmp_path, Disk())


def test_what_only_shows_trends_is_written_once_a_minute(tmp_path: Path) -> None:
    """A disk is not worn out by rounds."""
    now = [0.0]
    memory = Memory(tmp_path, Disk(), lambda: now[0])
    for second in range(0, 60, 10):
        now[0] = second
        memory.keep()
    assert not (tmp_path / NAME).exists()
    now[0] = 60
    memory.keep()
    assert (tmp_path / NAME).exists()
