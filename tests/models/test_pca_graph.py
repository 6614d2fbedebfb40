"""The log projection is the same in ONNX and numpy, bounded, and reproducible."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.pca_graph import LIMIT, LogProjection, principal_axes, signed_log

FLOAT32_MAX = float(np.finfo(np.float32).max)


def projection(shape: tuple[int, ...] = (6,), dim: int = 3) -> LogProjection:
    random = np.random.default_rng(2)
    width = int(np.prod(shape))
    centre, scale = random.standard_normal(shape[-1]), random.uniform(0.5, 2, shape[-1])
    return LogProjection(shape, centre, scale, random.standard_normal((width, dim)))


def run(fitted: LogProjection, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(fitted.to_onnx(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"values": values})[0])


@pytest.mark.parametrize("shape", [(6,), (4, 6)])
def test_onnx_and_numpy_agree(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).lognormal(4, 4, (50, *shape)).astype(np.float32)
    values[::3] *= -1
    expected = projection(shape).apply(values)
    difference = np.linalg.norm(run(projection(shape), values) - expected) / np.linalg.norm(expected)
    assert difference <= 1e-5


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 6), elements=st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32)))
def test_no_finite_input_leaves_the_bounds(values: np.ndarray) -> None:
    """Whatever an event says, its vector is finite and at most as long as 8 in every column allows."""
    fitted = projection()
    found = run(fitted, values)
    assert np.isfinite(found).all()
    assert np.all(np.abs(found) <= LIMIT * np.abs(fitted.projection).sum(axis=0) * 1.0001)


def test_no_rows_give_no_vectors() -> None:
    assert run(projection(), np.empty((0, 6), np.float32)).shape == (0, 3)


def test_the_signed_log_is_odd_and_monotonous() -> None:
    values = np.linspace(-1e6, 1e6, 1001)
    logs = signed_log(values)
    np.testing.assert_allclose(logs, -logs[::-1])
    assert np.all(np.diff(logs) > 0)


def test_principal_axes_are_orthogonal_ordered_and_keep_their_sign() -> None:
    random = np.random.default_rng(4)
    rows = random.standard_normal((500, 5)) * np.array([5, 4, 3, 2, 1])
    axes, variances = principal_axes(np.cov(rows, rowvar=False), 3)
    again, _ = principal_axes(np.cov(-rows, rowvar=False), 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.all(np.diff(variances) <= 0)
    np.testing.assert_allclose(axes, again, atol=1e-9)
