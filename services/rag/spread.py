"""How the features of one day's events are spread: what a robust sigma of each is.

A day's features are not kept, so they are read from some thousand of its events, chosen evenly over the day: the same
ones whenever the same rows are visible. All is measured on the scale on which the attack model sees a feature,
sign(x) * log(1 + |x|): times, bytes and rates span many powers of ten, and 1 s against 2 s says as much as 1 h against
2 h.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.events.feature_list import FEATURES
from services.rag.feature_words import is_nominal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot

    Matrix = NDArray[np.float64]

SAMPLE = 4096
"""Events of a day that are read: a median over so many is right to some 2 % of the spread."""
RUN = 32
"""Rows read one after the other: a block of a sealed day's log has as many, and is decompressed as a whole."""
MOST_DAYS = 64
"""Days whose spread is kept; each takes some 50 kB at most."""

_NORMAL = 1.4826
"""MAD times this is the standard deviation of what is normally distributed (Rousseeuw and Croux, JASA 1993)."""
LEAST = 0.01
"""No sigma is smaller, on the logarithmic scale: a difference of one per cent says nothing however rare it is."""
_WIDTH = len(FEATURES)
NOMINAL = tuple(column for column in range(_WIDTH) if is_nominal(column))


def signed_log(values: NDArray[np.floating]) -> Matrix:
    """sign(x) * log(1 + |x|), element by element, with 64 bits."""
    wide = np.asarray(values, np.float64)
    return np.asarray(np.sign(wide) * np.log1p(np.abs(wide)), np.float64)


@dataclass(frozen=True)
class Spread:
    """The spread of each feature over a day; arrays are (144,) and on the scale of `signed_log`. Immutable."""

    day: str
    rows: int  # events of the day that could have been read
    sampled: int  # events that were
    counts: NDArray[np.int64]  # of those, how many have the feature
    mad: Matrix  # median absolute deviation from the median, times 1.4826
    deviation: Matrix  # standard deviation
    kinds: Mapping[
        int, Mapping[float, int]
    ]  # of each nominal feature: value -> how many sampled events have it

    def sigmas(self, here: NDArray[np.float32], there: NDArray[np.float32]) -> Matrix:
        """How many robust sigmas of the day `here` is above `there`, feature by feature; both (144,) or (n, 144).

        The sigma is 1.4826 MAD. Where more than half of the day's events have (nearly) one value, MAD is (nearly) 0:
        then it is the standard deviation of the sampled events and one more that differs as much as these two, so that
        no difference counts more than sqrt(n + 1) sigmas of n events.
        """
        difference = signed_log(here) - signed_log(there)
        one_more = np.sqrt((self.counts * self.deviation**2 + difference**2) / np.maximum(self.counts + 1, 1))
        scale = np.maximum(np.where(self.mad >= LEAST, self.mad, one_more), LEAST)
        return np.asarray(difference / scale)

    def share(self, column: int, value: float) -> float:
        """The share of the sampled events that have a value of a nominal feature, 0 to 1."""
        return self.kinds[column].get(value, 0) / max(int(self.counts[column]), 1)


def spread_of(day: str, rows: int, values: NDArray[np.float32], present: NDArray[np.bool_]) -> Spread:
    """The spread of sampled features (n, 144); blocks for about 2 microseconds an event."""
    scaled = signed_log(values)
    mad, deviation = np.zeros(_WIDTH), np.zeros(_WIDTH)
    counts = present.sum(axis=0, dtype=np.int64)
    for column in np.flatnonzero(counts).tolist():
        numbers = scaled[present[:, column], column]
        mad[column] = _NORMAL * np.median(np.abs(numbers - np.median(numbers)))
        deviation[column] = numbers.std()
    kinds = {column: _shares(values[present[:, column], column]) for column in NOMINAL}
    return Spread(day, rows, len(values), counts, mad, deviation, kinds)


def _shares(values: NDArray[np.float32]) -> dict[float, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


class Spreads:
    """The spreads of days, kept once they were read. Safe for several threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = threading.Lock()
        self._known: OrderedDict[object, Spread] = OrderedDict()

    def of(self, snapshot: Snapshot, day: str) -> Spread:
        """That of a day; blocks for reading its events where it is not known: some 50 ms.

        Raises:
            AppiaError: an event's bytes are damaged.
        """
        views = [segment.view for segment in snapshot.segments if segment.view.day == day]
        key = day, tuple(map(_settled, views))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        spread = _read(day, views)
        with self._lock:
            self._known[key] = spread
            while len(self._known) > MOST_DAYS:
                self._known.popitem(last=False)
        return spread


def settled_rows(view: SegmentView) -> int:
    """The first rows of a segment that count: all of a sealed one, between 7/8 and all of an open one.

    An open segment grows with every event. Its rows are rounded down to four binary digits, so that it is read anew
    only when it has grown by an eighth, and so that the same rows are read whenever a question is repeated.
    """
    if view.sealed:
        return view.rows
    cut = max(view.rows.bit_length() - 4, 0)
    return view.rows >> cut << cut


def _settled(view: SegmentView) -> tuple[str, int, int, int]:
    """Which rows of a segment are read; the time and place of the last tell a day that was written anew."""
    rows = settled_rows(view)
    last = slice(max(rows - 1, 0), rows)
    when, where = (int(view.columns[name][last].sum()) for name in ("time_ns", "position"))
    return view.name, rows, when, where


def _read(day: str, views: Sequence[SegmentView]) -> Spread:
    from services.common.events.features import extract  # noqa: PLC0415 - 15 MB that not every replica needs

    rows = [settled_rows(view) for view in views]
    total = sum(rows)
    payloads: list[bytes] = []
    for view, count in zip(views, rows, strict=True):
        chosen = sample_rows(count, SAMPLE * count // max(total, 1))
        payloads += map(view.events.payload, view.columns["position"][chosen].tolist())
    found = extract(payloads)
    return spread_of(day, total, found.values, found.present)


def sample_rows(rows: int, wanted: int) -> NDArray[np.int64]:
    """About `wanted` of the first `rows` rows (all where there are not more), evenly, in runs of `RUN`; ascending."""
    if rows <= wanted:
        return np.arange(rows, dtype=np.int64)
    blocks = np.linspace(0, (rows - 1) // RUN, max(wanted // RUN, 1)).astype(np.int64)
    chosen = (np.unique(blocks)[:, None] * RUN + np.arange(RUN)).ravel()
    return chosen[chosen < rows]
