"""Builds one index of a day from its chunk: embeds, keeps equal vectors once, adds an IVF index where it pays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.chunk_builder import Progress, iterate_blocks
from services.common.days.embedders import spec_of
from services.common.days.manifest import MANIFEST, Manifest, digest_file, digest_folder
from services.common.days.sealed_reader import FLAT, IVF, ROWS
from services.common.days.vectors import Accelerator, VectorIndex
from services.common.events.features import extract
from services.common.events.windows import Traffic, day_windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.chunk import Chunk
    from services.common.days.embedders import Embedders
    from services.common.days.open_writer import VectorSpec

EXACT_UP_TO = 5_000
"""Up to so many distinct vectors exact search takes a tenth of a millisecond, and no approximate index is built."""
WANTED_RECALL = 0.995
_PROBES = (4, 8, 16, 32, 64, 128, 256)
_BATCH = 2048


@dataclass(frozen=True)
class Embedded:
    """Distinct vectors, float32 (items, dim), and for each row the number of its vector, uint32 (rows,)."""

    vectors: NDArray[np.float32]
    codes: NDArray[np.uint32]


class DistinctVectors:
    """Collects vectors and keeps equal ones once, known by 16 bytes of their BLAKE2b."""

    def __init__(self, dim: int) -> None:
        """Begin with no vector of `dim` components."""
        self._known: dict[bytes, int] = {}
        self._parts: list[NDArray[np.float32]] = [np.empty((0, dim), np.float32)]

    def add(self, vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
        """The number of each vector (n, dim), uint32 (n,)."""
        known, codes, new = self._known, np.empty(len(vectors), np.uint32), []
        for i, vector in enumerate(np.ascontiguousarray(vectors)):
            key = hashlib.blake2b(vector, digest_size=16).digest()
            code = known.get(key)
            if code is None:
                code = known[key] = len(known)
                new.append(i)
            codes[i] = code
        self._parts.append(vectors[new])
        return codes

    def vectors(self) -> NDArray[np.float32]:
        """All distinct vectors, float32 (items, dim)."""
        return np.concatenate(self._parts)


def embed_attack(chunk: Chunk, embedders: Embedders, progress: Progress) -> Embedded:
    """One vector an event, from all its numeric fields."""
    distinct, codes, rows = DistinctVectors(embedders.attack.dim), [np.empty(0, np.uint32)], 0
    batch: list[bytes] = []
    for events in iterate_blocks(chunk):
        batch += events
        if len(batch) >= _BATCH or rows + len(batch) == chunk.rows:
            codes.append(distinct.add(embedders.attack.embed(extract(batch).values)))
            rows += len(batch)
            batch = []
            progress("attack", rows, chunk.rows)
    return Embedded(distinct.vectors(), np.concatenate(codes))


def embed_semantic(chunk: Chunk, embedders: Embedders, progress: Progress) -> Embedded:
    """One vector a distinct narrative."""
    used, codes = np.unique(chunk.columns["narrative"], return_inverse=True)
    texts = [chunk.texts[code] for code in used.tolist()]
    vectors = embedders.semantic.embed(texts) if texts else np.empty((0, embedders.semantic.dim), np.float32)
    progress("semantic", chunk.rows, chunk.rows)
    return Embedded(vectors, codes.astype(np.uint32))


def embed_temporal(chunk: Chunk, embedders: Embedders, progress: Progress) -> Embedded:
    """One vector a distinct hour of a source host."""
    columns: Any = chunk.columns
    windows = day_windows(
        Traffic(
            src=columns["src_ip"],
            time_ns=columns["time_ns"],
            bytes=columns["bytes"],
            packets=columns["packets"],
            dst=columns["dst_ip"],
            dst_port=columns["dst_port"],
            threat=np.maximum(np.maximum(columns["overall"], columns["fast"]), columns["ml"]),
        )
    )
    distinct, numbers = DistinctVectors(embedders.temporal.dim), [np.empty(0, np.uint32)]
    numbers.extend(distinct.add(embedders.temporal.embed(block)) for block in windows.blocks(_BATCH))
    progress("temporal", chunk.rows, chunk.rows)
    return Embedded(distinct.vectors(), np.concatenate(numbers)[windows.codes])


EMBED: dict[str, Callable[[Chunk, Embedders, Progress], Embedded]] = {
    "attack": embed_attack,
    "semantic": embed_semantic,
    "temporal": embed_temporal,
}


def build_index(folder: Path, chunk: Chunk, index: str, embedders: Embedders, progress: Progress) -> Manifest:
    """Write one version of `index` over `chunk` into the empty `folder`. Blocks; an error leaves the chunk as it is."""
    embedded = EMBED[index](chunk, embedders, progress)
    spec = spec_of(index, embedders.named(index))
    facts = _write_vectors(folder, embedded.vectors, spec)
    _write_rows(folder / ROWS, embedded)
    manifest = Manifest(
        kind="index",
        day=chunk.manifest.day,
        generation=chunk.manifest.generation,
        rows=chunk.rows,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        artifacts=digest_folder(folder),
        facts={
            "index": index,
            "model": spec.model_id,
            "dim": spec.dim,
            "metric": spec.metric,
            "items": len(embedded.vectors),
            "chunk": digest_file(chunk.folder / MANIFEST).sha256,
            **facts,
        },
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return manifest


def _write_rows(path: Path, embedded: Embedded) -> None:
    """The vector of each row, then the rows ordered by vector, then where each vector's rows begin; all uint32."""
    order = np.argsort(embedded.codes, kind="stable").astype("<u4")
    starts = np.searchsorted(embedded.codes[order], np.arange(len(embedded.vectors) + 1)).astype("<u4")
    np.concatenate((embedded.codes.astype("<u4"), order, starts)).tofile(path)


def _write_vectors(folder: Path, vectors: NDArray[np.float32], spec: VectorSpec) -> dict[str, Any]:
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
