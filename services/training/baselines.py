"""What a trained index has to beat: representations of the same features that anybody can make without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.training.scoring import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPONENTS = 64
SEED = 7
_CONSTANT = 1e-6


def random_projection(features: NDArray[np.float32]) -> Space:
    """Raw values (n, d) times a random matrix, 64 numbers each: what the sensors' own project searches."""
    matrix = np.random.default_rng(SEED).standard_normal((features.shape[1], COMPONENTS))
    return Space.of_rows("l2", (features.astype(np.float64) @ matrix).astype(np.float32))


def standardized(features: NDArray[np.float32], base: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The signed logarithm of (n, d) numbers, each column minus its mean and divided by its deviation in the base."""
    values = np.sign(features) * np.log1p(np.abs(features.astype(np.float64)))
    deviation = values[base].std(axis=0)
    deviation[deviation < _CONSTANT] = 1.0
    return np.asarray((values - values[base].mean(axis=0)) / deviation, np.float32)


def z_score(features: NDArray[np.float32], base: NDArray[np.bool_]) -> Space:
    """All standardized columns."""
    return Space.of_rows("l2", standardized(features, base))


def principal_components(features: NDArray[np.float32], base: NDArray[np.bool_]) -> Space:
    """The 64 directions in which the standardized base varies most."""
    values = standardized(features, base).astype(np.float64)
    _, directions = np.linalg.eigh(np.cov(values[base], rowvar=False))
    return Space.of_rows("l2", (values @ directions[:, ::-1][:, :COMPONENTS]).astype(np.float32))


def baselines(features: NDArray[np.float32], base: NDArray[np.bool_]) -> dict[str, Space]:
    """All of them by the names that tables show.

    Args:
        features: float32 (n, d), 0 where missing.
        base: bool (n,), the rows from which means and directions may be taken.
    """
    return {
        "random projection": random_projection(features),
        "z-score": z_score(features, base),
        "z-score, PCA 64": principal_components(features, base),
    }
