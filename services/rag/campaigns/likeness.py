"""Whether two sightings are alike in the index `attack`, seen from how alike sightings are at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from services.rag.campaigns.sightings import Sightings
    from services.rag.scope import Scope

INDEX = "attack"
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Likeness:
    """The vectors of sightings, each that of its event in the middle of time, by the model that made them.

    Near is what lies within the radius of the model: half of its sightings have another one within that.
    """

    places: Mapping[int, tuple[str, int]] = field(
        default_factory=dict
    )  # sighting -> model, row of its vectors
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # (n, dim)
    radii: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope, found: Sightings) -> Likeness:
        """Read the vectors; blocks on mapped files. Sightings whose event has none are near to nothing."""
        middles = found.table[(found.starts[:-1] + found.starts[1:]) // 2]
        models = set(scope.models_of(INDEX))
        indices = {part: scope.index_of(part, INDEX, models) for part in np.unique(middles["part"]).tolist()}
        places: dict[int, tuple[str, int]] = {}
        vectors: dict[str, list[NDArray[np.float32]]] = {}
        for sighting, (part, row) in enumerate(middles[["part", "row"]].tolist()):
            index = indices[part]
            if index is not None and index.has(row):
                of_model = vectors.setdefault(index.spec.model_id, [])
                places[sighting] = index.spec.model_id, len(of_model)
                of_model.append(index.vector(row))
        stacked = {model_id: np.stack(of_model) for model_id, of_model in vectors.items()}
        return cls(places, stacked, {model_id: _radius(of_model) for model_id, of_model in stacked.items()})

    def near(self, one: int, other: int) -> bool:
        """Whether two sightings are alike; not, where their vectors are of different models."""
        if one not in self.places or other not in self.places:
            return False
        (model_id, row), (other_model, other_row) = self.places[one], self.places[other]
        if model_id != other_model:
            return False
        vectors = self.vectors[model_id]
        return float(np.linalg.norm(vectors[row] - vectors[other_row])) <= self.radii[model_id] + _ROUNDING


def _radius(vectors: NDArray[np.float32]) -> float:
    """The median distance of each vector (n, dim) from the nearest other one."""
    if len(vectors) < 2:
        return 0.0
    squares, _ = faiss.knn(vectors, vectors, 2)
    return float(np.median(np.sqrt(np.maximum(squares[:, 1], 0))))
