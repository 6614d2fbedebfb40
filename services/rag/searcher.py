"""Answers `similar`: nearest neighbours over all segments, in one index or fused over all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.fusion import FusionWeights, by_score, fuse, similarity
from services.common.days.names import EVENT_INDICES
from services.common.rpc import NotFound
from services.rag.events import find_event, read_events
from services.rag.nearest import Wanted, exact_distances, nearest, show, show_one, union
from services.rag.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.events import Place
    from services.rag.queries import Queries, Vectors
    from services.rag.scope import Bounds

FUSED = "fused"
_FUSED_LEAST, _FUSED_FACTOR = 50, 5


@dataclass(frozen=True)
class Searcher:
    """Searches snapshots. Safe for several threads; each call blocks for its own search."""

    queries: Queries
    weights: FusionWeights

    def similar(self, snapshot: Snapshot, event_id: str, index: str, bounds: Bounds) -> dict[str, Any]:
        """The events most like the one with `event_id`: {"event", "hits", "receipt"}.

        Raises:
            NotFound: there is no such event, or it has no vector in the index yet.
            RequestError: the deadline has passed.
        """
        wanted = EVENT_INDICES if index == FUSED else (index,)
        place = find_event(snapshot, event_id)
        scope = Scope(snapshot, bounds, wanted)
        queries = self._vectors_of(scope, place, event_id, wanted)
        if index == FUSED:
            hits = self._fused(scope, queries, place, bounds.k)
        else:
            found = nearest(scope, index, queries.get(index, {}), Wanted(bounds.k, place.time_ns, place))
            hits = show_one(scope, index, found)
        return {"event": read_events([place])[0], "hits": hits, "receipt": scope.receipt()}

    def _vectors_of(
        self, scope: Scope, place: Place, event_id: str, wanted: Sequence[str]
    ) -> dict[str, Vectors]:
        """The event's vectors in each index that has some."""
        made = {index: self.queries.of_event(scope, place, index) for index in wanted}
        found = {index: queries for index, queries in made.items() if queries}
        if scope.parts and not found:
            reasons = "; ".join(dict.fromkeys(scope.reasons(wanted))) or "nothing is indexed there yet"
            raise NotFound(f"The event {event_id!r} has no vector in {' or '.join(wanted)}: {reasons}.")
        return found

    def _fused(self, scope: Scope, queries: dict[str, Vectors], place: Place, k: int) -> list[dict[str, Any]]:
        """Every index names its candidates; then each index ranks all of them by their exact distances."""
        if not queries:
            return []
        depth = max(_FUSED_LEAST, _FUSED_FACTOR * k)
        wanted = Wanted(depth, place.time_ns, place)
        hits = union([nearest(scope, index, vectors, wanted) for index, vectors in queries.items()])
        distances: dict[str, NDArray[np.float32]] = {}
        places: dict[str, NDArray[np.float64]] = {}
        for index, vectors in queries.items():
            distances[index], places[index] = exact_distances(scope, index, vectors, hits)
        scores = fuse(distances, self.weights, places)
        best = by_score(scores, hits.gaps)[:k]
        facts = [
            {
                "index": FUSED,
                "score": float(scores[number]),
                "scores": {
                    index: similarity(scope.spec(part, index).metric, float(values[number]))
                    for index, values in distances.items()
                    if np.isfinite(values[number])
                },
            }
            for number, part in zip(best.tolist(), hits.parts[best].tolist(), strict=True)
        ]
        return show(scope, hits.take(best), facts)
