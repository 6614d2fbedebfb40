"""Whether days are as they should be: a child looks at all of them every few minutes, and reads every byte once a day.

What reading every byte showed is remembered until the files are others, because a quick look cannot see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.days.consistency import day_state_from
from services.health.children import Task
from services.health.memory import Fault, Scrub
from services.health.observation import BACKUP, CORRUPT, OK, REPAIR, Day, Index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from services.common.days.consistency import DayState, OpenPart, Part
    from services.health.children import Children
    from services.health.memory import Audit, Memory

MODULE = "services.common.days.check_process"
QUICK, READING, OPEN = "check", "read", "open"
_NS = 1_000_000_000
_TEXT = 300


@dataclass(frozen=True)
class Standing:
    """Which days there are, which of them are on their way out, and which are held as they are."""

    there: AbstractSet[str]
    going: AbstractSet[str]
    held: AbstractSet[str]


class Days:
    """What is known of each day. For one thread; nothing blocks, children do the work."""

    def __init__(self, state: Path, children: Children, memory: Memory, clock: Callable[[], int]) -> None:
        """Know nothing yet; `clock` gives nanoseconds since 1970."""
        self._state = state
        self._children = children
        self._memory = memory
        self._clock = clock
        self._found: dict[str, DayState] | None = None
        self._checked_ns: dict[str, int] = {}
        self._round_ns = 0
        self._well_ns = (
            clock()
        )  # when the last look at all days that ended well was asked for; the begin before it

    def look(self, every_s: float, read_every_s: float, bytes_per_s: int) -> None:
        """Let a child look at what is due: all days every `every_s`, one day at a time whole every `read_every_s`.

        Nothing is read whole where that is 0.
        """
        now_ns = self._clock()
        if not 0 <= now_ns - self._round_ns < every_s * _NS:
            self._children.ask(self._quick(()))
        elif read_every_s and (day := self._due(read_every_s, now_ns)) is not None:
            self._children.ask(self._whole(day, bytes_per_s))

    def overdue_s(self, every_s: float) -> float:
        """How long a look at all days that ends well has been due, seconds; 0 before that."""
        return max((self._clock() - self._well_ns) / _NS - every_s, 0.0)

    def check_again(self, day: str) -> None:
        """Let a child look at one day as soon as it can."""
        self._children.ask(self._quick((day,)))

    def check_all(self) -> None:
        """Let a child look at all days as soon as it can, also where one is just doing so."""
        self._children.ask(self._quick((), "now"))

    def seen(self, standing: Standing, audits: Mapping[str, Audit]) -> tuple[Day, ...] | None:
        """Every day as it was found last, oldest first; None before the first look has ended.

        A day that is going or gone is left out: on its way out it has no pointer, which is no damage.
        """
        if self._found is None:
            return None
        there = sorted(day for day in self._found if day in standing.there and day not in standing.going)
        return tuple(self._day(self._found[day], standing.held, audits) for day in there)

    def states(self) -> Mapping[str, DayState]:
        """What the last look at each day found, without what reading every byte showed."""
        return self._found or {}

    def _due(self, every_s: float, now_ns: int) -> str | None:
        """The sealed day that was read whole the longest ago, where that is long enough ago, or of another clock."""
        scrubs = self._memory.now.scrubs
        sealed = [day for day, state in (self._found or {}).items() if state.generation]
        read = [(scrubs[day].at_ns if day in scrubs else 0, day) for day in sealed]
        due = [one for one in read if not 0 <= now_ns - one[0] < every_s * _NS]
        return min(due)[1] if due else None

    def _quick(self, days: tuple[str, ...], *more: str) -> Task:
        """A look at some days, at all without any. What it finds counts from when it was asked for, and as a whole."""
        asked_ns = self._clock()
        found: dict[str, DayState] = {}

        def line(said: Mapping[str, Any]) -> None:
            state = _state_in(said)
            if state is not None:
                found[state.day] = state

        def ended(well: bool) -> None:  # noqa: FBT001 - what a task takes
            if not days:
                self._round_ns = self._clock()  # also where it failed, so that it is not tried all the time
            self._take(found, asked_ns, is_all=well and not days)

        return Task("/".join((QUICK, *days, *more)), MODULE, (str(self._state), *days), line, ended)

    def _take(self, found: dict[str, DayState], asked_ns: int, *, is_all: bool) -> None:
        if is_all:
            self._found, self._well_ns = found, asked_ns
        elif self._found is not None:
            self._found.update(found)
        self._checked_ns.update(dict.fromkeys(found, asked_ns))
        if is_all:
            self._forget_gone()

    def _whole(self, day: str, bytes_per_s: int) -> Task:
        words = (str(self._state), day, "--full", "--bytes-per-s", str(bytes_per_s))
        found: list[DayState] = []

        def line(said: Mapping[str, Any]) -> None:
            state = _state_in(said)
            if state is not None:
                found.append(state)

        def ended(_well: bool) -> None:  # noqa: FBT001 - what a task takes
            self._take_whole(day, found)

        return Task(f"{READING}/{day}", MODULE, words, line, ended, patient=True)

    def _take_whole(self, day: str, found: Sequence[DayState]) -> None:
        """Remember the faults that were found. Where the reading failed, it is done again when it is due again.

        What is served may be other files by now, so nothing but the faults is taken: each knows its files.
        """
        scrubs = self._memory.now.scrubs
        before = scrubs.get(day, Scrub())
        faults = _faults_in(found[-1]) if found else before.faults
        scrubs[day] = Scrub(self._clock(), faults)
        if faults != before.faults:
            self._memory.urgent()

    def _forget_gone(self) -> None:
        there = self._found or {}
        for kept in (self._memory.now.scrubs, self._checked_ns):
            for day in [day for day in kept if day not in there]:
                del kept[day]

    def _day(self, state: DayState, held: AbstractSet[str], audits: Mapping[str, Audit]) -> Day:
        scrub = self._memory.now.scrubs.get(state.day, Scrub())
        chunk = None if state.chunk is None else _with_fault(state, state.chunk, scrub)
        faults = [chunk[1]] if chunk is not None and chunk[0] != OK else []
        faults += [fault for one in state.open for fault in _open_faults(one, scrub)]
        return Day(
            day=state.day,
            sealed=bool(state.generation),
            rows=state.total,
            indices=tuple(_index(state, part, scrub, audits) for part in state.indices),
            fault="; ".join(faults)[:_TEXT],
            repairable=chunk is not None and chunk[0] != OK and chunk[2] == REPAIR,
            generation=state.generation,
            held=state.day in held,
            checked_ns=self._checked_ns.get(state.day, 0),
            scrubbed_ns=scrub.at_ns,
        )


def _index(state: DayState, part: Part, scrub: Scrub, audits: Mapping[str, Audit]) -> Index:
    found, why, remedy = _with_fault(state, part, scrub)
    audit = audits.get(f"{state.day}/{part.name}")
    if audit is not None and audit.mark != _mark(state, part):
        audit = None
    return Index(
        name=part.name,
        state=found,
        why=why,
        remedy=remedy,
        version=part.version,
        recall=None if audit is None else audit.recall,
        distance_cv=None if audit is None else audit.distance_cv,
    )


def _faults_in(state: DayState) -> dict[str, Fault]:
    """What reading every byte of a day showed, by part; a segment that is open by its number."""
    parts = {
        part.name: Fault(_mark(state, part), part.state, part.why[:_TEXT], part.remedy)
        for part in state.wrong
    }
    opened = {
        f"{OPEN}/{one.segment}": Fault(str(one.segment), CORRUPT, "; ".join(one.faults)[:_TEXT], BACKUP)
        for one in state.open
        if one.faults
    }
    return parts | opened


def _open_faults(part: OpenPart, scrub: Scrub) -> Sequence[str]:
    """What is wrong with an open segment: what the last look shows, else what reading it showed."""
    fault = scrub.faults.get(f"{OPEN}/{part.segment}")
    return part.faults or (() if fault is None else (fault.why,))


def _with_fault(state: DayState, part: Part, scrub: Scrub) -> tuple[str, str, str]:
    """State, reason and remedy of a part: those of the last look, or what reading every byte showed of these files."""
    fault = scrub.faults.get(part.name)
    if part.state == OK and fault is not None and fault.mark == _mark(state, part):
        return fault.state, fault.why, fault.remedy
    return part.state, part.why[:_TEXT], part.remedy


def _mark(state: DayState, part: Part) -> str:
    """Names the files that are served of a part: sealed files never change under their name."""
    return f"{state.generation}/{part.version}"


def mark_of(state: DayState, index: str) -> str:
    """The same for an index by its name; empty for one that is not there."""
    part = state.part(index)
    return "" if part is None else _mark(state, part)


def _state_in(said: Mapping[str, Any]) -> DayState | None:
    """The state in a line of the child; None for another line."""
    try:
        return day_state_from(said["state"])
    except (KeyError, TypeError):
        return None
