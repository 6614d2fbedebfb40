"""Whether a replica serves what is there: compared with the files on disk, not with what the replica thinks of them.

A replica is always a little behind. It is ready as long as nothing that it lacks has been there for longer than
`within_s`, counted since it was first seen here: a generation that a pointer names, rows that an open segment counts.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.published import SEALED, published
from services.common.errors import AppiaError
from services.common.observing.condition import Readiness, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.days.names import StateNames
    from services.rag.catalog import Catalog, Snapshot

WITHIN_S = 30.0
LOOK_S = 1.0
"""Looked at no more often, however many ask."""
_MOST_TOLD = 3

Place = tuple[str, int]
"""A day and an open segment of it, or `SEALED`."""


@dataclass(frozen=True)
class _Lack:
    """What a replica did not serve yet when it was there already: `amount` is a generation, or rows."""

    amount: int
    since: float


@dataclass(frozen=True)
class Lag:
    """How far a replica is behind: sealed generations, rows of open days, and seconds of the oldest of them."""

    generations: int = 0
    rows: int = 0
    seconds: float = 0.0


class ReplicaReadiness:
    """Judges when asked. Safe for several threads; blocks on the disk for a pointer and a few counters a day."""

    def __init__(
        self,
        state: StateNames,
        catalog: Catalog,
        within_s: Callable[[], float] = lambda: WITHIN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know of nothing that is lacking yet; `within_s` gives the bound in seconds, which may change."""
        self._state = state
        self._catalog = catalog
        self._within_s = within_s
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards what follows
        self._lacks: dict[Place, _Lack] = {}
        self._looked_at = -LOOK_S
        self._found = Readiness(ready=False, why="It is starting.")
        self._lag = Lag()

    def lag(self) -> Lag:
        """How far it is behind, as of a second ago at most."""
        self()
        with self._lock:
            return self._lag

    def __call__(self) -> Readiness:
        """Whether it is ready, as of a second ago at most."""
        with self._lock:
            now = self._monotonic()
            if now - self._looked_at >= LOOK_S:
                self._found, self._looked_at = self._look(now), now
            return self._found

    def _look(self, now: float) -> Readiness:
        if not self._catalog.wait_opened(0):
            return Readiness(ready=False, why="Days are still being opened.")
        try:
            there = dict(self._there())
        except OSError as error:
            return Readiness(ready=False, why=f"The state directory cannot be read ({error.strerror}).")
        with self._catalog.lease() as snapshot:
            shown = _shown(snapshot)
        self._lacks = {
            place: self._lack(place, amount, shown.get(place, 0), now)
            for place, amount in there.items()
            if shown.get(place, 0) < amount
        }
        self._lag = Lag(
            sum(1 for _, segment in self._lacks if segment == SEALED),
            sum(there[place] - shown.get(place, 0) for place in self._lacks if place[1] != SEALED),
            max((now - lack.since for lack in self._lacks.values()), default=0.0),
        )
        late = [place for place, lack in sorted(self._lacks.items()) if now - lack.since > self._within_s()]
        return Readiness.of(_sentence(late, there, shown))

    def _lack(self, place: Place, amount: int, shown: int, now: float) -> _Lack:
        """Rows that come on and on are no reason: only those that are waited for have to arrive in time."""
        before = self._lacks.get(place)
        return _Lack(amount, now) if before is None or shown >= before.amount else before

    def _there(self) -> Iterator[tuple[Place, int]]:
        for day in self._state.days():
            try:
                found = published(self._state.day(day))
            except (AppiaError, FileNotFoundError, KeyError, ValueError):
                # Damaged, or going away just now: the catalog says so in answers, and there is nothing to compare.
                continue
            yield from (((day, number), amount) for number, amount in found.items())


def _shown(snapshot: Snapshot) -> Mapping[Place, int]:
    found: dict[Place, int] = {}
    for segment in snapshot.segments:
        view = segment.view
        found[view.day, SEALED if view.sealed else int(view.name.rpartition("-")[2])] = (
            view.generation if view.sealed else view.rows
        )
    return found


def _sentence(late: list[Place], there: Mapping[Place, int], shown: Mapping[Place, int]) -> str:
    if not late:
        return ""
    told = "; ".join(_told(place, there[place], shown.get(place, 0)) for place in late[:_MOST_TOLD])
    more = f"; and {len(late) - _MOST_TOLD} more" if len(late) > _MOST_TOLD else ""
    return f"It does not serve what is there: {told}{more}."


def _told(place: Place, there: int, shown: int) -> str:
    day, segment = place
    if segment:
        return f"{there - shown} rows of {day}"
    return f"generation {there} of {day}" + (f" (it has {shown})" if shown else "")


def served_by(snapshot: Snapshot) -> Served:
    """How many events a snapshot shows, the newest generation among them, and how many days a mirror does not hold."""
    return Served(snapshot.rows, newest_generation(snapshot), len(snapshot.not_held))


def newest_generation(snapshot: Snapshot) -> str:
    """`DAY/N` of the newest sealed day that a snapshot shows; empty where it shows none. A day is in it once."""
    sealed = [segment.view for segment in snapshot.segments if segment.view.sealed]
    return max((f"{view.day}/{view.generation}" for view in sealed), default="")
