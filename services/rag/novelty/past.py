"""What is usual: how far past events were from everything before them, when they came."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.novelty.spaces import First, Space

COMPARED = 0.1
"""Shares up to this are exact (see `within.TAIL`); larger ones are not needed."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PastDay:
    """The vectors of one past day: when they came first, and how far they then were from everything before them."""

    space: Space
    first: First
    distances: NDArray[np.float32]  # (items,), as of `Distances.at_their_time`


@dataclass(frozen=True)
class Past:
    """Some past days by one model. Of the events that had the vector of an earlier one the distance is 0."""

    days: tuple[PastDay, ...]
    ascending: NDArray[np.float32]  # the distances of all their vectors
    events: int

    @classmethod
    def of(cls, days: Sequence[PastDay]) -> Past:
        """Those of some days."""
        distances = np.concatenate([day.distances for day in days])
        return cls(tuple(days), np.sort(distances), sum(day.space.rows for day in days))

    def shares(self, distances: NDArray[np.float32]) -> NDArray[np.float64]:
        """The share of past events that were at least as far as each distance (n,), 0 to 1, float64 (n,)."""
        farther = len(self.ascending) - np.searchsorted(self.ascending, distances, "left")
        return np.asarray(farther / max(self.events, 1), np.float64)

    def threshold(self, share: float, *, below: bool = False) -> float:
        """The distance beyond which at most `share` of the past events were, or `below` less than it."""
        count = math.ceil(share * self.events - _ROUNDING) - 1 if below else _whole(share * self.events)
        if not 0 <= count < len(self.ascending):
            return math.inf if count < 0 else 0.0
        return float(self.ascending[len(self.ascending) - 1 - count])


@dataclass(frozen=True)
class FusedPast:
    """Past events by the smallest of their shares over several indices: how unusual each was where it was most so."""

    ascending: NDArray[np.float64]
    events: int

    @classmethod
    def of(cls, several: Sequence[Past]) -> FusedPast:
        """Those of some indices; an event is known by where it lies."""
        days: dict[str, list[tuple[Past, PastDay]]] = {}
        for past in several:
            for day in past.days:
                days.setdefault(day.space.day, []).append((past, day))
        shares = [_smallest(found) for found in days.values()]
        events = sum(max(day.space.rows for _, day in found) for found in days.values())
        return cls(np.sort(np.concatenate(shares)), events)

    def shares(self, smallest: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of past events that were as unusual in some index: whose smallest share is at most each (n,)."""
        return np.asarray(
            np.searchsorted(self.ascending, smallest, "right") / max(self.events, 1), np.float64
        )

    def limit(self, share: float) -> float:
        """The smallest share that is too large for an event to be among the `share` most unusual ones."""
        count = _whole(share * self.events)
        return float(self.ascending[count]) if count < len(self.ascending) else COMPARED


def _smallest(found: Sequence[tuple[Past, PastDay]]) -> NDArray[np.float64]:
    """The smallest share of each event of one day that has one of at most `COMPARED`."""
    keys = np.concatenate([day.first.keys for _, day in found])
    shares = np.concatenate([past.shares(day.distances) for past, day in found])
    unusual = shares <= COMPARED
    keys, shares = keys[unusual], shares[unusual]
    order = np.lexsort((shares, keys))
    _, first = np.unique(keys[order], return_index=True)
    return shares[order][first]


def _whole(number: float) -> int:
    return int(number + _ROUNDING)
