"""The attack model keeps what varies in the sample and still tells apart what does not."""

from __future__ import annotations

import numpy as np

from models.build_attack import DIM, fit
from services.common.events.features import FEATURES, column_of

WIDTH = len(FEATURES)
UNSEEN = [column_of("fast_detector_score"), column_of("network_features.ddos_embedded.syn_ack_ratio")]


def sample(rows: int = 400) -> np.ndarray:
    random = np.random.default_rng(6)
    values = np.zeros((rows, WIDTH), np.float32)
    values[:, :60] = random.lognormal(3, 2, (rows, 60))
    values[:, UNSEEN] = 0
    values[:, 59] = 5
    return values


def test_the_varying_columns_are_kept_nearly_whole() -> None:
    values = sample()
    values[:, 20:59] = values[:, :39] * 2
    fitted = fit(values)
    assert fitted.varying == 59
    assert fitted.variance_explained > 0.999


def test_the_same_sample_gives_the_same_bytes() -> None:
    assert fit(sample()).projection.to_onnx() == fit(sample()).projection.to_onnx()


def test_events_that_differ_only_in_unseen_columns_differ() -> None:
    """A detector that the sample never saw firing moves the vector, and by a bounded amount."""
    fitted = fit(sample()).projection
    quiet = sample(1)
    for column in UNSEEN:
        loud = quiet.copy()
        loud[0, column] = 1.0
        distance = np.linalg.norm(fitted.apply(loud) - fitted.apply(quiet))
        assert 0.05 < distance < 5


def test_a_constant_column_that_is_not_zero_adds_nothing() -> None:
    fitted = fit(sample()).projection
    without = fitted.projection.copy()
    without[59] = 0
    np.testing.assert_allclose(fitted.apply(sample(20)) @ np.eye(DIM), fitted.apply(sample(20)))
    scaled = (np.log1p(5.0) - fitted.centre[59]) / fitted.scale[59]
    assert abs(scaled) < 1e-9


def test_a_column_that_hardly_varies_is_not_blown_up() -> None:
    values = sample()
    values[:, 10] = 0
    values[0, 10] = 1
    fitted = fit(values).projection
    assert fitted.scale[10] == 0.25


def test_distances_among_unseen_columns_are_kept_on_average() -> None:
    fitted = fit(sample()).projection
    unseen = np.setdiff1d(np.arange(WIDTH), np.arange(59))
    random = np.random.default_rng(7)
    values = np.repeat(sample(1), 200, axis=0)
    values[:, unseen] = random.uniform(0, 1, (200, len(unseen)))
    before = np.sum(np.diff(np.log1p(values[:, unseen].astype(float)), axis=0) ** 2, axis=1)
    after = np.sum(np.diff(fitted.apply(values), axis=0) ** 2, axis=1)
    assert 0.8 < after.mean() / before.mean() < 1.2
