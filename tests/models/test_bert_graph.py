"""The ONNX sentence encoder does what an independent numpy implementation does."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from models.bert_numpy import encode
from services.common.embedding.inspection import refuse_unsafe_model
from services.training.bert_graph import BertGraph, BertShape, quantise_rows

SHAPE = BertShape(layers=2, heads=3, max_tokens=10)
SENTENCES = ([1, 2], [1, 5, 9, 13, 2], [1, 19, 19, 19, 7, 8, 3, 4, 6, 2])

Weights = dict[str, np.ndarray]


def session(weights: Weights, *, small_table: bool) -> onnxruntime.InferenceSession:
    model = BertGraph(weights, SHAPE, small_table=small_table).build().SerializeToString()
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def embed(encoder: onnxruntime.InferenceSession, ids: list[int], padding: int = 0) -> np.ndarray:
    row = np.array([ids + [0] * padding], np.int64)
    mask = np.array([[1] * len(ids) + [0] * padding], np.int64)
    return np.asarray(encoder.run(None, {"input_ids": row, "attention_mask": mask})[0][0])


@pytest.mark.parametrize("ids", SENTENCES)
def test_the_graph_agrees_with_numpy(tiny_weights: Weights, ids: list[int]) -> None:
    expected = encode(tiny_weights, ids, layers=2, heads=3)
    np.testing.assert_allclose(embed(session(tiny_weights, small_table=False), ids), expected, atol=2e-6)


@pytest.mark.parametrize("ids", SENTENCES)
def test_the_8_bit_word_table_changes_little(tiny_weights: Weights, ids: list[int]) -> None:
    expected = encode(tiny_weights, ids, layers=2, heads=3)
    found = embed(session(tiny_weights, small_table=True), ids)
    assert float(found @ expected) > 0.999


def test_vectors_have_length_1(tiny_weights: Weights) -> None:
    encoder = session(tiny_weights, small_table=False)
    lengths = [np.linalg.norm(embed(encoder, ids)) for ids in SENTENCES]
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)


def test_padding_does_not_reach_the_vector(tiny_weights: Weights) -> None:
    encoder = session(tiny_weights, small_table=False)
    ids = SENTENCES[1]
    np.testing.assert_allclose(embed(encoder, ids, padding=5), embed(encoder, ids), atol=1e-6)


def test_the_order_of_words_matters(tiny_weights: Weights) -> None:
    """Positions reach the vector: the same words turned round give another one."""
    encoder = session(tiny_weights, small_table=False)
    assert not np.allclose(embed(encoder, [1, 5, 9, 2]), embed(encoder, [1, 9, 5, 2]), atol=1e-3)


def test_the_given_weights_are_not_changed(tiny_weights: Weights) -> None:
    before = {name: array.copy() for name, array in tiny_weights.items()}
    BertGraph(tiny_weights, SHAPE, small_table=True).build()
    assert all(np.array_equal(before[name], array) for name, array in tiny_weights.items())


def test_the_graph_passes_the_look_at_run_time(tiny_weights: Weights) -> None:
    """The graph has standard operators only, or this raises."""
    refuse_unsafe_model(BertGraph(tiny_weights, SHAPE, small_table=True).build().SerializeToString(), "tiny")


def test_rows_are_quantised_within_half_a_step() -> None:
    table = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    table[3] = 0
    small, scale = quantise_rows(table)
    assert small.dtype == np.int8
    assert np.all(np.abs(small * scale - table) <= scale * 0.5001)
