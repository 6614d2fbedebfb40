"""The attack encoder: what it does with an event's features, as arrays that numpy, torch and the graph share.

    step     = round(sign(x) * log(1 + |x|) / grid) * grid                          144 numbers
    scaled   = clip((step - centre) / scale, -8, 8)
    learned  = unit(relu(scaled x hidden + hidden_bias) x output + output_bias)     112 numbers
    native   = [learned, share * scaled / sqrt(varying)]                            256 numbers
    vector   = native x projection                                                  64 numbers

Numbers that differ by less than a step are the same number: a scan repeats one flow thousands of times, and all that
differs is a port drawn at random and some microseconds. Rounded, these flows have one vector, and of equal vectors an
answer names the events nearest in time. The steps are those of `grid_of`; traffic in which the small differences tell
more than the hour is taught with fine ones.

The learned half says what belongs together. The kept one is the scaled features themselves, much smaller: it orders
the events within a behaviour, and keeps apart what the labels said nothing about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.events.feature_list import FEATURES

Matrix = NDArray[np.float64]

WIDTH = len(FEATURES)
DIM = 64
NATIVE_DIM = 256
LEARNED_DIM = NATIVE_DIM - WIDTH
HIDDEN_DIM = 256
KEPT = 0.3
LIMIT = 8.0
LEAST_DEVIATION = 0.25
"""On the scale of `step`: a column that hardly varies is not blown up by its own rarity."""
COMPONENTS_FOR_CONSTANT_COLUMNS = 16
SHORTEST = 1e-6
_SEED = 20
_CONSTANT = 1e-9

COARSE, FINE = 1.0, 1 / 64
"""What `grid_of` takes: the steps as described there, and steps that leave the numbers nearly as they are."""
_EXACT, _RATIO, _COUNT, _COARSEST = 0.05, 0.25, 0.5, 1.0
_STEPS = {
    "0 or 1": _EXACT,
    "number": _EXACT,
    "IANA number": _EXACT,
    "1": _RATIO,
    "packets": _COUNT,
    "count": _COUNT,
    "addresses": _COUNT,
}
_SCORES = ("score", "confidence")


def grid_of(coarseness: float = COARSE) -> Matrix:
    """The step of each feature on the scale of log(1 + x), (WIDTH,), all of them multiplied by `coarseness`.

    Times, rates, bytes and ports: 1, a factor of e. Counts: 0.5. Ratios: 0.25. Scores, flags and numbers of a
    protocol: 0.05, so that every value stays what it is.
    """
    steps = [
        _EXACT if any(word in feature.path for word in _SCORES) else _STEPS.get(feature.unit, _COARSEST)
        for feature in FEATURES
    ]
    return np.array(steps) * coarseness


def signed_log(values: NDArray[np.floating]) -> Matrix:
    """sign(x) * log(1 + |x|), element by element, with 64 bits."""
    wide = values.astype(np.float64)
    return np.asarray(np.sign(wide) * np.log1p(np.abs(wide)), np.float64)


@dataclass(frozen=True)
class Scaling:
    """How features are rounded and brought to one scale: `grid`, `centre` and `scale` are (WIDTH,).

    `varies` says which columns varied in what was seen. `share` is what the scaled features are multiplied by in the
    native vector, all of those that vary together.
    """

    grid: Matrix
    centre: Matrix
    scale: Matrix
    varies: NDArray[np.bool_]
    share: float = KEPT

    @staticmethod
    def of(values: NDArray[np.floating], grid: Matrix, share: float = KEPT) -> Scaling:
        """Fit to features (n, WIDTH), n >= 1."""
        steps = _rounded(values, grid)
        deviation = steps.std(axis=0)
        varies = deviation > _CONSTANT
        scale = np.where(varies, np.maximum(deviation, LEAST_DEVIATION), 1.0)
        return Scaling(grid, steps.mean(axis=0), scale, varies, share)

    def apply(self, values: NDArray[np.floating]) -> Matrix:
        """Scaled features (n, WIDTH) of features (n, WIDTH)."""
        return np.clip((_rounded(values, self.grid) - self.centre) / self.scale, -LIMIT, LIMIT)

    @property
    def kept(self) -> float:
        """What `scaled` is multiplied by where it is kept in `native`."""
        return float(self.share / np.sqrt(max(int(self.varies.sum()), 1)))


@dataclass(frozen=True)
class Layers:
    """The network's weights: hidden (WIDTH, HIDDEN_DIM), output (HIDDEN_DIM, LEARNED_DIM), and their biases."""

    hidden: Matrix
    hidden_bias: Matrix
    output: Matrix
    output_bias: Matrix

    def learned(self, scaled: Matrix) -> Matrix:
        """Vectors of length 1 (n, LEARNED_DIM) of scaled features (n, WIDTH)."""
        inner = np.maximum(scaled @ self.hidden + self.hidden_bias, 0.0)
        outer = inner @ self.output + self.output_bias
        length = np.linalg.norm(outer, axis=1, keepdims=True)
        return np.asarray(outer / np.maximum(length, SHORTEST), np.float64)


@dataclass(frozen=True)
class AttackEncoder:
    """The whole encoder; `projection` is (NATIVE_DIM, DIM)."""

    scaling: Scaling
    layers: Layers
    projection: Matrix

    @staticmethod
    def of(scaling: Scaling, layers: Layers, scaled: Matrix) -> AttackEncoder:
        """Find the projection: the directions in which the native vectors of `scaled` (n, WIDTH) vary most.

        Columns that are constant there have no variance to rank them by. They share a few components of their own
        through random orthogonal directions, which keep distances on average, so that events of sensors that do
        fill them differ.
        """
        varying = np.concatenate((np.ones(LEARNED_DIM, bool), scaling.varies))
        constant = int((~varying).sum())
        spread = min(COMPONENTS_FOR_CONSTANT_COLUMNS, constant)
        native = np.concatenate((layers.learned(scaled), scaling.kept * scaled), axis=1)[:, varying]
        projection = np.zeros((NATIVE_DIM, DIM))
        axes = _principal_axes(np.cov(native, rowvar=False), DIM - spread)
        projection[varying, : axes.shape[1]] = axes
        projection[~varying, DIM - spread :] = _spread(constant, spread)
        return AttackEncoder(scaling, layers, projection)

    def embed(self, values: NDArray[np.float32]) -> Matrix:
        """Vectors (n, DIM) of features (n, WIDTH), in numpy with 64 bits."""
        scaled = self.scaling.apply(values)
        native = np.concatenate((self.layers.learned(scaled), self.scaling.kept * scaled), axis=1)
        return np.asarray(native @ self.projection, np.float64)


def _rounded(values: NDArray[np.floating], grid: Matrix) -> Matrix:
    return np.asarray(np.rint(signed_log(values) / grid) * grid, np.float64)


def _principal_axes(covariance: Matrix, count: int) -> Matrix:
    """The `count` axes of largest variance as columns, the largest component of each positive."""
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :count]
    strongest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.asarray(axes * np.where(strongest < 0, -1.0, 1.0), np.float64)


def _spread(columns: int, components: int) -> Matrix:
    """Random directions (columns, components) that keep distances on average (Johnson-Lindenstrauss)."""
    if components == 0:
        return np.zeros((columns, 0))
    basis, _ = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((columns, components)))
    return np.asarray(basis * np.sqrt(columns / components), np.float64)
