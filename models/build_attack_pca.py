"""Makes the attack-pca model: signed log, z-score and 64 linear components of an event's features.

It is what the `attack` model has to beat. Run from the project's root:
`python -m models.build_attack_pca --store FOLDER`. It is fitted on the traffic in
`samples/`, without labels. Columns that never vary there (what the recorder's flows do not tell: detectors
and verdicts) have no variance to rank them by; a fixed share of the components is kept for them, so that
events of sensors that do fill them still differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.making import Made, Recipe, parser, progress, run
from models.pca_graph import LIMIT, LogProjection, principal_axes, signed_log
from models.sample import measure, read_events, sample_files
from services.common.embedding.manifest import MODEL_FILE, InputSchema
from services.common.events.features import FEATURES, SCHEMA_HASH, extract

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

NAME = "attack-pca"
DIM = 64
COMPONENTS_FOR_CONSTANT_COLUMNS = 16
# On the signed-log scale: a column that hardly varies in the sample is not blown up by its own rarity.
LEAST_DEVIATION = 0.25
SEED = 20


@dataclass(frozen=True)
class Fit:
    """The fitted projection, the share of variance it keeps, and how many columns vary in the sample."""

    projection: LogProjection
    variance_explained: float
    varying: int


def fit(values: NDArray[np.float32]) -> Fit:
    """Fit to feature rows (n, d). Deterministic: the same rows give the same projection."""
    logs = signed_log(values)
    centre, deviation = logs.mean(axis=0), logs.std(axis=0)
    varies = deviation > 1e-9
    scale = np.where(varies, np.maximum(deviation, LEAST_DEVIATION), 1.0)
    scaled = np.clip((logs - centre) / scale, -LIMIT, LIMIT)[:, varies]
    constant = int((~varies).sum())
    kept = min(COMPONENTS_FOR_CONSTANT_COLUMNS, constant)
    axes, variances = principal_axes(np.cov(scaled, rowvar=False), DIM - kept)
    projection = np.zeros((values.shape[1], DIM))
    projection[varies, : axes.shape[1]] = axes
    projection[~varies, DIM - kept :] = _spread(constant, kept)
    explained = float(variances[: DIM - kept].sum() / variances.sum())
    return Fit(LogProjection((values.shape[1],), centre, scale, projection), explained, int(varies.sum()))


def variance_kept(fitted: Fit, values: NDArray[np.float32]) -> float:
    """The share of the variance of feature rows (n, d) that the components hold, of columns that vary in the sample."""
    axes = fitted.projection.projection
    seen = np.linalg.norm(axes[:, : DIM - COMPONENTS_FOR_CONSTANT_COLUMNS], axis=1) > 0
    scale, centre = fitted.projection.scale, fitted.projection.centre
    scaled = np.clip((signed_log(values) - centre) / scale, -LIMIT, LIMIT)[:, seen]
    held = scaled @ axes[seen]
    return float(held.var(axis=0).sum() / scaled.var(axis=0).sum())


def _spread(columns: int, components: int) -> Matrix:
    """Random directions (columns, components) that keep distances on average (Johnson-Lindenstrauss)."""
    if components == 0:
        return np.zeros((columns, 0))
    basis, _ = np.linalg.qr(np.random.default_rng(SEED).standard_normal((columns, components)))
    return np.asarray(basis * np.sqrt(columns / components), np.float64)


def make(_options: argparse.Namespace) -> Made:
    """Read the sample, fit, check and measure."""
    files = sample_files()
    payloads = [event.SerializeToString(deterministic=True) for event in read_events(files)]
    values = extract(payloads).values
    progress(NAME, f"fitting to {len(values)} flows of {len(FEATURES)} features")
    fitted = fit(values)
    model = fitted.projection.to_onnx()
    measured = measure(fitted.projection, model, values)
    measured |= {
        "variance_explained": fitted.variance_explained,
        "varying_columns": fitted.varying,
        "rows_fitted": len(values),
        "file_bytes": len(model),
    }
    progress(
        NAME, f"{fitted.varying} columns vary; {fitted.variance_explained:.4f} of their variance is kept"
    )
    return Made(recipe(), {MODEL_FILE: model}, measured, tuple(file.name for file in files))


def recipe() -> Recipe:
    """The model's description."""
    return Recipe(
        name=NAME,
        version="1",
        input=InputSchema(kind="features", hash=SCHEMA_HASH, shape=(len(FEATURES),)),
        dim=DIM,
        metric="l2",
        licence="Apache-2.0 (made by this project)",
        training_data="The project's own recorded traffic in samples/, without labels.",
    )


if __name__ == "__main__":
    run(make, parser(__doc__))
