"""The temporal encoder: one formula in torch and ONNX, taught by nearness in time, better than its linear baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.build_temporal_pca import fit
from models.synthetic_hours import HostMaker, MadeWindows
from services.common.embedding.inspection import refuse_unsafe_model
from services.common.embedding.manifest import MODEL_FILE
from services.common.errors import AppiaError
from services.common.events.windows import CHANNELS, STEPS, THREAT
from services.training import temporal
from services.training.port import HostWindowRows, LabelledRows, TrainOptions
from services.training.scoring import Rows, Searches, Space

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from services.training.temporal_graph import encoder_graph  # noqa: E402 - after the skip
from services.training.temporal_net import LEARNED, LINEAR_DIM, SPANS, Encoder, describe, embed  # noqa: E402

SHAPE = (STEPS, len(CHANNELS))
ONE_THREAD = TrainOptions(seed=3, seconds=60.0, threads=1)
FLOAT32_MAX = float(np.finfo(np.float32).max)


def silent(_step: str, _done: int, _total: int) -> None:
    return


def windows_of(hosts: int, seed: int) -> MadeWindows:
    return HostMaker(np.random.default_rng(seed)).windows(hosts, 20)


def labelled(windows: HostWindowRows) -> LabelledRows:
    """One event a window."""
    count = len(windows)
    return LabelledRows(
        features=np.zeros((count, 1), np.float32),
        present=np.zeros((count, 1), bool),
        labels=np.full(count, "unknown"),
        time_ns=np.arange(count, dtype=np.int64),
        windows=windows,
        window_of=np.arange(count, dtype=np.int64),
    )


@pytest.fixture(scope="module")
def taught() -> Encoder:
    """Taught by 120 batches: enough to be better, short enough for a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporal, "TEACHING_STEPS", 120)
        return temporal.teach(windows_of(150, 1).rows, ONE_THREAD, silent)[0]


@pytest.fixture(scope="module")
def session(taught: Encoder) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(encoder_graph(taught, SHAPE), providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, windows: np.ndarray) -> np.ndarray:
    return np.asarray(session.run(None, {"values": windows})[0])


def precision(vectors: np.ndarray, made: MadeWindows) -> float:
    """The share of the 5 nearest windows of other hosts that show the same behaviour."""
    rows = Rows.of_one_day(made.names, made.rows.steps)
    base = made.rows.hosts % 2 == 0
    found = Searches(rows, base).nearest(Space.of_rows("l2", vectors), np.flatnonzero(~base))
    return float(np.mean(made.names[found] == made.names[~base, None]))


def test_onnx_and_torch_agree(session: onnxruntime.InferenceSession, taught: Encoder) -> None:
    windows = windows_of(60, 2).rows.values
    expected = embed(windows, taught)
    difference = np.linalg.norm(run(session, windows) - expected) / np.linalg.norm(expected)
    assert difference <= 1e-5


def test_the_store_accepts_the_graph(taught: Encoder) -> None:
    refuse_unsafe_model(encoder_graph(taught, SHAPE), "temporal")


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (2, *SHAPE), elements=st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32)))
def test_no_finite_window_leaves_the_bounds(
    session: onnxruntime.InferenceSession, windows: np.ndarray
) -> None:
    """Whatever events say, the vector is finite, and its learned half has one length."""
    found = run(session, windows)
    assert np.isfinite(found).all()
    assert np.all(np.linalg.norm(found[:, LINEAR_DIM:], axis=1) <= LEARNED * 1.0001)


def test_a_description_is_what_it_says() -> None:
    """Two active steps of 3 and 5 flows: the mean, the largest, how many, and bytes for each flow, of each span."""
    window = np.zeros((1, *SHAPE), np.float32)
    window[0, -1, :2] = 3, 300
    window[0, -3, :2] = 5, 100
    told = describe(torch.from_numpy(window)).numpy().reshape(len(SPANS), -1)
    width = len(CHANNELS)
    for span, numbers in zip(SPANS, told, strict=True):
        both = span > 2
        mean, largest, count, per_event = np.split(numbers, [width, 2 * width, 2 * width + 1])
        np.testing.assert_allclose(mean[:2], np.log1p([4, 200] if both else [3, 300]), rtol=1e-6)
        np.testing.assert_allclose(largest[:2], np.log1p([5, 300] if both else [3, 300]), rtol=1e-6)
        np.testing.assert_allclose(count, np.log1p(2 if both else 1), rtol=1e-6)
        expected = np.log1p(400) - np.log1p(8) if both else np.log1p(300) - np.log1p(3)
        np.testing.assert_allclose(per_event[0], expected, rtol=1e-5)


def test_when_something_happened_within_a_span_does_not_matter(session: onnxruntime.InferenceSession) -> None:
    """A burst half an hour ago is the same some minutes earlier."""
    one, other = np.zeros((2, 1, *SHAPE), np.float32)
    one[0, -20:-17, :5] = other[0, -29:-26, :5] = 40
    one[0, -1, :5] = other[0, -1, :5] = 2
    np.testing.assert_array_equal(run(session, one), run(session, other))


def test_what_a_host_does_now_matters(session: onnxruntime.InferenceSession) -> None:
    now, before = np.zeros((2, 1, *SHAPE), np.float32)
    now[0, -1:, :5] = before[0, -20, :5] = 500
    before[0, -1, :5] = 1
    assert np.linalg.norm(run(session, now) - run(session, before)) > 0.5


