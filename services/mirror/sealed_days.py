"""Decides what of the sealed days is pulled next, and what goes: one piece of work at a time, the newest day first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.counts import read_counts
from services.common.days.generations import sealed_through
from services.common.days.manifest import read_manifest
from services.common.days.names import INDICES, read_pointer
from services.common.days.stored import size_of
from services.common.errors import AppiaError
from services.mirror.room import left_out
from services.mirror.sealed import (
    LONGEST_POINTER,
    clear_staged,
    let_go,
    look_at_index,
    look_at_offer,
    missing_bytes,
    pull_generation,
    pull_version,
)
from services.mirror.source import Range, SourceAway

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.mirror.room import Room
    from services.mirror.sealed import Offer, Tools
    from services.mirror.survey import There

_Sealed = tuple[str, int | None]
_AT_ONCE = 100
_NEWEST, _IN_TURN = 2, 20
"""Days whose indices are looked at in each round: so few that a mirror of years asks little while nothing changes."""
NO_ROOM = "not held here: newer days take all the room that this mirror may use"
PULLED = "not held here yet: it is being pulled"
NEWER = "not all of it is held here yet: a newer generation is being pulled"


class SealedDays:
    """The sealed days here, and what the source offers of them. For one thread."""

    def __init__(self, tools: Tools, places: tuple[StateNames, StateNames], room: Room) -> None:
        """Know of no offer yet; `places` are the state directories here and there."""
        self._tools, self._room = tools, room
        self._local, self._remote = places
        self._offers: dict[str, Offer] = {}
        self._left_out: frozenset[str] = frozenset()
        self._through: dict[tuple[str, int], int] = {}
        self._turn: int | None = None

    def choose(self, there: Mapping[str, There]) -> None:
        """Decide which days are held. Blocks to read the manifests of days that are new. Raises `SourceAway`."""
        self._offers = {
            day: offer
            for day, offer in self._offers.items()
            if day in there and there[day].generation == offer.generation
        }
        newest_first = sorted(there, reverse=True)
        found = left_out(newest_first, lambda day: self._size(there[day]), self._room.budget)
        # What is not sealed yet is held whatever it takes: nobody could ask for the newest events otherwise.
        self._left_out = frozenset(day for day in found if there[day].generation is not None)

    def is_left_out(self, day: str) -> bool:
        """Whether a day has to go, or stay away, for want of room."""
        return day in self._left_out

    def served(self, day: str) -> int | None:
        """The generation that serves here; None where there is none, or what says so is damaged: it is pulled anew."""
        names = self._local.day(day)
        try:
            number = read_pointer(names.current)
            if number is not None and (day, number) not in self._through:
                self._through[day, number] = sealed_through(names, number)
        except (AppiaError, KeyError):
            return None
        return number

    def through(self, there: There) -> int | None:
        """The last open segment that the generation has which serves at the source; None where that is not known."""
        if there.generation is None:
            return 0
        if self.served(there.day) == there.generation:
            return self._through[there.day, there.generation]
        offer = self._offer(there)
        return None if offer is None else offer.through

    def _size(self, there: There) -> int:
        local = self._local.day(there.day)
        if there.generation is None or self.served(there.day) == there.generation:
            return size_of(local.folder)
        offer = self._offer(there)
        return size_of(local.open_folder) + (0 if offer is None else offer.bytes)

    def _offer(self, there: There) -> Offer | None:
        """What the source has of a day; None where it cannot be used now, which is noted."""
        known = self._offers.get(there.day)
        if known is not None or there.generation is None or not self._tools.faults.is_due(there.day):
            return known
        try:
            found = look_at_offer(self._tools, self._remote.day(there.day), there.generation)
        except SourceAway:
            raise
        except AppiaError as error:  # or a newer generation replaced it just now, which the next look shows
            self._tools.faults.note(there.day, str(error))
            return None
        self._offers[there.day] = found
        return found

    def lacking(self, there: There) -> str:
        """Why a day is not here as the source has it, as a clause; empty where all its events are."""
        day = there.day
        if self.is_left_out(day):
            return NO_ROOM
        served = self.served(day)
        if there.generation is None or served == there.generation:
            return ""
        offer = self._offers.get(day)
        if offer is not None and self._rows(day) >= offer.chunk.manifest.rows:
            return ""
        fault = self._tools.faults.of(day)
        why = NEWER if served is not None else PULLED
        return f"{why.partition(':')[0]}: {fault}" if fault else why

    def _rows(self, day: str) -> int:
        """Events of a day here."""
        names, served = self._local.day(day), self.served(day)
        try:
            rows = 0 if served is None else read_manifest(names.generation(served).chunk).rows
            through = 0 if served is None else self._through[day, served]
            counters = [
                names.segment(number).counts("metadata") for number in names.segments() if number > through
            ]
            return rows + sum(read_counts(path)[0] for path in counters)
        except (AppiaError, KeyError):
            return 0

    def work(self, there: Callable[[], Mapping[str, There]], tell: Callable[[], None]) -> Iterator[None]:
        """Pull what is lacking, day by day, the newest first. Yields after each piece.

        Args:
            there: gives the days of the source as they are known by then: a day that is sealed while others are pulled
                comes before those.
            tell: called before a day goes for another: what is not held has to be said first.

        Raises:
            SourceAway: the source cannot be read; what was begun goes on from there the next time.
        """
        looked = self._looked_at(sorted(there(), reverse=True))
        stale, done = self._stale(there(), looked), set[_Sealed]()
        while (one := self._next(there(), looked, done)) is not None:
            done.add((one.day, one.generation))
            try:
                yield from self._work_on(one, stale.get(one.day, ()), tell)
            except SourceAway:
                raise
            except (AppiaError, OSError) as error:
                # It may be mended there: the next try reads the manifests anew.
                self._offers.pop(one.day, None)
                self._tools.faults.note(one.day, str(error))

    def _looked_at(self, days: Sequence[str]) -> frozenset[str]:
        """Of the days, the newest first, those whose indices are looked at: all at first, then some in turn."""
        if self._turn is None or len(days) <= _IN_TURN:
            self._turn = 0
            return frozenset(days)
        turn = [days[(self._turn + place) % len(days)] for place in range(_IN_TURN)]
        self._turn = (self._turn + _IN_TURN) % len(days)
        return frozenset((*turn, *days[:_NEWEST]))

    def _next(
        self, there: Mapping[str, There], looked: Collection[str], done: Collection[_Sealed]
    ) -> There | None:
        """The newest day that there is something to do about."""
        for day in sorted(there, reverse=True):
            one = there[day]
            if (day, one.generation) in done or one.generation is None or self.is_left_out(day):
                continue
            if (day in looked or self.served(day) != one.generation) and self._tools.faults.is_due(day):
                return one
        return None

    def _stale(self, there: Mapping[str, There], looked: Collection[str]) -> dict[str, list[str]]:
        """By day the indices of the generation here of which the source serves another version."""
        wanted = [
            (day, name, self._remote.day(day).generation(one.generation).index_current(name))
            for day, one in there.items()
            if day in looked and one.generation is not None and self.served(day) == one.generation
            for name in INDICES
        ]
        found: dict[str, list[str]] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            ranges = [Range(path, 0, LONGEST_POINTER) for _, _, path in part]
            for (day, name, path), data in zip(part, self._tools.source.read_each(ranges), strict=True):
                if data is not None and data != _pointer_here(self._local.root / path):
                    found.setdefault(day, []).append(name)
        return found

    def _work_on(self, there: There, stale: Sequence[str], tell: Callable[[], None]) -> Iterator[None]:
        local = self._local.day(there.day)
        if self.served(there.day) == there.generation:
            yield from self._follow_indices(there, stale)
            let_go(local, self._tools.disk, keep_before=not self._room.budget)
            clear_staged(local, self._tools.disk)
        else:
            offer = self._offer(there)
            if offer is None:
                return
            self._make_room(there.day, missing_bytes(local, offer), tell)
            yield from pull_generation(self._tools, local, offer)
            self._through.pop((there.day, offer.generation), None)
        self._tools.faults.clear(there.day)

    def _make_room(self, day: str, needed: int, tell: Callable[[], None]) -> None:
        """Let older days go for a day. Raises `AppiaError` where that does not suffice, or readers hold them up."""
        older = [one for one in self._local.days() if one < day and self.served(one) is not None]
        while (lacks := self._room.lacks(needed)) and older and self._room.budget:
            oldest = older.pop(0)
            self._left_out |= {oldest}
            tell()
            if not self.evict(oldest):
                raise AppiaError(f"{oldest} has to go first, and a replica still reads it.")
        if lacks:
            raise AppiaError(
                f"{lacks} bytes more of room are needed: free them, or give budget_bytes another value."
            )

    def evict(self, day: str) -> bool:
        """Take away what is sealed of a day and what is open; False while a replica reads it."""
        return self._room.remove(self._local.day(day))

    def _follow_indices(self, there: There, stale: Sequence[str]) -> Iterator[None]:
        """Serve the versions of some indices that the source serves."""
        local, remote = self._local.day(there.day), self._remote.day(there.day)
        number = there.generation or 0
        for name in stale:
            part = f"{there.day} {name}"
            found = look_at_index(self._tools, remote, remote.generation(number), name)
            if found is None:
                continue
            try:
                yield from pull_version(self._tools, local, number, (name, *found))
            except SourceAway:
                raise
            except (AppiaError, OSError) as error:
                self._tools.faults.note(part, str(error))
            else:
                self._tools.faults.clear(part)


def _pointer_here(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
