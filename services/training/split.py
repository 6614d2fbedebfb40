"""Divides labelled events by time: what came first is learnt from or searched in, what came later is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BASE_SHARE = 0.6
"""The share of each class that is the base, where nobody says otherwise."""


@dataclass(frozen=True)
class Split:
    """Which of n events are the base and which are asked about; both bool (n,), never both for one event."""

    base: NDArray[np.bool_]
    queries: NDArray[np.bool_]

    def inner(self, labels: Sequence[str] | NDArray[np.str_], time_ns: NDArray[np.int64]) -> Split:
        """The base alone, divided in the same way: to choose anything without looking at the queries.

        Args:
            labels: classes of all n events.
            time_ns: their times, int64 (n,), nanoseconds since 1970.
        """
        known = np.flatnonzero(self.base)
        within = split_by_time(np.asarray(labels)[known], time_ns[known])
        base = np.zeros_like(self.base)
        base[known[within.base]] = True
        return Split(base, self.base & ~base)


def split_by_time(
    labels: Sequence[str] | NDArray[np.str_], time_ns: NDArray[np.int64], share: float = BASE_SHARE
) -> Split:
    """The first `share` of each class by time as base, the rest as queries.

    A class of one event has no base. Events of the same time stay in their order.

    Args:
        labels: the class of each event.
        time_ns: the time of each, int64 (n,), nanoseconds since 1970.
        share: of each class, rounded down to whole events.
    """
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    order = np.lexsort((time_ns, classes))
    counts = np.bincount(classes)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    base = np.zeros(len(order), bool)
    base[order] = place < np.repeat((share * counts).astype(np.int64), counts)
    return Split(base, ~base)


def spread(
    labels: Sequence[str] | NDArray[np.str_], time_ns: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """At most `most` events for work that grows with their number: rare classes whole, of others equally many.

    Of a class that gives less than it has, the events are spread evenly over it by time. Gives numbers of
    events, int64, ascending.
    """
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.bincount(classes)
    quota = np.minimum(counts, _quota(counts, most))
    order = np.lexsort((time_ns, classes))
    starts = np.cumsum(counts) - counts
    chosen = [
        order[start + np.arange(take) * count // max(take, 1)]
        for start, count, take in zip(starts.tolist(), counts.tolist(), quota.tolist(), strict=True)
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def _quota(counts: NDArray[np.int64], most: int) -> int:
    """The largest share a class may give so that all together give at most `most`."""
    left, ascending = most, sorted(counts.tolist())
    for number, count in enumerate(ascending):
        share = left // (len(ascending) - number)
        if count > share:
            return int(share)
        left -= count
    return int(max(ascending, default=0))
