"""Opens a sealed state in this process, and computes the nearest neighbours from the vectors alone, by brute force."""

from __future__ import annotations

import random as random_module
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.names import StateNames, day_start_ns
from services.common.logs import make_logger
from services.rag.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot

    Rows = list[NDArray[np.int64]]

OPEN_S = 600.0
CLOSE = 1e-5
"""Distances that differ by less, of themselves or absolutely, are equal: sums in another order differ by that."""


@contextmanager
def opened(state: Path) -> Iterator[Snapshot]:
    """All days of a state directory, for as long as the block runs."""
    catalog = Catalog(StateNames(state), make_logger("bench"))
    catalog.start()
    try:
        catalog.wait_opened(OPEN_S)
        with catalog.lease() as snapshot:
            yield snapshot
    finally:
        catalog.stop()


@dataclass(frozen=True)
class Question:
    """An event to ask about, and a filter of its class and the hours around it."""

    event_id: str
    view: int  # number of the view
    row: int
    filters: dict[str, Any]
    rows: Rows  # for each view those that pass the filter


class Days:
    """The segments of a snapshot, and exact answers from them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.views: list[SegmentView] = [s.view for s in snapshot.segments if s.view.rows]
        self.rows = sum(view.rows for view in self.views)

    def questions(self, count: int, share: float, seed: int = 5) -> list[Question]:
        """Random events, each with a filter that about `share` of all rows pass, where its class has so many."""
        random = random_module.Random(seed)
        ends = np.cumsum([view.rows for view in self.views])
        chosen = sorted(random.sample(range(self.rows), min(count, self.rows)))
        classes = self._times_by_class()
        found = []
        for place in chosen:
            number = int(np.searchsorted(ends, place, side="right"))
            row = place - int(ends[number]) + self.views[number].rows
            found.append(self._question(number, row, (classes, int(share * self.rows))))
        random.shuffle(found)
        return found

    def _times_by_class(self) -> dict[str, NDArray[np.int64]]:
        times: dict[str, list[NDArray[np.int64]]] = {}
        for view in self.views:
            codes, moments = view.columns["class"], view.columns["time_ns"]
            for code in np.unique(codes).tolist():
                rows = np.flatnonzero(codes == code)
                times.setdefault(view.texts[code], []).append(np.asarray(moments[rows], np.int64))
        return {name: np.sort(np.concatenate(parts)) for name, parts in times.items()}

    def _question(self, number: int, row: int, near: tuple[dict[str, NDArray[np.int64]], int]) -> Question:
        classes, target = near
        view = self.views[number]
        name = view.texts[int(view.columns["class"][row])]
        times = classes[name]
        place = int(np.searchsorted(times, view.columns["time_ns"][row]))
        first = max(0, min(place - target // 2, len(times) - target))
        since = int(times[first])
        until = int(times[min(first + max(target, 1), len(times)) - 1]) + 1
        event_id = view.events.fetch([row])[0]["event_id"]
        filters = {"class": name, "since": since, "until": until}
        return Question(event_id, number, row, filters, self._passing(name, since, until))

    def _passing(self, name: str, since: int, until: int) -> Rows:
        """By a plain look at the columns, without the code under test."""
        found = []
        for view in self.views:
            start = day_start_ns(view.day)
            if until <= start or since >= start + 86_400 * 10**9:
                found.append(np.empty(0, np.int64))
                continue
            codes = [code for code, text in enumerate(view.texts) if text == name]
            times = np.asarray(view.columns["time_ns"], np.int64)
            mask = np.isin(view.columns["class"], codes) & (times >= since) & (times < until)
            found.append(np.flatnonzero(mask))
        return found

    def all_rows(self) -> Rows:
        """Every row of each view."""
        return [np.arange(view.rows, dtype=np.int64) for view in self.views]

    def nearest(self, question: Question, index: str, k: int, rows: Rows) -> NDArray[np.float32]:
        """The distances of the k rows nearest to an event, itself left out, ascending, by comparison with all."""
        query = self.views[question.view].indices[index].vector(question.row)
        found = []
        for number, (view, among) in enumerate(zip(self.views, rows, strict=True)):
            vectors = view.indices[index]
            measured = _distances(vectors.spec.metric, np.asarray(vectors.vectors), query)
            kept = among[among != question.row] if number == question.view else among
            distances = measured[kept if vectors.codes is None else vectors.codes[kept]]
            found.append(distances if len(distances) <= k else np.partition(distances, k - 1)[:k])
        return np.sort(np.concatenate(found))[:k]

    def items(self) -> dict[str, int]:
        """Distinct vectors by index."""
        totals: dict[str, int] = {}
        for view in self.views:
            for name, vectors in view.indices.items():
                totals[name] = totals.get(name, 0) + len(vectors.vectors)
        return totals


def _distances(metric: str, vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    if metric == "cosine":
        return np.asarray(np.maximum(1.0 - vectors @ query, 0.0), np.float32)
    return np.asarray(np.linalg.norm(vectors - query, axis=1), np.float32)


def recall(hits: list[dict[str, Any]], exact: NDArray[np.float32]) -> float:
    """How many of the exact answers were found: hits no farther than the farthest exact one; equal ones are as good."""
    if not len(exact):
        return 1.0
    limit = float(exact[-1]) * (1 + CLOSE) + CLOSE
    return min(sum(bool(hit["distance"] <= limit) for hit in hits), len(exact)) / len(exact)
