"""Merges rankings of several indices: reciprocal rank fusion, Cormack, Clarke and Buettcher, SIGIR 2009."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CONSTANT = 60
"""The paper's k: how little the first ranks stand out."""
RESOLUTION = 1e-6
"""Distances closer than this are equal: the same two vectors differ by less when summed in another order."""

_EQUAL = 1e-5
"""Below this two vectors of one model are equal: an event embedded anew may differ by some rounding."""


@dataclass(frozen=True)
class FusionWeights:
    """How much each index counts in a fused answer."""

    attack: float = 1.0
    semantic: float = 1.0
    temporal: float = 1.0

    def of(self, index: str) -> float:
        """The weight of an index."""
        weight: float = getattr(self, index)
        return weight


def quantized(distances: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distances in steps of `RESOLUTION`, so that equal ones compare as equal; infinite ones stay so."""
    return np.rint(distances.astype(np.float64) / RESOLUTION)


def ranks(distances: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rank of each distance: 1 + how many are nearer, so that equal ones share the best place, int64 (n,).

    Where very many candidates are as near as each other (one sentence, one hour of a host), what comes after them is
    that much farther down: decision 0007 has the measurement.
    """
    steps = quantized(distances)
    return np.searchsorted(np.sort(steps), steps, "left").astype(np.int64) + 1


def common_ranks(
    distances: NDArray[np.float32], groups: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Ranks that can be compared over models, whose distances cannot: those within each group, stretched to all rows.

    A rank within `sizes[g]` of n rows stands for about n / sizes[g] times that rank within all n. Equal vectors, at
    distance 0, are equal by any model: their rank is 1. Decision 0009 has the measurement.

    Args:
        distances: (m,), infinite where there is none.
        groups: (m,) the number of the model that each is by.
        sizes: (models,) how many rows were searched by each model.

    Returns:
        float64 (m,); where there is one model, those of `ranks`.
    """
    if len(sizes) == 1:
        return ranks(distances).astype(np.float64)
    found = np.empty(len(distances))
    for group in np.unique(groups).tolist():
        here = groups == group
        found[here] = ranks(distances[here]) * (sizes.sum() / max(int(sizes[group]), 1))
    return np.where(distances < _EQUAL, 1.0, found)


def fuse(
    distances: Mapping[str, NDArray[np.float32]],
    weights: FusionWeights,
    places: Mapping[str, NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """The fused score of n candidates, higher is better, float64 (n,).

    Args:
        distances: for each index the distance of every candidate (n,), infinite where the index lacks it.
        weights: of the indices.
        places: for each index the rank of every candidate (n,), as of `common_ranks`; by default that of its distance.
    """
    scores = np.zeros(len(next(iter(distances.values()))))
    for index, values in distances.items():
        place = ranks(values) if places is None else places[index]
        scores += np.where(np.isfinite(values), weights.of(index) / (CONSTANT + place), 0.0)
    return scores


def by_distance(distances: NDArray[np.float32], gaps: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order of n hits: the nearest first, of equally near ones the one with the smallest gap in time."""
    return np.lexsort((gaps, quantized(distances)))


def by_score(scores: NDArray[np.float64], gaps: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order of n hits: the best score first, of equally good ones the one with the smallest gap in time."""
    return np.lexsort((gaps, -np.rint(scores / 1e-12)))


def similarity(metric: str, distance: float) -> float:
    """The score shown for a distance: the cosine, or 1 / (1 + distance) for "l2"."""
    return 1.0 - distance if metric == "cosine" else 1.0 / (1.0 + distance)
