"""Embeds the hours of a chunk's source hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.distinct import DistinctVectors, Embedded
from services.common.events.windows import Traffic, day_windows

if TYPE_CHECKING:
    from services.common.days.chunk import Chunk
    from services.common.days.chunk_builder import Progress
    from services.common.days.embedders import Embedders

_BATCH = 2048


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
