"""Indices are audited one at a time, the one whose audit is the oldest first, and nobody waits for an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from services.common.config.tree import HealthLive
from services.common.days.consistency import DayState, Part
from services.common.durable import Disk
from services.health.memory import KnownService, Memory
from services.health.observation import Service
from services.health.probes.asking import Answer
from services.health.probes.audits import Audits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

S = 1_000_000_000
LIVE = HealthLive(audit_every_s=1000, audit_sample=50)
REPLICA = Service("rag", "rag-1", "tcp://127.0.0.1:9", answers=True, ready=True)


@dataclass
class World:
    """Days, a clock and a replica that answers when it is told to."""

    memory: Memory
    days: dict[str, DayState]
    now: int = 1_800_000_000 * S
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answer: Answer | None = None

    def states(self) -> Mapping[str, DayState]:
        return self.days

    def begin(self, _target: Any, op: str, args: Mapping[str, Any], _timeout_s: float) -> str:
        self.asked.append((op, dict(args)))
        return "pending"

    def heard(self, _pending: Any) -> Answer | None:
        return self.answer


def day(name: str, **versions: int) -> DayState:
    indices = tuple(Part(index, version=version) for index, version in versions.items())
    return DayState(name, 1, Part("chunk"), indices)


@pytest.fixture
def world(tmp_path: Path) -> World:
    memory = Memory(tmp_path, Disk())
    memory.now.services["rag/rag-1"] = KnownService(REPLICA.address)
    return World(
        memory,
        {"2026-11-18": day("2026-11-18", attack=1), "2026-11-19": day("2026-11-19", attack=1, entity=1)},
    )


@pytest.fixture
def audits(world: World) -> Audits:
    return Audits(world, world, world.memory, lambda: world.now)  # type: ignore[arg-type]


def told(recall: float | None) -> Answer:
    return Answer({"indices": [{"recall": recall, "distance_cv": 0.3}]})


def test_every_index_is_audited_in_turn_and_then_nothing(world: World, audits: Audits) -> None:
    """Newest day first; while an answer is waited for nothing else is asked, and a day later it begins anew."""
    audits.look([REPLICA], LIVE)
    audits.look([REPLICA], LIVE)
    assert world.asked == [("quality", {"day": "2026-11-19", "index": "attack", "sample": 50})]
    world.answer = told(0.99)
    for _ in range(5):
        audits.look([REPLICA], LIVE)
    assert [args["day"] + "/" + args["index"] for _, args in world.asked] == [
        "2026-11-19/attack",
        "2026-11-19/entity",
        "2026-11-18/attack",
    ]
    audit = world.memory.now.audits["2026-11-18/attack"]
    assert (audit.recall, audit.distance_cv, audit.mark) == (0.99, 0.3, "1/1")
    world.now += 1000 * S
    audits.look([REPLICA], LIVE)
    assert len(world.asked) == 4


def test_what_cannot_be_measured_is_not_asked_for_all_the_time(world: World, audits: Audits) -> None:
    """A refusal, and an index with nothing to find, leave no number and wait for their next turn."""
    world.days = {"2026-11-19": day("2026-11-19", attack=1)}
    for answer in (Answer(None, "no", alive=True), told(None)):
        world.now += 1000 * S
        world.answer = answer
        audits.look([REPLICA], LIVE)
        audits.look([REPLICA], LIVE)
        audits.look([REPLICA], LIVE)
        assert world.memory.now.audits["2026-11-19/attack"].recall is None
    assert len(world.asked) == 2


def test_an_audit_that_failed_takes_nothing_back(world: World, audits: Audits) -> None:
    """An index that finds too little is not well because a replica was started anew meanwhile."""
    world.days = {"2026-11-19": day("2026-11-19", attack=1)}
    for answer in (told(0.5), Answer(None, "it did not answer", alive=False)):
        world.now += 1000 * S
        world.answer = answer
        audits.look([REPLICA], LIVE)
        audits.look([REPLICA], LIVE)
    audit = world.memory.now.audits["2026-11-19/attack"]
    assert (audit.recall, audit.at_ns) == (0.5, world.now)


def test_a_new_version_is_audited_at_once_and_days_that_went_are_forgotten(
    world: World, audits: Audits
) -> None:
    """What was measured is of other files."""
    world.answer = told(0.9)
    for _ in range(5):
        audits.look([REPLICA], LIVE)
    world.days = {"2026-11-18": day("2026-11-18", attack=2)}
    audits.look([REPLICA], LIVE)
    assert world.asked[-1][1]["day"] == "2026-11-18"
    assert sorted(world.memory.now.audits) == ["2026-11-18/attack"]


@pytest.mark.parametrize(
    ("services", "live"),
    [
        ([], LIVE),
        ([Service("rag", "rag-1", "tcp://x", answers=True, ready=False)], LIVE),
        ([Service("ingester", "i", "tcp://x", answers=True, ready=True)], LIVE),
        ([REPLICA], HealthLive(audit_every_s=0)),
    ],
)
def test_without_a_ready_replica_or_where_it_is_off_nothing_is_asked(
    world: World, audits: Audits, services: list[Service], live: HealthLive
) -> None:
    """A replica that is behind has other things to do."""
    audits.look(services, live)
    assert world.asked == []
