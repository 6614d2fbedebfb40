"""Embeds the rows of a chunk: one function an event index, each giving distinct vectors and the vector of each row."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.chunk_builder import Progress, iterate_blocks
from services.common.events.features import extract
from services.common.events.windows import Traffic, day_windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.common.days.chunk import Chunk
    from services.common.days.embedders import Embedders

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