def test_behaviours_of_unknown_hosts_are_told_apart_better_than_by_linear_components(taught: Encoder) -> None:
    """By all of the vector better than by its linear half, and by that better than by components of the raw hour."""
    made = windows_of(200, 3)
    baseline = fit(windows_of(60, 4).rows.values[:400])[0].apply(made.rows.values)
    vectors = embed(made.rows.values, taught)
    scores = [
        precision(np.ascontiguousarray(v, np.float32), made)
        for v in (baseline, vectors[:, :LINEAR_DIM], vectors)
    ]
    assert scores[0] + 0.1 < scores[1] < scores[2]


def test_lessons_bring_the_hours_of_a_host_together(taught: Encoder) -> None:
    """Of an unknown host, a varied window finds an earlier one more often than before the first lesson."""
    rows = windows_of(300, 3).rows
    first = np.flatnonzero(np.diff(rows.hosts, prepend=-1))
    later = np.minimum(first + 3, np.append(first[1:], len(rows)) - 1)
    varied = temporal.vary(torch.from_numpy(rows.values[later]), torch.Generator().manual_seed(2)).numpy()

    def found(encoder: Encoder) -> float:
        one, other = (embed(values, encoder)[:, LINEAR_DIM:] for values in (varied, rows.values[first]))
        return float(np.mean((one @ other.T).argmax(axis=1) == np.arange(len(first))))

    assert found(taught) > found(replace(taught, layers=_untaught_layers())) + 0.05


def _untaught_layers() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporal, "LEARNING_RATE", 0.0)
        options = replace(ONE_THREAD, seconds=0.0)
        return temporal.teach(windows_of(150, 1).rows, options, silent)[0].layers


def test_the_same_windows_and_seed_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal, "TEACHING_STEPS", 3)
    rows = labelled(windows_of(10, 5).rows)
    one, other = (temporal.train_temporal(rows, ONE_THREAD, silent) for _ in range(2))
    another = temporal.train_temporal(rows, replace(ONE_THREAD, seed=4), silent)
    assert one.files[MODEL_FILE] == other.files[MODEL_FILE] != another.files[MODEL_FILE]


def test_training_ends_in_time_and_tells_how_far_it_came() -> None:
    """Out of time after the first batch, it hands back what it has."""
    told: list[tuple[str, int, int]] = []
    trained = temporal.train_temporal(
        labelled(windows_of(10, 5).rows), replace(ONE_THREAD, seconds=0.0), lambda *what: told.append(what)
    )
    assert told == [("batch", 1, temporal.TEACHING_STEPS)]
    assert trained.measured["batches"] == 1
    assert trained.measured["graph_to_torch_relative_difference"] <= 1e-5


def test_too_few_windows_are_refused_with_a_sentence() -> None:
    rows = windows_of(10, 5).rows
    few = HostWindowRows(rows.values[:5], rows.hosts[:5], rows.steps[:5])
    with pytest.raises(AppiaError, match=r"The days have 5 different hours of hosts; .* needs 32 or more"):
        temporal.train_temporal(labelled(few), ONE_THREAD, silent)


def test_one_host_and_constant_windows_can_be_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to tell apart gives a model that tells nothing apart, and no number that is none."""
    monkeypatch.setattr(temporal, "TEACHING_STEPS", 3)
    values = np.ones((32, *SHAPE), np.float32)
    rows = labelled(HostWindowRows(values, np.zeros(32, np.int64), np.arange(32)))
    trained = temporal.train_temporal(rows, ONE_THREAD, silent)
    session = onnxruntime.InferenceSession(trained.files[MODEL_FILE], providers=["CPUExecutionProvider"])
    assert np.isfinite(session.run(None, {"values": windows_of(5, 5).rows.values})[0]).all()


def test_pairs_are_of_one_host_and_near_in_time() -> None:
    hosts, steps = np.repeat(np.arange(4), 30), np.tile(np.arange(0, 60, 2), 4)
    shuffled = np.random.default_rng(6).permutation(120)
    rows = HostWindowRows(np.zeros((120, *SHAPE), np.float32), hosts[shuffled], steps[shuffled])
    pairs = temporal.Pairs.of(rows)
    one, other = pairs.draw(500, np.random.default_rng(7))
    apart = np.abs(pairs.rows.steps[one] - pairs.rows.steps[other])
    assert np.array_equal(pairs.rows.hosts[one], pairs.rows.hosts[other])
    assert set(apart.tolist()) == {2}


def test_a_window_alone_is_paired_with_itself() -> None:
    rows = HostWindowRows(np.zeros((3, *SHAPE), np.float32), np.array([0, 0, 1]), np.array([5, 50, 5]))
    one, other = temporal.Pairs.of(rows).draw(50, np.random.default_rng(8))
    assert np.array_equal(one, other)


def test_what_is_varied_stays_a_window_with_a_newest_step() -> None:
    windows = torch.from_numpy(np.maximum(windows_of(60, 9).rows.values, 0.5))
    varied = temporal.vary(windows, torch.Generator().manual_seed(1))
    assert varied.shape == windows.shape
    assert bool((varied[:, -1, :THREAT] > 0).all())
    assert bool((varied >= 0).all())
    assert torch.equal(varied[:, -1, THREAT], windows[:, -1, THREAT])
    assert not torch.equal(varied[:, :, 0], windows[:, :, 0])
