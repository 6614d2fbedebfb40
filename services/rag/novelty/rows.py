"""The events that are novel: which rows have a novel vector, how unusual each is, and how they are ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.novelty.judging import Judged, JudgedDay
    from services.rag.scope import Part, Scope

_TINY = 1e-6  # where nothing in the past was far at all, any distance is many thresholds


@dataclass(frozen=True)
class NovelRows:
    """n rows of the parts of a scope, each once, the most unusual first."""

    parts: NDArray[np.int64]
    rows: NDArray[np.int64]
    judged: NDArray[np.int64]  # number of the judged day and index in which the row is most unusual
    shares: NDArray[np.float64]  # the share of past events that were as unusual
    excess: NDArray[np.float64]  # the distance, in thresholds
    distances: NDArray[np.float32]

    def take(self, which: NDArray[Any]) -> NovelRows:
        """Some of them, by number or mask."""
        return NovelRows(
            self.parts[which],
            self.rows[which],
            self.judged[which],
            self.shares[which],
            self.excess[which],
            self.distances[which],
        )

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows)


def novel_rows(scope: Scope, days: Sequence[JudgedDay]) -> tuple[NovelRows, list[int]]:
    """The novel rows among those that pass the filters; and how many of them each judged index knows, in order.

    Of equally unusual ones the one that is more thresholds away comes first, then the older one.
    """
    found: list[NovelRows] = [_nothing()]
    looked: list[int] = []
    for day in days:
        for judged in day.judged:
            rows, count = _rows_of(scope, day, judged, len(looked))
            found.append(rows)
            looked.append(count)
    everything = _joined(found)
    order = np.lexsort((-everything.excess, everything.shares, everything.rows, everything.parts))
    pairs = np.stack([everything.parts[order], everything.rows[order]])
    fresh = np.ones(len(order), bool)
    fresh[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(axis=0)
    once = everything.take(order[fresh])
    return once.take(np.lexsort((_times(scope, once), -once.excess, once.shares))), looked


def _rows_of(scope: Scope, day: JudgedDay, judged: Judged, number: int) -> tuple[NovelRows, int]:
    """Those of one judged index."""
    items = judged.novel()
    places = np.full(judged.space.items + 1, -1, np.int64)  # one more for rows without a vector
    places[items] = np.arange(len(items))
    distances = judged.distances[items]
    shares = day.shares(judged, distances)
    excess = distances.astype(np.float64) / max(judged.threshold, _TINY)
    found, looked = [_nothing()], 0
    for part_number, part in enumerate(scope.parts):
        if not any(view is part.view for view in judged.space.views):
            continue
        rows = _passing(part, judged)
        of_rows = judged.space.items_of(part.view)[rows]
        looked += int(np.count_nonzero(of_rows >= 0))
        novel = places[of_rows] >= 0
        if judged.alone:
            novel &= np.isin(rows, judged.past.days[0].first.rows_in(part.view))
        rows, which = rows[novel], places[of_rows[novel]]
        here = np.full(len(rows), part_number), rows, np.full(len(rows), number)
        found.append(NovelRows(*here, shares[which], excess[which], distances[which]))
    return _joined(found), looked


def _passing(part: Part, judged: Judged) -> NDArray[np.int64]:
    """The rows of a part that pass the filters and that the index has reached."""
    rows = part.view.indices[judged.space.index].rows
    if part.rows is None:
        return np.arange(rows, dtype=np.int64)
    return part.rows[: np.searchsorted(part.rows, rows)]


def _times(scope: Scope, found: NovelRows) -> NDArray[np.int64]:
    times = np.empty(len(found), np.int64)
    for number in np.unique(found.parts).tolist():
        here = found.parts == number
        times[here] = scope.parts[number].view.columns["time_ns"][found.rows[here]]
    return times


def _nothing() -> NovelRows:
    empty = np.empty(0, np.int64)
    return NovelRows(empty, empty, empty, np.empty(0), np.empty(0), np.empty(0, np.float32))


def _joined(several: Sequence[NovelRows]) -> NovelRows:
    return NovelRows(
        *(
            np.concatenate([getattr(one, name) for one in several])
            for name in ("parts", "rows", "judged", "shares", "excess", "distances")
        )
    )
