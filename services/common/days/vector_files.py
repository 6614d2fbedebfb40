"""Writes the distinct vectors of a sealed index to faiss files, with an IVF index beside them where it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.sealed_reader import FLAT, IVF
from services.common.days.vectors import Accelerator, VectorIndex

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.open_writer import VectorSpec

EXACT_UP_TO = 5_000
"""Up to so many distinct vectors exact search takes a tenth of a millisecond, and no approximate index is built."""
WANTED_RECALL = 0.995
_PROBES = (4, 8, 16, 32, 64, 128, 256)


def write_vectors(folder: Path, vectors: NDArray[np.float32], spec: VectorSpec) -> dict[str, Any]:
    """Write the vectors (items, dim) into `folder`; gives the facts that the manifest states about the files."""
    metric = faiss.METRIC_INNER_PRODUCT if spec.metric == "cosine" else faiss.METRIC_L2
    flat = faiss.IndexFlat(spec.dim, metric)
    flat.add(vectors)
    faiss.write_index(flat, str(folder / FLAT))
    if len(vectors) <= EXACT_UP_TO:
        return {"kind": "flat"}
    del flat
    ivf = _train_ivf(vectors, metric)
    nprobe, recall = _calibrate(ivf, vectors, spec)
    faiss.write_index(ivf, str(folder / IVF))
    return {"kind": "ivf-fp16", "nlist": ivf.nlist, "nprobe": nprobe, "recall_at_10": recall}


def _train_ivf(vectors: NDArray[np.float32], metric: int) -> Any:
    dim = vectors.shape[1]
    nlist = 2 ** round(np.log2(np.sqrt(len(vectors))))
    quantizer = faiss.IndexFlat(dim, metric)
    ivf = faiss.IndexIVFScalarQuantizer(quantizer, dim, nlist, faiss.ScalarQuantizer.QT_fp16, metric)
    ivf.cp.seed = 1234
    ivf.cp.min_points_per_centroid = 1
    sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 64 * nlist), replace=False)
    ivf.train(vectors[np.sort(sample)])
    ivf.add(vectors)
    return ivf


def _calibrate(ivf: Any, vectors: NDArray[np.float32], spec: VectorSpec) -> tuple[int, float]:
    """The fewest lists that reach the wanted recall@10 on vectors of the day, and the recall they reach."""
    chosen = np.random.default_rng(1).choice(len(vectors), 200, replace=False)
    exact = VectorIndex(spec, len(vectors), vectors)
    wanted = [exact.distinct(query, 10) for query in vectors[chosen]]
    nprobe, recall = 1, 0.0
    for nprobe in [p for p in _PROBES if p < ivf.nlist] + [ivf.nlist]:
        fast = VectorIndex(spec, len(vectors), vectors, accelerator=Accelerator(ivf, nprobe))
        found = [fast.distinct(query, 10) for query in vectors[chosen]]
        recall = float(np.mean([_share(a, b) for a, b in zip(wanted, found, strict=True)]))
        if recall >= WANTED_RECALL:
            break
    return nprobe, round(recall, 4)


def _share(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """How many of the wanted distances were found; equal distances are equally good."""
    return (
        float(np.mean(found[: len(wanted)] <= wanted[: len(found)] * 1.00001 + 1e-6)) if len(found) else 0.0
    )
