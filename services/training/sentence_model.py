"""What is done with the graph of a sentence encoder after it is built: 8 bits, a run over texts, a comparison.

Shared by the build of the semantic model and by the export of other ones, so that both are held to the same.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from onnx import ModelProto

LOWEST_COSINE = 0.97
NEAREST = 5


def token_ids(tokenizer_json: bytes, sentences: Sequence[str], max_tokens: int) -> list[list[int]]:
    """The token ids of each sentence, cut after the longest input."""
    tokenizer = Tokenizer.from_str(tokenizer_json.decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return [tokenizer.encode(sentence).ids for sentence in sentences]


def quantise(model: ModelProto) -> bytes:
    """The model with 8-bit weight matrices; activations are measured and quantised as they come.

    7 of the 8 bits are used (`reduce_range`): on processors without VNNI instructions sums of full 8-bit
    products overflow, and a replica on a small machine would disagree with the machine that made the vectors.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "full.onnx", Path(scratch) / "small.onnx"
        onnx.save(model, source)
        logging.disable(logging.WARNING)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        logging.disable(logging.NOTSET)
        made = onnx.load(target)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def embed(model: bytes, ids: Sequence[Sequence[int]]) -> tuple[NDArray[np.float32], float]:
    """Unit vectors (n, dim) of n token lists, run one by one on one thread, and the seconds it took."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )
    inputs = [np.array([sentence], np.int64) for sentence in ids]
    started = time.perf_counter()
    rows: list[Any] = [
        session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})[0][0] for row in inputs
    ]
    return np.array(rows, np.float32), time.perf_counter() - started


def compare(exact: NDArray[np.float32], small: NDArray[np.float32], seconds: float) -> dict[str, float]:
    """How well the 8-bit vectors agree with the exact ones; raises AppiaError if they do not."""
    cosines = (exact * small).sum(axis=1)
    if cosines.min() < LOWEST_COSINE:
        raise AppiaError(
            f"The 8-bit sentence model disagrees with the exact one (cosine {cosines.min():.3f}, at least "
            f"{LOWEST_COSINE} is needed); it is not published."
        )
    return {
        "cosine_to_fp32_mean": float(cosines.mean()),
        "cosine_to_fp32_least": float(cosines.min()),
        f"top{NEAREST}_agreement_with_fp32": agreement(
            nearest(exact, exact, NEAREST), nearest(small, small, NEAREST)
        ),
        "sentences_per_second_one_thread": len(small) / seconds,
    }


def nearest(questions: NDArray[np.float32], vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The `count` unit vectors (n, dim) nearest to each question (q, dim), int64 (q, count), the nearest first.

    Where both are the same array, nothing is its own neighbour.
    """
    similar = questions @ vectors.T
    if questions is vectors:
        np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :count]


def agreement(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    """The mean share of `theirs` (q, k) that is in `ours` (q, k), row by row."""
    shares = [len(set(a) & set(b)) / len(b) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    return float(np.mean(shares))
