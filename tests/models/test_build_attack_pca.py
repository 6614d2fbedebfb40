"""The attack-pca model keeps what varies in the sample and still tells apart what does not."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.build_attack_pca import COMPONENTS_FOR_CONSTANT_COLUMNS, DIM, fit, variance_kept
from models.pca_graph import LIMIT, signed_log
from models.sample import read_events, sample_files
from services.common.events.features import FEATURES, column_of, extract
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import LabelMode, ReadOptions

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


def test_scikit_learn_finds_the_same_components() -> None:
    """The graph's components are those of a pipeline of scikit-learn, to 1e-5."""
    decomposition = pytest.importorskip("sklearn.decomposition", reason="needs the extra `train`")
    pipeline = pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = sample()
    fitted = fit(values).projection
    varies = (fitted.projection[:, : DIM - COMPONENTS_FOR_CONSTANT_COLUMNS] != 0).any(axis=1)

    def scaled(rows: np.ndarray) -> np.ndarray:
        return np.clip((rows - fitted.centre) / fitted.scale, -LIMIT, LIMIT)[:, varies]

    theirs = pipeline.make_pipeline(
        preprocessing.FunctionTransformer(signed_log),
        preprocessing.FunctionTransformer(scaled),
        decomposition.PCA(DIM - COMPONENTS_FOR_CONSTANT_COLUMNS, svd_solver="full"),
    ).fit(values)
    session = onnxruntime.InferenceSession(fitted.to_onnx(), providers=["CPUExecutionProvider"])
    rows = sample(50)
    found = session.run(None, {"values": rows})[0].astype(np.float64)[
        :, : DIM - COMPONENTS_FOR_CONSTANT_COLUMNS
    ]
    expected = theirs.transform(rows)
    found -= found.mean(axis=0)
    expected -= expected.mean(axis=0)
    expected *= np.sign((found * expected).sum(axis=0))  # an axis has no direction
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


CAPTURES = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("file", "reader", "kept"),
    [
        ("cicids2017/cicids2017-week.csv.gz", "cicflowmeter", 0.97),
        ("zeek-ctu/011-conn.log.labeled.gz", "zeek-conn", 0.85),
    ],
)
def test_the_components_keep_the_variance_of_real_traffic(file: str, reader: str, kept: float) -> None:
    """Fitted on the sample, they hold nearly all that varies in captures of other networks."""
    path = CAPTURES / file
    if not path.exists():
        pytest.skip(f"{file} is not in {CAPTURES}")
    items = reader_of(reader).read(str(path), ReadOptions(labels=LabelMode.NONE))
    events = [event for event in islice(items, 4000) if isinstance(event, NetworkSecurityEvent)]
    payloads = [event.SerializeToString(deterministic=True) for event in read_events(sample_files())]
    fitted = fit(extract(payloads).values)
    share = variance_kept(fitted, extract([event.SerializeToString() for event in events]).values)
    assert kept < share <= 1
