"""Embeds the rows of a chunk: one function an event index, each giving distinct vectors and the vector of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.common.days.chunk_builder import Progress, iterate_blocks
from services.common.days.distinct import DistinctVectors, Embedded
from services.common.days.embed_temporal import embed_temporal
from services.common.events.features import extract

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.chunk import Chunk
    from services.common.days.embedders import Embedders

_BATCH = 2048


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


EMBED: dict[str, Callable[[Chunk, Embedders, Progress], Embedded]] = {
    "attack": embed_attack,
    "semantic": embed_semantic,
    "temporal": embed_temporal,
}
