"""What an index of a chunk embeds, unit by unit, in an order that is always the same.

A unit is an event, a sentence or an hour of a host. Because their order is fixed, embedding may stop after any block of
them and go on there later, in another process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from services.common.days.traffic import column_traffic
from services.common.events.features import extract
from services.common.events.windows import day_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from services.common.days.chunk import Chunk
    from services.common.days.embedders import Embedders


class Units(Protocol):
    """The units of one index of one chunk."""

    @property
    def block(self) -> int:
        """How many units are worth embedding at once."""
        ...

    def __len__(self) -> int:
        """Count the units."""
        ...

    def embed(self, first: int, last: int) -> NDArray[np.float32]:
        """The vectors of units `first` to `last` (excluded), float32 (last - first, dim). Blocks for the model."""
        ...

    def spread(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """From the vector's number of each unit (units,) to that of each row (rows,)."""
        ...


class EventUnits:
    """Each event, by all its numeric fields."""

    block = 2048

    def __init__(self, chunk: Chunk, embedders: Embedders) -> None:
        """Read nothing yet."""
        self._chunk = chunk
        self._embedder = embedders.attack

    def __len__(self) -> int:
        """See `Units.__len__`."""
        return self._chunk.rows

    def embed(self, first: int, last: int) -> NDArray[np.float32]:
        """See `Units.embed`. Raises `AppiaError` where the log is damaged."""
        positions = np.asarray(self._chunk.columns["position"][first:last], np.int64)
        blocks = np.unique(positions >> 8).tolist()
        events = [event for offset in blocks for event in self._chunk.log.block(offset)]
        before = int(positions[0] & 255)  # events of the first block that are not asked for
        return self._embedder.embed(extract(events[before : before + last - first]).values)

    def spread(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """See `Units.spread`."""
        return numbers


class NarrativeUnits:
    """Each distinct narrative."""

    block = 256

    def __init__(self, chunk: Chunk, embedders: Embedders) -> None:
        """Find the distinct narratives."""
        self._embedder = embedders.semantic
        used, self._codes = np.unique(chunk.columns["narrative"], return_inverse=True)
        self._texts = [chunk.texts[code] for code in used.tolist()]

    def __len__(self) -> int:
        """See `Units.__len__`."""
        return len(self._texts)

    def embed(self, first: int, last: int) -> NDArray[np.float32]:
        """See `Units.embed`."""
        return self._embedder.embed(self._texts[first:last])

    def spread(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """See `Units.spread`."""
        return numbers[self._codes]


class WindowUnits:
    """Each distinct hour of a source host."""

    block = 2048

    def __init__(self, chunk: Chunk, embedders: Embedders) -> None:
        """Make the windows' cells, in time linear in the events."""
        columns: Any = chunk.columns
        self._embedder = embedders.temporal
        self._windows = day_windows(column_traffic(columns, chunk.addresses))

    def __len__(self) -> int:
        """See `Units.__len__`."""
        return len(self._windows)

    def embed(self, first: int, last: int) -> NDArray[np.float32]:
        """See `Units.embed`."""
        return self._embedder.embed(self._windows.cells.windows(self._windows.order[first:last]))

    def spread(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """See `Units.spread`."""
        return numbers[self._windows.codes]


UNITS: Mapping[str, Callable[[Chunk, Embedders], Units]] = {
    "attack": EventUnits,
    "semantic": NarrativeUnits,
    "temporal": WindowUnits,
}
