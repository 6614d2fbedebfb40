"""Embeds the rows of a chunk, block by block, and keeps equal vectors once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.common.days.distinct import DistinctVectors, Embedded
from services.common.days.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.common.days.chunk import Chunk
    from services.common.days.chunk_builder import Progress
    from services.common.days.embedders import Embedders
    from services.common.days.units import Units


class Blocks(Protocol):
    """Where the vectors of units go. May hold some already, of which the next are then left to do."""

    @property
    def done(self) -> int:
        """How many units it holds the vectors of."""
        ...

    def append(self, vectors: NDArray[np.float32]) -> None:
        """Take the vectors of the next units (n, dim)."""
        ...

    def finish(self) -> Embedded:
        """The distinct vectors, and the number of the vector of each unit."""
        ...


class MemoryBlocks:
    """`Blocks` in memory."""

    def __init__(self, dim: int) -> None:
        """Hold nothing yet, for vectors of `dim` components."""
        self.done = 0
        self._distinct = DistinctVectors(dim)
        self._numbers = [np.empty(0, np.uint32)]

    def append(self, vectors: NDArray[np.float32]) -> None:
        """See `Blocks.append`."""
        self._numbers.append(self._distinct.add(vectors))
        self.done += len(vectors)

    def finish(self) -> Embedded:
        """See `Blocks.finish`."""
        return Embedded(self._distinct.vectors(), np.concatenate(self._numbers))


def embed_units(units: Units, blocks: Blocks, report: Callable[[int, int], None]) -> Embedded:
    """The vectors of all units, and the number of the vector of each row; those that `blocks` holds are not made again.

    Args:
        units: what to embed.
        blocks: where the vectors go.
        report: called after each block with the units that are done, and how many there are.
    """
    while blocks.done < len(units):
        blocks.append(units.embed(blocks.done, min(blocks.done + units.block, len(units))))
        report(blocks.done, len(units))
    found = blocks.finish()
    return Embedded(found.vectors, units.spread(found.codes))


def in_rows(index: str, rows: int, progress: Progress) -> Callable[[int, int], None]:
    """Tell `progress` about units of `index` as a share of the rows that they stand for."""
    return lambda done, units: progress(index, rows * done // units, rows)


def _embed_whole(index: str, chunk: Chunk, embedders: Embedders, progress: Progress) -> Embedded:
    blocks = MemoryBlocks(embedders.named(index).dim)
    return embed_units(UNITS[index](chunk, embedders), blocks, in_rows(index, chunk.rows, progress))


EMBED: dict[str, Callable[[Chunk, Embedders, Progress], Embedded]] = {
    index: partial(_embed_whole, index) for index in UNITS
}
"""For each event index what embeds a chunk at once, in memory."""
