"""A model of one's own days comes into use only if it is not worse, and its trainer never sees what it is judged by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.names import day_start_ns
from services.common.embedding.manifest import MODEL_FILE, InputSchema
from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError, UsageError
from services.common.events.features import FEATURES, SCHEMA_HASH, column_of
from services.training.days_data import sealed_days
from services.training.port import TrainedModel
from services.training.train import TrainPlan, check_answer, train, trainer_of

onnx = pytest.importorskip("onnx", reason="needs the extra `models`")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.training.port import LabelledRows, Report, TrainOptions

ONE, TWO = "2026-01-20", "2026-01-21"
SECOND_NS = 1_000_000_000
BYTES = column_of("network_features.total_forward_bytes")


def silent(_step: str, _done: int, _total: int) -> None:
    return


def projection(weights: np.ndarray) -> bytes:
    """A graph that multiplies feature rows with a matrix."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("MatMul", ["values", "weights"], ["vectors"])
    graph = helper.make_graph(
        [node],
        "projection",
        [helper.make_tensor_value_info("values", float32, ["n", len(weights)])],
        [helper.make_tensor_value_info("vectors", float32, ["n", weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


@dataclass
class OneColumn:
    """A trainer whose model looks at one feature alone, or at none; remembers what it was given."""

    column: int | None
    given: list[LabelledRows] = field(default_factory=list)

    def __call__(self, rows: LabelledRows, options: TrainOptions, report: Report) -> TrainedModel:
        self.given.append(rows)
        report("epoch", 1, options.seed)
        weights = np.zeros((len(FEATURES), 2))
        if self.column is not None:
            weights[self.column, 0] = 1.0
        return TrainedModel(
            name="attack",
            version="1",
            files={MODEL_FILE: projection(weights)},
            input=InputSchema(kind="features", hash=SCHEMA_HASH, shape=(len(FEATURES),)),
            dim=2,
            metric="l2",
            training_data=f"{len(rows)} events",
            measured={"epochs": 1.0},
        )


GOOD, BLIND = BYTES, None


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def learn(days: Any, payloads: Callable[..., list[bytes]], store: ModelStore) -> Any:
    """Train with a model of one column on two sealed days."""
    for day in (ONE, TWO):
        days.seal(day, payloads(day, 60))

    def run(column: int | None, **more: Any) -> Any:
        trainer = OneColumn(column)
        with sealed_days(days.state) as readers:
            outcome = train(readers, store, TrainPlan("attack", trainer, **more), silent)
        return outcome, trainer.given[0]

    return run


def test_the_first_model_comes_into_use(learn: Any, store: ModelStore) -> None:
    """Without a model in use the new one is installed, and its manifest says how it was made, without paths."""
    outcome, _ = learn(GOOD)
    assert (outcome.installed, outcome.is_better) == (True, True)
    manifest = store.load("attack").manifest
    assert manifest == outcome.manifest
    assert manifest.made_by.script == "appia models train"
    assert manifest.made_by.arguments == (
        "attack",
        "--days",
        f"{ONE},{TWO}",
        "--holdout",
        "0.4",
        "--seed",
        "1",
    )
    scores = {line.name: line.scores.overall for line in outcome.lines}
    assert scores["new"] == 1.0
    assert list(scores) == ["random projection", "z-score", "z-score, PCA 64", "new"]
    assert json.loads(json.dumps(outcome.to_json()))["installed"]
    check_answer(outcome)


def test_a_worse_model_is_not_used_unless_forced(learn: Any, store: ModelStore) -> None:
    """The one in use stays where the new one finds fewer of the same class; `force` installs it all the same."""
    learn(GOOD)
    good = store.active("attack")
    outcome, _ = learn(BLIND)
    assert (outcome.installed, outcome.is_better) == (False, False)
    assert store.active("attack") == good
    with pytest.raises(AppiaError, match="worse than the one in use and was not installed; --force"):
        check_answer(outcome)
    forced, _ = learn(BLIND, force=True)
    assert (forced.installed, forced.is_better) == (True, False)
    assert store.active("attack") == forced.manifest.sha256 != good
    check_answer(forced)
    again, _ = learn(GOOD)
    assert again.is_better
    assert store.active("attack") == good


def test_the_trainer_is_given_the_base_alone(learn: Any) -> None:
    """It sees the first part of each class by time and nothing of the rest, nor windows of other events."""
    outcome, rows = learn(GOOD, holdout=0.25)
    assert outcome.trained_on == len(rows) == 90
    assert outcome.queries == {"scan": 15, "web": 15}
    numbers = [(ONE, number) for number in range(60)] + [(TWO, number) for number in range(30)]
    expected = [day_start_ns(day) + number * 60 * SECOND_NS for day, number in numbers]
    assert rows.time_ns.tolist() == expected
    assert set(rows.window_of.tolist()) == set(range(len(rows.windows)))


def test_what_cannot_be_trained_is_one_sentence(learn: Any, store: ModelStore) -> None:
    """Another model's name, a share that is none, a current model that is damaged."""
    with pytest.raises(UsageError, match="'semantic' cannot be trained; what can: attack, temporal"):
        trainer_of("semantic")
    with pytest.raises(UsageError, match="--holdout is a share between 0 and 1, not 1"):
        learn(GOOD, holdout=1.0)
    learn(GOOD)
    path = store.root / "attack" / store.active("attack") / MODEL_FILE
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    with pytest.raises(AppiaError, match="is damaged"):
        learn(GOOD)
