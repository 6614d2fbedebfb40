"""The attack encoder: one formula in numpy, torch and ONNX; classes become neighbours; bad lessons are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.common.embedding.inspection import refuse_unsafe_model
from services.common.embedding.manifest import MODEL_FILE
from services.common.errors import AppiaError
from services.common.events.feature_list import FEATURES, SCHEMA_HASH
from services.common.events.features import column_of
from services.training import attack
from services.training.attack import Plan
from services.training.attack_net import (
    COARSE,
    DIM,
    FINE,
    NATIVE_DIM,
    WIDTH,
    AttackEncoder,
    Layers,
    Scaling,
    grid_of,
)
from services.training.port import HostWindowRows, LabelledRows, TrainOptions
from services.training.scoring import Rows, Searches, Space, score

if TYPE_CHECKING:
    from collections.abc import Iterator

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from services.training.attack_graph import encoder_graph  # noqa: E402 - after the skip

ONE_THREAD = TrainOptions(seed=3, seconds=60.0, threads=1)
PORT = column_of("network_features.destination_port")
DURATION = column_of("network_features.flow_duration_microseconds")
PACKETS = column_of("network_features.total_forward_packets")
SCORE = column_of("fast_detector_score")
FLOAT32_MAX = float(np.finfo(np.float32).max)


def silent(_step: str, _done: int, _total: int) -> None:
    return


def traffic(rows: int = 600, seed: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Flows whose class shows in two quiet columns only, among forty loud ones that say nothing."""
    random = np.random.default_rng(seed)
    kinds = np.arange(rows) % classes
    values = np.zeros((rows, WIDTH), np.float32)
    values[:, 4:44] = random.lognormal(5, 3, (rows, 40))
    values[:, 60] = np.exp(3 + kinds % 2 + random.normal(0, 0.2, rows))
    values[:, 61] = np.exp(3 + kinds // 2 + random.normal(0, 0.2, rows))
    return values, np.array([f"class {kind}" for kind in kinds])


def labelled(values: np.ndarray, labels: np.ndarray) -> LabelledRows:
    count = len(labels)
    nothing = HostWindowRows(np.zeros((1, 64, 6), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64))
    return LabelledRows(values, values != 0, labels, np.arange(count), nothing, np.zeros(count, np.int64))


@pytest.fixture(scope="module", autouse=True)
def _short_lessons() -> Iterator[None]:
    """Enough batches to learn what `traffic` shows, few enough for a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack, "FEWEST_BATCHES", 80)
        patch.setattr(attack, "MOST_BATCHES", 80)
        yield


@pytest.fixture(scope="module")
def taught() -> AttackEncoder:
    return attack.teach(*traffic(), ONE_THREAD, silent, Plan())[0]


@pytest.fixture(scope="module")
def session(taught: AttackEncoder) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(encoder_graph(taught), providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, values: np.ndarray) -> np.ndarray:
    return np.asarray(session.run(None, {"values": values})[0])


def precision(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The share of the five nearest of the first half that are of the class, for events of the second half."""
    rows = Rows.of_one_day(labels, np.arange(len(labels), dtype=np.int64))
    base = np.arange(len(labels)) < len(labels) // 2
    queries = np.flatnonzero(~base)
    found = Searches(rows, base).nearest(Space.of_rows("l2", vectors.astype(np.float32)), queries)
    return score(labels, queries, found).overall


def test_the_graph_does_what_torch_and_numpy_do(
    taught: AttackEncoder, session: onnxruntime.InferenceSession
) -> None:
    values = attack._decided(traffic(800, seed=9)[0], taught.scaling.grid)
    assert len(values) > 400
    found = run(session, values)
    for expected in (attack.embed_with_torch(taught, values), taught.embed(values)):
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float32, (3, WIDTH), elements=st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32, allow_nan=False))
)
def test_every_number_gives_a_bounded_vector(
    session: onnxruntime.InferenceSession, values: np.ndarray
) -> None:
    """Attackers choose the numbers: none makes a vector infinite, or so long that it is near to nothing."""
    vectors = run(session, values)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1).max() < 50


def test_the_graph_passes_the_store() -> None:
    encoder, _ = attack.teach(*traffic(), ONE_THREAD, silent, Plan())
    refuse_unsafe_model(encoder_graph(encoder), "here")


def test_events_of_a_class_become_neighbours(taught: AttackEncoder) -> None:
    """New flows find their class although forty loud columns say nothing about it; before, they do not."""
    values, labels = traffic(400, seed=77)
    scaled = taught.scaling.apply(values)
    assert precision(scaled, labels) < 0.7
    assert precision(taught.embed(values), labels) > 0.95


def test_the_same_lessons_give_the_same_bytes() -> None:
    values, labels = traffic()
    one, other = (attack.teach(values, labels, ONE_THREAD, silent, Plan())[0] for _ in range(2))
    assert encoder_graph(one) == encoder_graph(other)
    third, _ = attack.teach(values, labels, TrainOptions(seed=4, threads=1), silent, Plan())
    assert encoder_graph(third) != encoder_graph(one)


def test_what_differs_by_less_than_a_step_is_the_same(session: onnxruntime.InferenceSession) -> None:
    """A port drawn at random and some microseconds make no other vector; a factor of ten does."""
    values = np.repeat(traffic(1)[0], 4, axis=0)
    values[:, PORT], values[:, DURATION], values[:, PACKETS] = 42_000, 40, 1
    values[1, PORT], values[1, DURATION] = 51_000, 45
    values[2, DURATION] = 400
    values[3, PACKETS] = 10
    vectors = run(session, values)
    np.testing.assert_array_equal(vectors[1], vectors[0])
    assert np.linalg.norm(vectors[2] - vectors[0]) > 1e-3
    assert np.linalg.norm(vectors[3] - vectors[0]) > 1e-3


