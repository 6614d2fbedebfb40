"""Which sealed days are made smaller or dropped, and how long the room lasts: a pure function of what lies there.

Age comes first: a day older than `keep_days` goes. Then the budget: what the days take may not pass it. Old days are
made smaller (`quantise_after_days`) before any day is dropped for room, the oldest first, and never more than needed.
A day that is held, that is open, that has events which are not sealed, or that is younger than `keep_least_days` is
never touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FORMS = ("fast", "balanced", "maximum")
"""Forms of vectors, the largest first."""
SMALLER = 0.5
"""The share of its bytes that an index in the form "fast" takes in a smaller one, at most: 8-bit codes take less."""
ROOM_TO_PACK = 2.0
"""So many times what is packed has to be free on the disk: the new file lies beside the old one for a while."""
HORIZON_DAYS = 730
"""How far the prediction looks."""
_USUAL_OF = 7  # so many of the newest sealed days say how large a day is


@dataclass(frozen=True)
class StoredDay:
    """What a day takes on the disk, and what may be done with it.

    Attributes:
        day: YYYY-MM-DD.
        bytes: all its files.
        sealed: whether all its events are sealed.
        held: whether a case or an operator keeps it.
        going: whether it is being dropped; it waits for a replica that still reads it.
        packable: by index in the form "fast", the bytes of its vectors.
        leftover: by index, the bytes of the version before that was replaced by a smaller one.
    """

    day: str
    bytes: int
    sealed: bool = True
    held: bool = False
    going: bool = False
    packable: Mapping[str, int] = field(default_factory=dict)
    leftover: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """The file system that the days lie on, bytes."""

    total: int
    free: int

    @property
    def used(self) -> int:
        """What is kept for root counts as used."""
        return self.total - self.free


@dataclass(frozen=True)
class Limits:
    """What is to be kept; the keys of the same names are described in `services/common/config/tree.py`."""

    retention_enabled: bool = False
    keep_days: int = 0
    keep_least_days: int = 7
    keep_percent: float = 80.0
    keep_bytes: int = 0
    quantise_after_days: int = 30
    quantise_to: str = "balanced"


@dataclass(frozen=True)
class Drop:
    """Delete a sealed day. `why` is a clause for people."""

    day: str
    why: str

    @property
    def op(self) -> str:
        """The operation of the ingester that does it."""
        return "drop"

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.day

    @property
    def seen(self) -> str:
        """The same text as long as it is the same."""
        return self.why

    @property
    def args(self) -> Mapping[str, str]:
        """The arguments of the operation."""
        return {"day": self.day}


@dataclass(frozen=True)
class Repack:
    """Keep the vectors of an index of a sealed day in a smaller form."""

    day: str
    index: str
    form: str

    @property
    def op(self) -> str:
        """The operation of the ingester that does it."""
        return "repack"

    @property
    def subject(self) -> str:
        """What it is about."""
        return f"{self.day}/{self.index}"

    @property
    def seen(self) -> str:
        """The same text as long as it is the same."""
        return self.form

    @property
    def why(self) -> str:
        """For people."""
        return f"the day is old: its vectors are kept in the form {self.form}"

    @property
    def args(self) -> Mapping[str, str]:
        """The arguments of the operation."""
        return {"day": self.day, "index": self.index, "form": self.form}


@dataclass(frozen=True)
class Plan:
    """What the limits mean now.

    Attributes:
        drops: days to be dropped, the oldest first.
        repacks: indices to be made smaller, of the oldest day first.
        budget_bytes: what the days may take; None where only age counts.
        days_bytes: what they take, those that are going left out.
        days_that_fit: how many days as the last ones the budget holds; None where there is no budget or no day yet.
        days_left: until a day has to be dropped for room, at this growth; None where that is not within two years.
        short_bytes: what is over the budget and stays so, because nothing more may be dropped.
        held: how many days are held.
    """

    drops: tuple[Drop, ...] = ()
    repacks: tuple[Repack, ...] = ()
    budget_bytes: int | None = None
    days_bytes: int = 0
    days_that_fit: int | None = None
    days_left: float | None = None
    short_bytes: int = 0
    held: int = 0


def plan_retention(days: Sequence[StoredDay], space: Space, limits: Limits, today: str) -> Plan:
    """What to do so that the limits hold. Whether it is done is for who asks: `retention_enabled` is not looked at.

    Args:
        days: every day there is, in any order.
        space: where they lie.
        limits: what is to be kept.
        today: the UTC day, YYYY-MM-DD; days after it are never touched.
    """
    there = _There(tuple(sorted(days, key=lambda one: one.day)), limits, date.fromisoformat(today))
    budget = _budget(there, space)
    old = there.too_old()
    rest = [one for one in there.kept if one not in old]
    surplus = 0 if budget is None else sum(one.bytes for one in rest) - budget
    packs = {one.day: there.packs(one, space) for one in rest}
    crowded = _for_room([one for one in rest if there.may_drop(one)], surplus, packs)
    gone = {one.day for one in (*old, *crowded)}
    repacks = [repack for one in rest if one.day not in gone for repack in packs[one.day].repacks]
    saved = sum(pack.saves for day, pack in packs.items() if day not in gone)
    forecast = _Forecast(there, budget)
    return Plan(
        drops=(
            *(Drop(one.day, f"older than {there.keep_days} days") for one in old),
            *(Drop(one.day, "the days take more than their share of the disk") for one in crowded),
        ),
        repacks=tuple(repacks),
        budget_bytes=budget,
        days_bytes=there.bytes,
        days_that_fit=forecast.days_that_fit(),
        days_left=forecast.days_left(),
        short_bytes=max(surplus - sum(one.bytes for one in crowded) - saved, 0),
        held=sum(one.held for one in there.kept),
    )


@dataclass(frozen=True)
class _Packing:
    """What of a day is made smaller now, and how many bytes that is expected to free."""

    repacks: tuple[Repack, ...] = ()
    saves: int = 0


@dataclass(frozen=True)
class _There:
    """The days there are, the oldest first, and what the limits allow to be done with each."""

    days: tuple[StoredDay, ...]
    limits: Limits
    today: date

    @property
    def kept(self) -> list[StoredDay]:
        """The days that are not on their way out."""
        return [one for one in self.days if not one.going]

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(one.bytes for one in self.kept)

    @property
    def keep_days(self) -> int:
        """So many days are kept, today among them; 0 for any number."""
        return self.limits.keep_days and max(self.limits.keep_days, self.limits.keep_least_days)

    def age(self, one: StoredDay) -> int:
        """Days since then; today is 0."""
        return (self.today - date.fromisoformat(one.day)).days

    def may_change(self, one: StoredDay) -> bool:
        """Whether anything may be done with a day at all."""
        return one.sealed and not one.held and not one.going and self.age(one) > 0

    def may_drop(self, one: StoredDay) -> bool:
        """Whether a day may go where room is needed."""
        return self.may_change(one) and self.age(one) >= self.limits.keep_least_days

    def too_old(self) -> list[StoredDay]:
        """The days that go by their age."""
        if not self.keep_days:
            return []
        return [one for one in self.kept if self.may_drop(one) and self.age(one) >= self.keep_days]

    def packs(self, one: StoredDay, space: Space) -> _Packing:
        """What of a day is old enough to be made smaller, where the disk has room for a while for both forms."""
        after, form = self.limits.quantise_after_days, self.limits.quantise_to
        if not after or form == FORMS[0] or not self.may_change(one) or self.age(one) < after:
            return _Packing()
        wanted = {index: size for index, size in one.packable.items() if size * ROOM_TO_PACK <= space.free}
        repacks = tuple(Repack(one.day, index, form) for index in sorted({*wanted, *one.leftover}))
        return _Packing(repacks, int(sum(wanted.values()) * (1 - SMALLER)) + sum(one.leftover.values()))


def _budget(there: _There, space: Space) -> int | None:
    """What the days may take, bytes; None for as much as they like.

    What else lies on the disk takes its part of the share that `keep_percent` gives, so that the disk as a whole stays
    below it. What is going counts as gone.
    """
    limits = there.limits
    bounds = [limits.keep_bytes] if limits.keep_bytes else []
    if limits.keep_percent:
        others = space.used - sum(one.bytes for one in there.days)
        bounds.append(max(int(space.total * limits.keep_percent / 100) - max(others, 0), 0))
    return min(bounds, default=None)


def _for_room(
    days: Sequence[StoredDay], surplus: int, packs: Mapping[str, _Packing]
) -> tuple[StoredDay, ...]:
    """The fewest days, the oldest first, without which nothing is left over; what is packed anyway counts as freed."""
    surplus -= sum(pack.saves for pack in packs.values())
    dropped = []
    for one in days:
        if surplus <= 0:
            break
        dropped.append(one)
        surplus -= one.bytes - packs[one.day].saves
    return tuple(dropped)


@dataclass(frozen=True)
class _Forecast:
    """What becomes of the days when each that comes is as large as the newest ones."""

    there: _There
    budget: int | None

    @property
    def _usual(self) -> tuple[float, float]:
        """What a day takes at first, and once it was made smaller; zeros while no day was ever sealed."""
        newest = [one for one in self.there.kept if one.sealed][-_USUAL_OF:]
        if not newest:
            return 0.0, 0.0
        size = sum(one.bytes for one in newest) / len(newest)
        packable = sum(sum(one.packable.values()) for one in newest) / len(newest)
        is_packed = self.there.limits.quantise_to != FORMS[0]
        return size, size - packable * (1 - SMALLER) * is_packed

    def days_that_fit(self) -> int | None:
        """How many usual days the budget holds beside those that are held."""
        size, packed = self._usual
        if self.budget is None or not size:
            return None
        room = self.budget - sum(one.bytes for one in self.there.kept if one.held)
        after = self.there.limits.quantise_after_days
        if not after or room <= after * size:
            return max(int(room / size), 0)
        return after + int((room - after * size) / packed)

    def days_left(self) -> float | None:
        """Until the budget is met, days; None where that is not within `HORIZON_DAYS`, or cannot be told."""
        size, _ = self._usual
        if self.budget is None or not size:
            return None
        if self.there.bytes >= self.budget:
            return 0.0
        before = float(self.there.bytes)
        for passed, total in enumerate(islice(self._totals(), HORIZON_DAYS)):
            if total > self.budget:
                return passed + (self.budget - before) / (total - before)
            before = total
        return None

    def _totals(self) -> Iterator[float]:
        """What all days take after one day, two days, and so on: days come, shrink and go by their age."""
        size, packed = self._usual
        keep, pack = self.there.keep_days, self.there.limits.quantise_after_days
        total = float(self.there.bytes)
        changes = self._changes()
        for passed in range(1, HORIZON_DAYS + 1):
            total += size + changes.get(passed, 0.0)
            if pack and passed > pack and (not keep or pack < keep):
                total -= size - packed
            if keep and passed > keep:
                total -= packed if pack and pack < keep else size
            yield total

    def _changes(self) -> dict[int, float]:
        """By days from now, what the days that are here will free by shrinking and going, bytes below zero."""
        found: dict[int, float] = {}
        keep, pack = self.there.keep_days, self.there.limits.quantise_after_days
        for one in self.there.kept:
            if one.held or not one.sealed:
                continue
            age, left = self.there.age(one), float(one.bytes)
            saves = sum(one.packable.values()) * (1 - SMALLER)
            if pack and (not keep or pack < keep):
                when = max(pack - age, 1)
                found[when] = found.get(when, 0.0) - saves
                left -= saves
            if keep:
                when = max(keep - age, 1)
                found[when] = found.get(when, 0.0) - left
        return found
