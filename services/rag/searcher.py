"""Answers `similar`: nearest neighbours over all segments, in one index or fused over all, as patterns or as events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.fusion import FusionWeights, by_score, fuse, similarity
from services.common.days.names import EVENT_INDICES
from services.common.rpc import NotFound
from services.rag.events import find_event, read_events
from services.rag.nearest import Wanted, exact_distances, nearest, show, show_one, union
from services.rag.patterns import Patterns, narratives_of
from services.rag.scope import Scope
from services.rag.sentences import SEMANTIC, SentenceBook
from services.rag.varied import Varied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.events import Place
    from services.rag.nearest import Hits
    from services.rag.patterns import Show
    from services.rag.queries import Queries, Vectors
    from services.rag.scope import Bounds

FUSED = "fused"
_LEAST, _FACTOR = 50, 5


@dataclass(frozen=True)
class _Asked:
    """An event that is asked about: where it lies, what to look into, and its vectors in each index that has some."""

    place: Place
    scope: Scope
    queries: Mapping[str, Vectors]

    def candidates(self, search: Callable[[Scope, str, Vectors, Wanted], Hits], k: int) -> Hits:
        """What the indices name together, each `_FACTOR` k events, in the order of parts and rows."""
        wanted = Wanted(max(_LEAST, _FACTOR * k), self.place.time_ns, self.place)
        return union([search(self.scope, index, vectors, wanted) for index, vectors in self.queries.items()])


@dataclass(frozen=True)
class _Ranked:
    """Hits, the best first; `show` gives those with some numbers as plain fields, with their facts."""

    hits: Hits
    show: Show


@dataclass(frozen=True)
class Searcher:
    """Searches snapshots. Safe for several threads; each call blocks for its own search."""

    queries: Queries
    weights: FusionWeights
    patterns: Patterns = field(default_factory=Patterns)
    book: SentenceBook = field(default_factory=SentenceBook)

    def similar(self, snapshot: Snapshot, event_id: str, index: str, bounds: Bounds) -> dict[str, Any]:
        """The events most like the one with `event_id`: {"event", "hits", "receipt"}.

        Raises:
            NotFound: there is no such event, or it has no vector in the index yet.
            RequestError: the time is over and nothing was searched.
        """
        asked = self._ask(snapshot, event_id, index, bounds)
        if index == FUSED:
            ranked = self._fused(asked, asked.candidates(nearest, bounds.k))
            hits = ranked.show(np.arange(min(bounds.k, len(ranked.hits.rows))))
        else:
            wanted = Wanted(bounds.k, asked.place.time_ns, asked.place)
            found = nearest(asked.scope, index, asked.queries.get(index, {}), wanted)
            hits = show_one(asked.scope, index, found)
        return {"event": read_events([asked.place])[0], "hits": hits, "receipt": asked.scope.receipt()}

    def similar_patterns(
        self, snapshot: Snapshot, event_id: str, index: str, bounds: Bounds
    ) -> dict[str, Any]:
        """The patterns of the events most like one: {"event", "groups", "patterns", "receipt"}; raises as `similar`.

        `groups` are at most `bounds.k` of `Patterns.groups`; `patterns` is how many there are among all that passes.
        """
        asked = self._ask(snapshot, event_id, index, bounds)
        candidates = asked.candidates(Varied(self.book).nearest, bounds.k)
        if index == FUSED:
            ranked = self._fused(asked, candidates)
        else:
            ranked = _by_distance(asked, index, self._completed(asked, candidates, bounds.k))
        return {
            "event": read_events([asked.place])[0],
            "groups": self.patterns.groups(asked.scope, ranked.hits, ranked.show, bounds.k),
            "patterns": self.patterns.count(asked.scope),
            "receipt": asked.scope.receipt(),
        }

    def _ask(self, snapshot: Snapshot, event_id: str, index: str, bounds: Bounds) -> _Asked:
        wanted = EVENT_INDICES if index == FUSED else (index,)
        place = find_event(snapshot, event_id)
        scope = Scope(snapshot, bounds, wanted)
        made = {name: self.queries.of_event(scope, place, name) for name in wanted}
        queries = {name: vectors for name, vectors in made.items() if vectors}
        if scope.parts and not queries:
            reasons = "; ".join(dict.fromkeys(scope.reasons(wanted))) or "nothing is indexed there yet"
            raise NotFound(f"The event {event_id!r} has no vector in {' or '.join(wanted)}: {reasons}.")
        return _Asked(place, scope, queries)

    def _completed(self, asked: _Asked, found: Hits, k: int) -> Hits:
        """With events of the patterns that mean the same, where the index named fewer than `k` patterns.

        In an index the thousand events of one pattern lie side by side; in the semantic one a pattern is one vector.
        """
        if SEMANTIC in asked.queries or len(set(narratives_of(asked.scope, found))) >= k:
            return found
        asked.scope.note_missing((SEMANTIC,))
        meaning = self.queries.of_event(asked.scope, asked.place, SEMANTIC)
        more = _Asked(asked.place, asked.scope, {SEMANTIC: meaning})
        return union([found, more.candidates(Varied(self.book).nearest, k)])

    def _fused(self, asked: _Asked, hits: Hits) -> _Ranked:
        """Each index ranks all candidates by their exact distances."""
        distances: dict[str, NDArray[np.float32]] = {}
        places: dict[str, NDArray[np.float64]] = {}
        for index, vectors in asked.queries.items():
            distances[index], places[index] = exact_distances(asked.scope, index, vectors, hits)
        if not distances:
            return _Ranked(hits, lambda _: [])
        scores = fuse(distances, self.weights, places)
        order = by_score(scores, hits.gaps)

        def shown(which: NDArray[np.int64]) -> list[dict[str, Any]]:
            numbers = order[which]
            facts = [
                {
                    "index": FUSED,
                    "score": float(scores[number]),
                    "scores": _scores(
                        asked.scope, part, {name: values[number] for name, values in distances.items()}
                    ),
                }
                for number, part in zip(numbers.tolist(), hits.parts[numbers].tolist(), strict=True)
            ]
            return show(asked.scope, hits.take(numbers), facts)

        return _Ranked(hits.take(order), shown)


def _scores(scope: Scope, part: int, distances: Mapping[str, np.float32]) -> dict[str, float]:
    """The score of an event in each index that has it."""
    return {
        index: similarity(scope.spec(part, index).metric, float(distance))
        for index, distance in distances.items()
        if np.isfinite(distance)
    }


def _by_distance(asked: _Asked, index: str, hits: Hits) -> _Ranked:
    """Candidates in the order of one index, by their exact distances; those that it lacks are left out."""
    distances, places = exact_distances(asked.scope, index, asked.queries.get(index, {}), hits)
    order = np.lexsort((hits.gaps, places))
    order = order[np.isfinite(distances[order])]
    ranked = replace(hits, distances=distances).take(order)
    return _Ranked(ranked, lambda which: show_one(asked.scope, index, ranked.take(which)))
