"""Nearest neighbours over all parts of a scope, in one index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from services.common.days.fusion import by_distance
from services.common.days.vectors import Nearness
from services.rag.events import Place, read_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.rag.scope import Scope

_ROW_BITS = 40


@dataclass(frozen=True)
class QueryVector:
    """A vector to search for, float32 (dim,), and the model that made it."""

    values: NDArray[np.float32]
    model_id: str


@dataclass(frozen=True)
class Hits:
    """n rows of several parts of a scope: number of the part and row int64 (n,), distance to time int64 (n,)."""

    parts: NDArray[np.int64]
    rows: NDArray[np.int64]
    gaps: NDArray[np.int64]  # nanoseconds between the event and the moment asked about
    distances: NDArray[np.float32]

    def take(self, which: NDArray[Any]) -> Hits:
        """Some of them, by number or mask."""
        return Hits(self.parts[which], self.rows[which], self.gaps[which], self.distances[which])

    def first(self, k: int) -> Hits:
        """At most k of them, from the beginning."""
        return Hits(self.parts[:k], self.rows[:k], self.gaps[:k], self.distances[:k])

    def without(self, scope: Scope, place: Place) -> Hits:
        """All of them but the event at `place`."""
        own = [number for number, part in enumerate(scope.parts) if part.view is place.view]
        return self.take(~(np.isin(self.parts, own) & (self.rows == place.row)))


def nearest(scope: Scope, index: str, query: QueryVector, wanted: tuple[int, int]) -> Hits:
    """The rows nearest to `query` in an index, the nearest first, of equal ones those nearest in time.

    Args:
        scope: what to look into.
        index: its name.
        query: the vector.
        wanted: how many, and the moment that decides among equals in nanoseconds since 1970.

    Raises:
        RequestError: the deadline has passed.
    """
    k, moment_ns = wanted
    found: list[Hits] = []
    for number, part in enumerate(scope.parts):
        scope.deadline.check()
        vectors = scope.index_of(part, index, query.model_id)
        if vectors is None:
            continue
        times = cast("NDArray[np.int64]", part.view.columns["time_ns"])
        near = vectors.search(query.values, k, Nearness(times, moment_ns), part.rows)
        gaps = np.abs(times[near.rows] - moment_ns)
        found.append(Hits(np.full(len(near.rows), number), near.rows, gaps, near.distances))
    hits = _join(found)
    return hits.take(by_distance(hits.distances, hits.gaps)[:k])


def union(several: Sequence[Hits]) -> Hits:
    """Every row of the hits once, in the order of parts and rows; the distances are those of the first that had it."""
    hits = _join(several)
    _, first = np.unique((hits.parts << _ROW_BITS) | hits.rows, return_index=True)
    return hits.take(first)


def exact_distances(scope: Scope, index: str, query: QueryVector, hits: Hits) -> NDArray[np.float32]:
    """The distance of every hit in an index, float32 (n,); infinite where the index lacks it."""
    distances = np.full(len(hits.rows), np.inf, np.float32)
    for number in np.unique(hits.parts).tolist():
        vectors = scope.index_of(scope.parts[number], index, query.model_id)
        if vectors is not None:
            here = hits.parts == number
            distances[here] = vectors.distances(query.values, hits.rows[here])
    return distances


def show(scope: Scope, hits: Hits, facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events of the hits as plain fields, each with its facts."""
    pairs = zip(hits.parts.tolist(), hits.rows.tolist(), strict=True)
    events = read_events([Place(scope.parts[part].view, row) for part, row in pairs])
    return [{**event, **more} for event, more in zip(events, facts, strict=True)]


def _join(several: Sequence[Hits]) -> Hits:
    empty = np.empty(0, np.int64)
    everything = [Hits(empty, empty, empty, np.empty(0, np.float32)), *several]
    return Hits(
        np.concatenate([hits.parts for hits in everything]),
        np.concatenate([hits.rows for hits in everything]),
        np.concatenate([hits.gaps for hits in everything]),
        np.concatenate([hits.distances for hits in everything]),
    )