def test_a_score_that_no_lesson_had_still_counts(session: onnxruntime.InferenceSession) -> None:
    """A detector that was silent in training moves the vector, finely and by a bounded amount."""
    values = np.repeat(traffic(1)[0], 3, axis=0)
    values[:, SCORE] = 0.0, 0.4, 0.9
    vectors = run(session, values)
    steps = np.linalg.norm(np.diff(vectors, axis=0), axis=1)
    assert (steps > 1e-3).all()
    assert (steps < 1).all()


def test_the_native_vector_has_256_numbers(taught: AttackEncoder) -> None:
    assert taught.projection.shape == (NATIVE_DIM, DIM) == (256, 64)


def test_when_all_columns_vary_all_components_are_for_them() -> None:
    random = np.random.default_rng(1)
    values = 10 * random.standard_normal((300, WIDTH))
    scaling = Scaling.of(values, grid_of())
    layers = Layers(
        random.standard_normal((WIDTH, 8)),
        np.zeros(8),
        random.standard_normal((8, NATIVE_DIM - WIDTH)),
        np.zeros(NATIVE_DIM - WIDTH),
    )
    projection = AttackEncoder.of(scaling, layers, scaling.apply(values)).projection
    np.testing.assert_allclose(projection.T @ projection, np.eye(DIM), atol=1e-9)


def test_a_trained_model_says_what_it_is() -> None:
    trained = attack.train_attack(labelled(*traffic()), ONE_THREAD, silent)
    assert (trained.name, trained.dim, trained.metric) == ("attack", DIM, "l2")
    assert (trained.input.hash, trained.input.shape) == (SCHEMA_HASH, (len(FEATURES),))
    assert trained.training_data == "600 events of 3 classes of a user's own days, with their labels."
    assert trained.measured["graph_to_torch_relative_difference"] < 1e-5
    assert len(trained.files[MODEL_FILE]) < 5_000_000


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[str, int, int]] = []
    attack.teach(*traffic(), ONE_THREAD, lambda *step: told.append(step), Plan())
    assert told[0][1] == 1
    assert told[-1] == ("batch", attack.FEWEST_BATCHES, attack.FEWEST_BATCHES)


def test_training_ends_when_its_time_is_over() -> None:
    told: list[int] = []
    options = TrainOptions(seconds=0.0, threads=1)
    encoder, measured = attack.teach(
        *traffic(), options, lambda _step, done, _total: told.append(done), Plan()
    )
    assert told == [1]
    assert measured["batches"] == 1
    assert np.isfinite(encoder.embed(traffic(5)[0])).all()


def test_fine_steps_are_taken_where_small_differences_tell_the_class() -> None:
    """And coarse ones where the classes differ by the hour alone and the small differences mislead."""
    count = 400
    random = np.random.default_rng(2)
    values, halves = np.zeros((count, WIDTH), np.float32), np.arange(count) // (count // 4)
    values[:, DURATION] = 1000 * np.exp(random.uniform(-0.3, 0.3, count))
    by_size = np.where(values[:, DURATION] > 1000, "longer", "shorter")
    by_hour = np.where(halves % 2, "second", "first")
    chosen = [
        attack.train_attack(labelled(values, labels), ONE_THREAD, silent).measured["coarseness_of_steps"]
        for labels in (by_size, by_hour)
    ]
    assert chosen == [FINE, COARSE]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a", "b"] * 20, "There are 40 events to learn from"),
        (["only one"] * 60, "are of one class \\('only one'\\)"),
        (["a"] * 60 + ["b"], "are of one class \\('a'\\)"),
    ],
)
def test_what_teaches_nothing_is_refused(labels: list[str], sentence: str) -> None:
    values = np.zeros((len(labels), WIDTH), np.float32)
    with pytest.raises(AppiaError, match=sentence):
        attack.teach(values, np.array(labels), ONE_THREAD, silent, Plan())


@pytest.mark.parametrize("rows", [50, 120])
def test_few_rows_of_two_classes_and_few_columns_are_enough(rows: int) -> None:
    """As of a sensor that tells little: two columns vary, a class has one event alone."""
    values = np.zeros((rows, WIDTH), np.float32)
    kinds = np.arange(rows) % 2
    values[:, PACKETS], values[:, DURATION] = 1 + 20 * kinds, 1e3 + np.arange(rows)
    labels = np.where(kinds, "attack", "benign")
    labels[0] = "alone"
    encoder, _ = attack.teach(values, labels, ONE_THREAD, silent, Plan())
    vectors = encoder.embed(values)
    assert np.isfinite(vectors).all()
    apart = np.linalg.norm(vectors[2] - vectors[3])
    assert np.linalg.norm(vectors[2] - vectors[4]) < apart / 10


def test_equal_rows_of_different_classes_do_no_harm() -> None:
    """Labels that no number explains: the vectors stay finite and the rows one."""
    values = np.ones((60, WIDTH), np.float32)
    encoder, measured = attack.teach(values, np.array(["a", "b"] * 30), ONE_THREAD, silent, Plan())
    assert np.isfinite(measured["loss"])
    np.testing.assert_array_equal(encoder.embed(values[:1]), encoder.embed(values[1:2]))
