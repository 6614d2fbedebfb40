"""Nearest neighbours over all parts of a scope, in one index.

Parts whose vectors are of different models have distances that cannot be compared. What is merged over models is the
rank that a hit has among the parts of its own model, stretched to the rows of all (`fusion.common_ranks`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from services.common.days.expansion import Choice, Nearness, rows_about
from services.common.days.fusion import RESOLUTION, by_distance, common_ranks, similarity
from services.common.days.together import Depth, Near
from services.rag.events import Place, read_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.selection import Postings
    from services.common.days.vectors import Neighbours, VectorIndex
    from services.rag.queries import Vectors
    from services.rag.scope import Part, Scope

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


@dataclass(frozen=True)
class Wanted:
    """What is asked for: how many rows, and which not.

    `moment_ns`, in nanoseconds since 1970, decides among equally near ones; `apart_from` is no answer to itself; of
    the rows with the same vector in a segment at most `alike` are wanted, all where that is None.
    """

    k: int
    moment_ns: int
    apart_from: Place | None = None
    alike: int | None = None


@dataclass(frozen=True)
class Found:
    """What was found by one model: hits of several parts, and how many rows were searched."""

    hits: Sequence[Hits]
    rows: int


def nearest(scope: Scope, index: str, queries: Vectors, wanted: Wanted) -> Hits:
    """The rows nearest to a question in an index, the nearest first, of equal ones those nearest in time.

    Args:
        scope: what to look into.
        index: its name.
        queries: the question in each model; parts of other models are passed over.
        wanted: what of it.

    The newest parts are searched first; where the time ends meanwhile, the receipt names those that were not.

    Raises:
        RequestError: the time is over and nothing was searched.
    """
    searches: dict[str, _Search] = {}
    for number, vectors in scope.searchable(index, queries):
        model_id = vectors.spec.model_id
        if model_id not in searches:
            searches[model_id] = _Search((scope, index, model_id), queries[model_id], wanted)
        searches[model_id].take(number, vectors)
    sizes = scope.rows_of(index)
    oldest_first = [model_id for model_id in sizes if model_id in searches]
    return merge([Found([searches[model_id].hits()], sizes[model_id]) for model_id in oldest_first], wanted.k)


class _Search:
    """A search of the parts of one model: only vectors that may be among the nearest of all parts become rows."""

    def __init__(self, asked: tuple[Scope, str, str], query: NDArray[np.float32], wanted: Wanted) -> None:
        self._scope, self._index, self._model_id = asked
        self._query, self._wanted = query, wanted
        k = wanted.k + int(wanted.apart_from is not None)  # the event itself may be among those found
        self._depth = Depth(k, k if wanted.alike is None else wanted.alike)
        self._whole: dict[int, int] = {}
        self._near: list[Near] = []
        self._indices: dict[int, VectorIndex] = {}

    def take(self, number: int, vectors: VectorIndex) -> None:
        """Search a part; one that is sealed and has no filter later, together with the others."""
        part = self._scope.parts[number]
        self._indices[number] = vectors
        if part.chosen is None and part.view.sealed and vectors.cover is not None:
            self._whole[id(vectors)] = number
            return
        ids, distances = vectors.near(self._query, self._depth.k, part.chosen)
        # A vector that passes has a row that does; some of those written last may be of rows that are not visible yet.
        rows = np.full(len(ids), int(not vectors.hidden), np.int32)
        self._near.append(Near(np.full(len(ids), number), ids, distances, rows))

    def hits(self) -> Hits:
        """What was found, the oldest part first: its nearest rows, of equally near ones those nearest in time."""
        near = Near.join([*self._near, *self._together()])
        near = near.take(near.distances <= self._depth.limit(near.distances, near.rows) + 2 * RESOLUTION)
        near = near.take(np.lexsort((near.distances, near.indices)))
        hits = self._rows(near)
        return hits.take(np.argsort(hits.parts, kind="stable"))

    def _rows(self, near: Near) -> Hits:
        """The rows that have some vectors, those of each part in their order; the vectors ascend by part."""
        found: list[Hits] = []
        whole: list[Hits] = []
        vectors = [np.empty(0, np.int64)]
        ends = np.flatnonzero(np.diff(near.indices, append=-1)) + 1
        for start, end in pairwise([0, *ends.tolist()]):
            number, some = int(near.indices[start]), near.take(slice(start, end))
            aim, index = _Aim.at(self._scope.parts[number], self._wanted), self._indices[number]
            if id(index) in self._whole and index.postings is not None:
                hits, places = aim.about(number, index.postings, some)
                whole.append(hits)
                vectors.append(places + start)
            else:
                nearest_rows = index.expand(some.numbers, some.distances, aim.k, aim.choice)
                found.append(aim.hits(number, index, nearest_rows))
        return join([_few_of_each(join(whole), np.concatenate(vectors), self._depth.alike), *found])

    def _together(self) -> list[Near]:
        """What the days without a filter have, by the number of the part."""
        if not self._whole:
            return []
        together = self._scope.snapshot.together(self._index, self._model_id)
        parts = np.array([self._whole.get(id(index), -1) for index in together.indices])
        near = together.near(self._query, self._depth, parts >= 0)
        return [replace(near, indices=parts[near.indices])]


@dataclass(frozen=True)
class _Aim:
    """What is wanted of one part: k rows by a choice, but for one."""

    k: int
    choice: Choice
    wanted: Wanted
    apart_from: int | None  # row

    @classmethod
    def at(cls, part: Part, wanted: Wanted) -> _Aim:
        """In a part."""
        apart = wanted.apart_from if wanted.apart_from and wanted.apart_from.view is part.view else None
        times = cast("NDArray[np.int64]", part.view.columns["time_ns"])
        near = Nearness(times, wanted.moment_ns, ascending=part.view.sealed)
        more = int(apart is not None)  # the event itself may be among those found
        k, alike = wanted.k + more, wanted.k + more
        if wanted.alike is not None:
            # One more of each vector is at most as many again.
            k, alike = wanted.k * (1 + more) + more, min(wanted.alike + more, alike)
        return cls(k, Choice(near, part.chosen, alike), wanted, None if apart is None else apart.row)

    def about(self, number: int, postings: Postings, near: Near) -> tuple[Hits, NDArray[np.int64]]:
        """In no order, the rows of a whole part that may be wanted of some vectors, and the place of that of each."""
        rows, places = rows_about(postings, near.numbers, self.choice)
        if self.apart_from is not None:
            kept = rows != self.apart_from
            rows, places = rows[kept], places[kept]
        numbers = np.full(len(rows), number)
        return Hits(numbers, rows, self.choice.near.gaps(rows), near.distances[places]), places

    def hits(self, number: int, index: VectorIndex, found: Neighbours) -> Hits:
        """What was found in the part with a number, in its index."""
        gaps = self.choice.near.gaps(found.rows)
        hits = Hits(np.full(len(found.rows), number), found.rows, gaps, found.distances)
        if self.apart_from is not None:
            hits = hits.take(hits.rows != self.apart_from)
            if self.wanted.alike is not None and index.codes is not None:
                begins = np.diff(index.codes[hits.rows].astype(np.int64), prepend=-1) != 0
                hits = _few_of_each(hits, begins.cumsum(), self.wanted.alike)
        return hits.first(self.wanted.k)


def _few_of_each(hits: Hits, vectors: NDArray[np.int64], alike: int) -> Hits:
    """Hits by vector, those of the same one by nearness in time, of each at most so many."""
    order = np.lexsort((hits.gaps, vectors))
    ordered = vectors[order]
    return hits.take(order[np.arange(len(order)) - ordered.searchsorted(ordered) < alike])


def nearest_in(part: Part, number: int, asked: tuple[VectorIndex, Vectors], wanted: Wanted) -> Hits:
    """The rows of one part that are nearest by one index."""
    vectors, queries = asked
    aim = _Aim.at(part, wanted)
    query = queries[vectors.spec.model_id]
    near = vectors.search(query, aim.k, aim.choice.near, part.chosen, aim.choice.alike)
    return aim.hits(number, vectors, near)


def rows_with(
    part: Part, number: int, asked: tuple[VectorIndex, Vectors], items: NDArray[np.int64], wanted: Wanted
) -> Hits:
    """As `nearest_in`, but only rows that have one of the vectors `items`, by number, each once."""
    vectors, queries = asked
    aim = _Aim.at(part, wanted)
    distances = vectors.measure(queries[vectors.spec.model_id], np.asarray(vectors.vectors[items]))
    order = np.argsort(distances, kind="stable")
    return aim.hits(number, vectors, vectors.expand(items[order], distances[order], aim.k, aim.choice))


def merge(models: Sequence[Found], k: int) -> Hits:
    """The k nearest of what several models found: by `common_ranks`, equal ones by nearness in time."""
    of_each = [nearest_first(join(found.hits)).first(k) for found in models]
    hits = join(of_each)
    groups = np.repeat(np.arange(len(of_each)), [len(one.rows) for one in of_each])
    places = common_ranks(hits.distances, groups, np.array([found.rows for found in models], np.int64))
    return hits.take(np.lexsort((hits.gaps, places))[:k])


def nearest_first(hits: Hits) -> Hits:
    """Hits of one model by distance, of equally near ones those nearest in time first."""
    return hits.take(by_distance(hits.distances, hits.gaps))


def union(several: Sequence[Hits]) -> Hits:
    """Every row of the hits once, in the order of parts and rows; the distances are those of the first that had it."""
    hits = join(several)
    _, first = np.unique((hits.parts << _ROW_BITS) | hits.rows, return_index=True)
    return hits.take(first)


def exact_distances(
    scope: Scope, index: str, queries: Vectors, hits: Hits
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """How far each of n hits is from a question in an index, and its rank among them.

    Distances float32 (n,), infinite where the index lacks the hit; ranks float64 (n,), see `common_ranks`.
    """
    distances = np.full(len(hits.rows), np.inf, np.float32)
    groups = np.zeros(len(hits.rows), np.int64)
    models, sizes = list(queries), scope.rows_of(index)
    for number in np.flatnonzero(np.bincount(hits.parts)).tolist():
        vectors = scope.index_of(number, index, queries)
        if vectors is not None:
            here, model_id = np.flatnonzero(hits.parts == number), vectors.spec.model_id
            distances[here] = vectors.distances(queries[model_id], hits.rows[here])
            groups[here] = models.index(model_id)
    return distances, common_ranks(distances, groups, np.array([sizes[model_id] for model_id in models]))


def show(scope: Scope, hits: Hits, facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events of the hits as plain fields, each with its facts."""
    pairs = zip(hits.parts.tolist(), hits.rows.tolist(), strict=True)
    events = read_events([Place(scope.parts[part].view, row) for part, row in pairs])
    return [{**event, **more} for event, more in zip(events, facts, strict=True)]


def show_one(scope: Scope, index: str, hits: Hits) -> list[dict[str, Any]]:
    """The hits of one index as plain fields, each with its model, distance and score."""
    facts: list[dict[str, Any]] = []
    for part, distance in zip(hits.parts.tolist(), hits.distances.tolist(), strict=True):
        spec = scope.spec(part, index)
        score = similarity(spec.metric, distance)
        facts.append({"index": index, "model": spec.model_id, "score": score, "distance": distance})
    return show(scope, hits, facts)


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
