"""Answers `similar` and `search`: nearest neighbours over all segments, in one index or fused over all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from services.common.days.fusion import FusionWeights, by_score, fuse, similarity
from services.common.days.names import EVENT_INDICES
from services.common.errors import UsageError
from services.common.rpc import NotFound
from services.rag.events import find_event, read_events
from services.rag.nearest import QueryVector, exact_distances, nearest, show, union
from services.rag.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.rag.catalog import Snapshot
    from services.rag.events import Place
    from services.rag.nearest import Hits
    from services.rag.scope import Bounds

FUSED = "fused"
SEMANTIC = "semantic"
MAX_TEXT = 1000
_FUSED_LEAST, _FUSED_FACTOR = 50, 5
# Later than every event, so that "nearest in time" means "newest", and far from the ends of int64.
_NEWEST_FIRST_NS = 1 << 62


class QueryTexts(Protocol):
    """Turns the words of a question into a vector of the semantic index."""

    def embed(self, text: str) -> QueryVector:
        """The vector of `text`. Blocks for the model. Raises `AppiaError` where no model can be used."""
        ...


@dataclass(frozen=True)
class Searcher:
    """Searches snapshots. Safe for several threads; each call blocks for its own search."""

    texts: QueryTexts
    weights: FusionWeights

    def similar(self, snapshot: Snapshot, event_id: str, index: str, bounds: Bounds) -> dict[str, Any]:
        """The events most like the one with `event_id`: {"event", "hits", "receipt"}.

        Raises:
            UsageError: there is no such index.
            NotFound: there is no such event, or it has no vector in the index yet.
            RequestError: the deadline has passed.
        """
        if index not in (*EVENT_INDICES, FUSED):
            raise UsageError(
                f"There is no index {index[:80]!r}; there are: {', '.join((*EVENT_INDICES, FUSED))}."
            )
        wanted = EVENT_INDICES if index == FUSED else (index,)
        place = find_event(snapshot, event_id)
        scope = Scope(snapshot, bounds, wanted)
        queries = _vectors_of(place, event_id, wanted, scope)
        if index == FUSED:
            hits = self._fused(scope, queries, place, bounds.k)
        else:
            found = nearest(scope, index, queries[index], (bounds.k + 1, place.time_ns))
            hits = _show_one(scope, index, found.without(scope, place).first(bounds.k))
        return {"event": read_events([place])[0], "hits": hits, "receipt": scope.receipt()}

    def search(self, snapshot: Snapshot, text: str, bounds: Bounds) -> dict[str, Any]:
        """The events whose narratives are nearest in meaning to `text`, newest first: {"hits", "receipt"}.

        Raises:
            UsageError: the text is empty or too long.
            AppiaError: no model can be used.
            RequestError: the deadline has passed.
        """
        text = text.strip()
        if not 0 < len(text) <= MAX_TEXT:
            raise UsageError(f"The text to search for must have 1 to {MAX_TEXT} characters, not {len(text)}.")
        scope = Scope(snapshot, bounds, (SEMANTIC,))
        query = self.texts.embed(text)
        found = nearest(scope, SEMANTIC, query, (bounds.k, _NEWEST_FIRST_NS))
        return {"hits": _show_one(scope, SEMANTIC, found), "receipt": scope.receipt()}

    def _fused(
        self, scope: Scope, queries: dict[str, QueryVector], place: Place, k: int
    ) -> list[dict[str, Any]]:
        """Every index names its candidates; then each index ranks all of them by their exact distances."""
        depth = max(_FUSED_LEAST, _FUSED_FACTOR * k) + 1
        lists = [nearest(scope, index, query, (depth, place.time_ns)) for index, query in queries.items()]
        hits = union(lists).without(scope, place)
        distances = {index: exact_distances(scope, index, query, hits) for index, query in queries.items()}
        scores = fuse(distances, self.weights)
        best = by_score(scores, hits.gaps)[:k]
        facts = [
            {
                "index": FUSED,
                "score": float(scores[number]),
                "scores": {
                    index: similarity(scope.metric(index), float(values[number]))
                    for index, values in distances.items()
                    if np.isfinite(values[number])
                },
            }
            for number in best.tolist()
        ]
        return show(scope, hits.take(best), facts)


def _vectors_of(place: Place, event_id: str, wanted: Sequence[str], scope: Scope) -> dict[str, QueryVector]:
    """The event's vector in each index that has one; the others are noted as missing."""
    found: dict[str, QueryVector] = {}
    for index in wanted:
        vectors = place.view.indices.get(index)
        if vectors is None or place.row >= vectors.rows:
            scope.miss(place.view.day, index, "the event itself has no vector in it yet")
        else:
            found[index] = QueryVector(vectors.vector(place.row), vectors.spec.model_id)
    if not found:
        names = " or ".join(wanted)
        raise NotFound(f"The event {event_id!r} has no vector in {names} yet; ask again in a moment.")
    return found


def _show_one(scope: Scope, index: str, hits: Hits) -> list[dict[str, Any]]:
    facts = [
        {"index": index, "score": similarity(scope.metric(index), distance), "distance": distance}
        for distance in hits.distances.tolist()
    ]
    return show(scope, hits, facts)
