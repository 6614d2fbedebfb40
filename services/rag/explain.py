"""Answers `explain`: what tells an event from others, which index saw the likeness, and what would make it benign."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.fusion import quantized, similarity
from services.common.days.names import EVENT_INDICES
from services.rag.attack_space import Subject
from services.rag.benign import BenignRows
from services.rag.deltas import compare, measure
from services.rag.events import Place, find_event, read_events
from services.rag.nearest import Wanted, nearest
from services.rag.scope import Scope
from services.rag.searcher import FUSED
from services.rag.spread import Spreads
from services.rag.what_if import what_if

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.deltas import Measured
    from services.rag.nearest import Hits
    from services.rag.queries import Vectors
    from services.rag.scope import Bounds
    from services.rag.searcher import Searcher
    from services.rag.spread import Spread

DEPTH = 100
"""So many nearest events of each index are looked at to tell the rank of another event."""


@dataclass(frozen=True)
class Near:
    """How far the nearest events of one index are, by the model that made their vectors.

    `distances` float32 (n,) by model id; distances of several models cannot be compared. `whole` says that there are no
    other events.
    """

    distances: Mapping[str, NDArray[np.float32]]
    whole: bool

    @classmethod
    def of(cls, scope: Scope, index: str, hits: Hits) -> Near:
        """Of the `DEPTH` nearest hits in an index."""
        models = np.array([scope.spec(part, index).model_id for part in hits.parts.tolist()], object)
        found = {model: hits.distances[models == model] for model in dict.fromkeys(models.tolist())}
        return cls(found, whole=len(hits.rows) < DEPTH)

    def rank(self, model_id: str, distance: float) -> int | None:
        """1 + how many events of a model are nearer than `distance`; None where it is farther than all of them."""
        known = np.sort(quantized(self.distances.get(model_id, np.empty(0, np.float32))))
        nearer = int(np.searchsorted(known, quantized(np.array([distance], np.float32))[0], "left"))
        return nearer + 1 if self.whole or nearer < len(known) else None


@dataclass(frozen=True)
class _Asked:
    """The event, and its neighbourhood in each index that has it."""

    subject: Subject
    queries: Mapping[str, Vectors]
    near: Mapping[str, Near]
    spread: Spread


@dataclass(frozen=True)
class Explainer:
    """Explains events. Safe for several threads; each call blocks for its own search and for reading events."""

    searcher: Searcher
    spreads: Spreads = field(default_factory=Spreads)
    benign: BenignRows = field(default_factory=BenignRows)

    def explain(
        self, snapshot: Snapshot, event_id: str, others: Sequence[str] | None, bounds: Bounds
    ) -> dict[str, Any]:
        """Compare an event with others, or with the nearest of each behaviour where none are named.

        Gives {"event", "day", "others", "what_if", "receipt"}; docs/explain.md describes each.

        Raises:
            NotFound: there is no such event, or no index has it and none are named.
            AppiaError: the bytes of an event are damaged.
            RequestError: the deadline has passed.
        """
        place = find_event(snapshot, event_id)
        named = None if others is None else [find_event(snapshot, other) for other in others]
        scope = Scope(snapshot, bounds, EVENT_INDICES)
        asked = self._ask(scope, place)
        places = self._nearest(scope, event_id, bounds) if named is None else named
        change = what_if(scope, asked.subject, self.searcher.queries.models, (self.benign, asked.spread))
        spread = asked.spread
        return {
            "event": read_events([place])[0],
            "day": {"day": spread.day, "rows": spread.rows, "sampled": spread.sampled},
            "others": self._compare(asked, places),
            "what_if": change,
            "receipt": scope.receipt(),
        }

    def _ask(self, scope: Scope, place: Place) -> _Asked:
        made = {index: self.searcher.queries.of_event(scope, place, index) for index in EVENT_INDICES}
        queries = {index: vectors for index, vectors in made.items() if vectors}
        wanted = Wanted(DEPTH, place.time_ns, place)
        near = {
            index: Near.of(scope, index, nearest(scope, index, vectors, wanted))
            for index, vectors in queries.items()
        }
        spread = self.spreads.of(scope.snapshot, place.view.day)
        return _Asked(Subject(place, measure([place])[0]), queries, near, spread)

    def _nearest(self, scope: Scope, event_id: str, bounds: Bounds) -> list[Place]:
        """The nearest event of each of the patterns that `similar` would give, in that order."""
        answer = self.searcher.similar_patterns(scope.snapshot, event_id, FUSED, bounds)
        _note_lacks(scope, answer["receipt"])
        views = {(segment.view.day, segment.view.name): segment.view for segment in scope.snapshot.segments}
        best = [group["examples"][0] for group in answer["groups"]]
        return [Place(views[event["day"], event["segment"]], event["row"]) for event in best]

    def _compare(self, asked: _Asked, places: Sequence[Place]) -> list[dict[str, Any]]:
        events = read_events(places)
        features: Sequence[Measured] = measure(places) if places else []
        return [
            {
                "event": event,
                **compare(asked.subject.measured, other, asked.spread),
                "likeness": _likeness(asked, place),
            }
            for event, other, place in zip(events, features, places, strict=True)
        ]


def _note_lacks(scope: Scope, receipt: Mapping[str, Any]) -> None:
    """Say of a scope what the receipt of another question about the same days says is missing."""
    scope.partial |= receipt["partial"]
    for entry in receipt["missing"]:
        scope.miss(**entry)
    for reason in receipt["unrepeatable"]:
        scope.doubt(reason)


def _likeness(asked: _Asked, other: Place) -> dict[str, dict[str, Any]]:
    """How near each index sees an event to the one asked about: see docs/explain.md."""
    return {
        index: found
        for index, queries in asked.queries.items()
        if (found := _likeness_in(index, queries, asked.near[index], other)) is not None
    }


def _likeness_in(index: str, queries: Vectors, near: Near, other: Place) -> dict[str, Any] | None:
    vectors = other.view.indices.get(index)
    if vectors is None or not vectors.has(other.row) or vectors.spec.model_id not in queries:
        return None
    row = np.array([other.row], np.int64)
    (distance,) = vectors.distances(queries[vectors.spec.model_id], row)
    return {
        "distance": float(distance),
        "score": similarity(vectors.spec.metric, float(distance)),
        "rank": near.rank(vectors.spec.model_id, float(distance)),
        "model": vectors.spec.model_id,
    }
