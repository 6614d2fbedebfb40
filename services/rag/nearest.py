"""Nearest neighbours over all parts of a scope, in one index.

Parts whose vectors are of different models have distances that cannot be compared. What is merged over models is the
rank that a hit has among the parts of its own model: the nearest of each model come first, then the second of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from services.common.days.fusion import by_distance, ranks
from services.common.days.vectors import Nearness
from services.rag.events import Place, read_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.rag.queries import Vectors
    from services.rag.scope import Scope

_ROW_BITS = 40


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


def nearest(scope: Scope, index: str, queries: Vectors, wanted: tuple[int, int]) -> Hits:
    """The rows nearest to a question in an index, the nearest first, of equal ones those nearest in time.

    Args:
        scope: what to look into.
        index: its name.
        queries: the question in each model; parts of other models are passed over.
        wanted: how many, and the moment that decides among equals in nanoseconds since 1970.

    Raises:
        RequestError: the deadline has passed.
    """
    k, moment_ns = wanted
    found: dict[str, list[Hits]] = {}
    for number, part in enumerate(scope.parts):
        scope.deadline.check()
        vectors = scope.index_of(number, index, queries)
        if vectors is None:
            continue
        times = cast("NDArray[np.int64]", part.view.columns["time_ns"])
        query = queries[vectors.spec.model_id]
        near = vectors.search(query, k, Nearness(times, moment_ns), part.rows)
        gaps = np.abs(times[near.rows] - moment_ns)
        hits = Hits(np.full(len(near.rows), number), near.rows, gaps, near.distances)
        found.setdefault(vectors.spec.model_id, []).append(hits)
    return merge(found, k)


def merge(by_model: Mapping[str, Sequence[Hits]], k: int) -> Hits:
    """The k nearest of the hits of several models, fairly: by rank, since their distances cannot be compared."""
    return _merge([_nearest_of(hits, k) for hits in by_model.values()], k)


def _nearest_of(several: Sequence[Hits], k: int) -> Hits:
    """The k nearest of the hits of one model."""
    hits = join(several)
    return hits.take(by_distance(hits.distances, hits.gaps)[:k])


def _merge(models: Sequence[Hits], k: int) -> Hits:
    """The first k of the k nearest of each model, by their rank within it, equal ranks by nearness in time."""
    if len(models) == 1:
        return models[0]
    hits = join(models)
    places = np.concatenate([np.empty(0, np.int64), *(ranks(model.distances) for model in models)])
    return hits.take(np.lexsort((hits.gaps, places))[:k])


def union(several: Sequence[Hits]) -> Hits:
    """Every row of the hits once, in the order of parts and rows; the distances are those of the first that had it."""
    hits = join(several)
    _, first = np.unique((hits.parts << _ROW_BITS) | hits.rows, return_index=True)
    return hits.take(first)


def exact_distances(
    scope: Scope, index: str, queries: Vectors, hits: Hits
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """How far each of n hits is from a question in an index, and by which model.

    Distances float32 (n,), infinite where the index lacks the hit; numbers of models int64 (n,): only distances of the
    same one may be compared.
    """
    distances = np.full(len(hits.rows), np.inf, np.float32)
    groups = np.zeros(len(hits.rows), np.int64)
    models = list(queries)
    for number in np.unique(hits.parts).tolist():
        vectors = scope.index_of(number, index, queries)
        if vectors is not None:
            here, model_id = hits.parts == number, vectors.spec.model_id
            distances[here] = vectors.distances(queries[model_id], hits.rows[here])
            groups[here] = models.index(model_id)
    return distances, groups


def show(scope: Scope, hits: Hits, facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events of the hits as plain fields, each with its facts."""
    pairs = zip(hits.parts.tolist(), hits.rows.tolist(), strict=True)
    events = read_events([Place(scope.parts[part].view, row) for part, row in pairs])
    return [{**event, **more} for event, more in zip(events, facts, strict=True)]


def join(several: Sequence[Hits]) -> Hits:
    """All hits, one list after the other."""
    empty = np.empty(0, np.int64)
    everything = [Hits(empty, empty, empty, np.empty(0, np.float32)), *several]
    return Hits(
        np.concatenate([hits.parts for hits in everything]),
        np.concatenate([hits.rows for hits in everything]),
        np.concatenate([hits.gaps for hits in everything]),
        np.concatenate([hits.distances for hits in everything]),
    )
