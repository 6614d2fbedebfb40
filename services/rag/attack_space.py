"""Where events lie in the attack index, and who is near: what counterfactuals are looked for in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from services.common.days.expansion import Nearness
from services.common.days.fusion import by_distance, quantized
from services.common.rpc import RequestError
from services.rag.benign import are_benign
from services.rag.counterfactual import CROWD, Crowd
from services.rag.deltas import measure
from services.rag.events import Place
from services.rag.nearest import Hits, Wanted, join, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from services.common.embedding.port import RowEmbedder
    from services.rag.benign import BenignRows
    from services.rag.deltas import Measured
    from services.rag.scope import Scope

ATTACK = "attack"
_CANDIDATES = 128
_MOST_LOOKED_AT = 16
"""Benign events, with vectors of their own, that may be targets: so many are looked at."""


@dataclass(frozen=True)
class Subject:
    """The event that is explained: where it lies and its features."""

    place: Place
    measured: Measured

    @property
    def protocol(self) -> int:
        """IANA number."""
        return int(self.place.view.columns["protocol"][self.place.row])


@dataclass(frozen=True)
class AttackSpace:
    """The vectors of one attack model in a scope: `counterfactual.Space` for one question."""

    scope: Scope
    subject: Subject
    model: RowEmbedder
    benign: BenignRows
    met: dict[bytes, Crowd] = field(default_factory=dict)
    """By the bytes of a vector."""

    def embed(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (n, dim) of features (n, 144)."""
        return self.model.embed(rows)

    def crowd(self, vector: NDArray[np.float32]) -> Crowd:
        """The nearest events of a vector (dim,), but the one that is explained.

        Raises:
            RequestError: the time is nearly over.
        """
        known = self.met.get(vector.tobytes())
        if known is None:
            known = self.met[vector.tobytes()] = self._find_crowd(vector)
        return known

    def _find_crowd(self, vector: NDArray[np.float32]) -> Crowd:
        if self.scope.deadline.is_near:
            raise RequestError("deadline", "there was no time to look further")
        wanted = Wanted(CROWD, self.subject.place.time_ns, self.subject.place)
        hits = nearest(self.scope, ATTACK, {self.model.model_id: vector}, wanted)
        pairs = list(zip(hits.parts.tolist(), hits.rows.tolist(), strict=True))
        views = [self.scope.parts[part].view for part, _ in pairs]
        near = [view.indices[ATTACK].vector(row) for view, (_, row) in zip(views, pairs, strict=True)]
        vectors = np.stack(near) if near else np.empty((0, len(vector)), np.float32)
        return Crowd(vectors, self._are_benign(hits), hits)

    def benign_targets(self) -> Iterator[NDArray[np.float32]]:
        """Features (144,) of benign events of the same protocol that lie among benign ones, the nearest first."""
        vector = self.embed(self.subject.measured.values[None])[0]
        hits = self._nearest_benign(vector)
        _, first = np.unique(quantized(hits.distances), return_index=True)
        for number in first[:_MOST_LOOKED_AT].tolist():
            place = Place(self.scope.parts[int(hits.parts[number])].view, int(hits.rows[number]))
            features = measure([place])[0].values
            if self.crowd(self.embed(features[None])[0]).mostly_benign:
                yield features

    def any_benign(self) -> bool:
        """Whether there is any benign event of the same protocol."""
        return any(self.benign.of(part, self.subject.protocol).count for part in self.scope.parts)

    def _nearest_benign(self, vector: NDArray[np.float32]) -> Hits:
        found: list[Hits] = []
        for number, index in self.scope.searchable(ATTACK, {self.model.model_id}):
            part = self.scope.parts[number]
            times = cast("NDArray[np.int64]", part.view.columns["time_ns"])
            near_in_time = Nearness(times, self.subject.place.time_ns, ascending=part.view.sealed)
            chosen = self.benign.of(part, self.subject.protocol)
            near = index.search(vector, _CANDIDATES, near_in_time, chosen)
            gaps = near_in_time.gaps(near.rows)
            found.append(Hits(np.full(len(near.rows), number), near.rows, gaps, near.distances))
        hits = join(found)
        return hits.take(by_distance(hits.distances, hits.gaps))

    def _are_benign(self, hits: Hits) -> NDArray[np.bool_]:
        found = np.zeros(len(hits.rows), bool)
        for number in np.unique(hits.parts).tolist():
            here = hits.parts == number
            found[here] = are_benign(self.scope.parts[number].view, hits.rows[here])
        return found
