"""What health makes of the looks of its children at days: each counts for the files and the moment that it is of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from services.common.days.consistency import BACKUP, CORRUPT, MISSING, REPAIR, DayState, OpenPart, Part
from services.common.durable import Disk
from services.health.memory import Memory
from services.health.probes.days import Days, Standing

if TYPE_CHECKING:
    from pathlib import Path

    from services.health.children import Task
    from services.health.observation import Day

S = 1_000_000_000
NAME, OTHER = "2026-11-19", "2026-11-18"
INDICES = tuple(Part(name, version=1) for name in ("attack", "entity"))
WHOLE = DayState(NAME, 1, Part("chunk", rows=9), INDICES)
GONE = replace(WHOLE, indices=(INDICES[0].spoilt(MISSING, "it is gone"), INDICES[1]))
EVERY_S, READ_S = 300.0, 86_400.0


@dataclass
class World:
    """A clock, and children that end when they are told to."""

    memory: Memory
    now: int = 1_800_000_000 * S
    tasks: dict[str, Task] = field(default_factory=dict)

    def ask(self, task: Task) -> None:
        self.tasks.setdefault(task.name, task)

    def end(self, name: str, *states: DayState, well: bool = True) -> None:
        """The child of this name says what it found, and ends."""
        self.say(name, *states)
        self.tasks.pop(name).ended(well)

    def say(self, name: str, *states: DayState) -> None:
        for state in states:
            self.tasks[name].line({"state": state.as_plain()})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Memory(tmp_path, Disk()))


@pytest.fixture
def days(world: World, tmp_path: Path) -> Days:
    return Days(tmp_path, world, world.memory, lambda: world.now)  # type: ignore[arg-type]


def look(days: Days) -> None:
    days.look(EVERY_S, READ_S, 1)


def seen(
    days: Days, *, going: frozenset[str] = frozenset(), there: frozenset[str] | None = None
) -> list[Day]:
    found = days.seen(Standing(there or frozenset({NAME, OTHER}), going, frozenset()), {})
    return list(found or ())


def states_of(days: Days) -> list[str]:
    return [index.state for day in seen(days) for index in day.indices]


def test_a_look_counts_as_a_whole_and_from_when_it_was_asked_for(world: World, days: Days) -> None:
    """A day that was looked at before a repair ended is not taken for one that was looked at after it."""
    look(days)
    world.end("check", GONE)
    world.now += 301 * S
    look(days)
    asked_ns = world.now
    world.now += 60 * S
    world.say("check", WHOLE)
    assert [(day.checked_ns < asked_ns, day.consistent) for day in seen(days)] == [(True, False)]
    world.end("check")
    assert [(day.checked_ns, day.consistent) for day in seen(days)] == [(asked_ns, True)]


def test_a_look_that_broke_off_tells_what_it_saw_and_forgets_nothing(world: World, days: Days) -> None:
    """One day that cannot be looked at hides no other; before the first look has ended nothing is known."""
    look(days)
    world.end("check", WHOLE, well=False)
    assert seen(days) == []
    days.check_all()
    world.end("check/now", WHOLE, replace(WHOLE, day=OTHER))
    days.check_all()
    world.end("check/now", GONE, well=False)
    assert [(day.day, day.consistent) for day in seen(days)] == [(OTHER, True), (NAME, False)]


def test_looks_that_never_end_well_are_overdue(world: World, days: Days) -> None:
    """From when the first was due, until one ends well; one that breaks off changes nothing about that."""
    world.now += 200 * S
    assert days.overdue_s(EVERY_S) == 0
    world.now += 200 * S
    look(days)
    world.end("check", WHOLE, well=False)
    assert days.overdue_s(EVERY_S) == 400 - EVERY_S
    days.check_all()
    world.end("check/now", WHOLE)
    assert days.overdue_s(EVERY_S) == 0


def test_a_look_that_is_asked_for_begins_after_that(world: World, days: Days) -> None:
    """Also where another one is under way."""
    look(days)
    world.now += 5 * S
    days.check_all()
    world.end("check", WHOLE)
    assert seen(days)[0].checked_ns < world.now
    world.end("check/now", WHOLE)
    assert seen(days)[0].checked_ns == world.now


def begin_reading(world: World, days: Days, state: DayState = WHOLE) -> None:
    look(days)
    world.end("check", state)
    look(days)
    assert list(world.tasks) == [f"read/{NAME}"]


def test_what_was_read_of_files_that_are_not_served_any_more_is_no_fault(world: World, days: Days) -> None:
    """The day was repaired while it was read: what the reading found is of the version before."""
    begin_reading(world, days)
    days.check_again(NAME)
    repaired = replace(WHOLE, indices=(replace(INDICES[0], version=2), INDICES[1]))
    world.end(f"check/{NAME}", repaired)
    world.end(f"read/{NAME}", GONE)
    assert states_of(days) == ["ok", "ok"]


def test_what_was_read_is_remembered_until_the_files_are_others(world: World, days: Days) -> None:
    """A flipped bit and a record of an open segment that is damaged: a quick look shows neither, and ends neither."""
    open_part = OpenPart(2, 5, {"attack": 5})
    begin_reading(world, days, replace(WHOLE, open=(open_part,)))
    bad = INDICES[0].spoilt(CORRUPT, "a bit is another", REPAIR)
    torn = replace(open_part, faults=("bytes 8 to 40 hold no valid record",))
    world.end(f"read/{NAME}", replace(WHOLE, indices=(bad, INDICES[1]), open=(torn,)))
    for _ in range(2):
        (day,) = seen(days)
        assert (states_of(days), day.fault, day.repairable) == ([CORRUPT, "ok"], torn.faults[0], False)
        assert world.memory.now.scrubs[NAME].faults["open/2"].remedy == BACKUP
        days.check_all()
        world.end("check/now", replace(WHOLE, open=(open_part,)))
    days.check_all()
    world.end("check/now", replace(WHOLE, generation=2))
    assert [day.consistent for day in seen(days)] == [True]


@pytest.mark.parametrize("well", [True, False])
def test_a_reading_that_says_nothing_is_not_begun_anew_at_once(
    world: World, days: Days, *, well: bool
) -> None:
    """Neither where it failed, nor where what it said was not understood; what was known stands."""
    begin_reading(world, days)
    world.end(f"read/{NAME}", well=well)
    look(days)
    assert world.tasks == {}
    world.now += 86_401 * S
    days.check_all()
    world.end("check/now", WHOLE)
    look(days)
    assert list(world.tasks) == [f"read/{NAME}"]


def test_a_clock_that_was_ahead_puts_off_no_reading(world: World, days: Days) -> None:
    """A day was read by a clock that was a year ahead: it is read again when the clock is right."""
    world.now += 366 * 86_400 * S
    begin_reading(world, days)
    world.end(f"read/{NAME}", WHOLE)
    world.now -= 366 * 86_400 * S
    begin_reading(world, days)


def test_a_day_that_is_going_or_gone_is_not_damaged(world: World, days: Days) -> None:
    """On its way out it has no pointer; once its folder is gone the last look at it says nothing."""
    unserved = DayState(NAME, 0, Part("chunk").spoilt(MISSING, "CURRENT is missing"))
    look(days)
    world.end("check", unserved)
    assert [(day.sealed, day.fault, day.repairable) for day in seen(days)] == [
        (False, "CURRENT is missing", True)
    ]
    assert seen(days, going=frozenset({NAME})) == []
    assert seen(days, there=frozenset({OTHER})) == []
