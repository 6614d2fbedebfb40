"""The linear temporal model is defined whatever the sample holds, and keeps distances between windows."""

from __future__ import annotations

import numpy as np
import pytest

from models.build_temporal_pca import DIM, fit

SHAPE = (64, 6)


def sample(count: int = 40) -> np.ndarray:
    random = np.random.default_rng(8)
    windows = np.zeros((count, *SHAPE), np.float32)
    windows[:, -5:] = random.lognormal(3, 1, (count, 5, 6))
    windows[..., 5] = 0
    return windows


@pytest.mark.parametrize("windows", [sample(), sample(1), np.zeros((3, *SHAPE), np.float32)])
def test_any_sample_gives_128_orthogonal_components(windows: np.ndarray) -> None:
    """Even one window, or windows of silence, leave no component undefined."""
    if not windows.any():
        windows[0, -1, 0] = 1
    axes = fit(windows)[0].projection
    np.testing.assert_allclose(axes.T @ axes, np.eye(DIM), atol=1e-9)


def test_the_same_sample_gives_the_same_bytes() -> None:
    assert fit(sample())[0].to_onnx() == fit(sample())[0].to_onnx()


def test_silence_is_zero() -> None:
    assert not fit(sample())[0].apply(np.zeros((1, *SHAPE), np.float32)).any()


def test_a_channel_that_was_silent_in_the_sample_still_counts() -> None:
    threat = np.zeros((1, *SHAPE), np.float32)
    threat[0, 20:40, 5] = 1
    kept = np.sum(fit(sample())[0].apply(threat) ** 2) / np.sum(np.log1p(threat) ** 2)
    assert kept > 0.8


def test_activity_at_another_time_gives_another_vector() -> None:
    early, late = np.zeros((1, *SHAPE), np.float32), np.zeros((1, *SHAPE), np.float32)
    early[0, 5:10, :5] = 20
    late[0, 50:55, :5] = 20
    fitted = fit(sample())[0]
    apart = np.linalg.norm(fitted.apply(early) - fitted.apply(late))
    assert apart > np.linalg.norm(fitted.apply(early))
