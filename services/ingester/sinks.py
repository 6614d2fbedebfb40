"""The four writers of an open segment: metadata and the three indices. Each takes the same decoded batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.common.days.columns import TextTable
from services.common.days.embedders import Embedders, spec_of
from services.common.days.open_hours import HourWriter
from services.common.days.open_writer import ColumnWriter, VectorWriter
from services.common.durable import close_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.common.days.metadata import SensorId
    from services.common.days.names import OpenNames
    from services.common.durable import Disk
    from services.common.events.features import FeatureMatrix
    from services.common.events.table import EventTable


@dataclass(frozen=True)
class Decoded:
    """Consecutive rows of a segment, decoded once for all sinks."""

    first_row: int
    table: EventTable
    features: FeatureMatrix
    narratives: Sequence[str]
    positions: NDArray[np.int64]


if TYPE_CHECKING:
    History = Callable[[int, int], Iterable[Decoded]]
    """Gives rows `[first, end)` of the segment again, decoded."""


class Sink(Protocol):
    """Writes one thing of a segment. Used by one thread at a time."""

    @property
    def rows(self) -> int:
        """Rows that are committed and visible."""
        ...

    @property
    def due(self) -> int:
        """How much there is to `settle`."""
        ...

    @property
    def reused(self) -> Sequence[SensorId]:
        """The names of events of the last batch that another event of the segment has, where this is looked at."""
        ...

    def prime(self, history: History) -> None:
        """See what it has to know of the rows before `rows`. Called once, before the first `apply`."""
        ...

    def apply(self, batch: Decoded) -> None:
        """Commit the next rows. `batch.first_row` is `rows`. After an error the sink has to be opened anew."""
        ...

    def settle(self, is_time_up: Callable[[], bool]) -> None:
        """Correct what later rows changed, a little at least, until the time is up or nothing is due."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


class _Plain:
    """A sink whose rows have nothing to do with each other."""

    due = 0
    reused: Sequence[SensorId] = ()

    def prime(self, history: History) -> None:
        """Need nothing."""

    def settle(self, is_time_up: Callable[[], bool]) -> None:
        """Have nothing to correct."""


class MetadataSink(_Plain):
    """Metadata and columns."""

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        del embedders
        self._writer = ColumnWriter(disk, names)

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        self.reused = self._writer.append(batch.table, batch.narratives, batch.positions)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


class AttackSink(_Plain):
    """One vector an event."""

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        self._embedder = embedders.attack
        self._writer = VectorWriter(disk, names, spec_of("attack", embedders.attack))

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        self._writer.append(self._embedder.embed(batch.features.values))

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


class SemanticSink(_Plain):
    """One vector a distinct narrative of the segment."""

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        self._embedder = embedders.semantic
        self._writer = VectorWriter(disk, names, spec_of("semantic", embedders.semantic))
        try:
            self._texts = TextTable(disk, names.texts("semantic"), keep=self._writer.items)
        except BaseException:
            self._writer.close()
            raise

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        vectors = self._embedder.embed(self._texts.unknown(batch.narratives))
        codes = self._texts.codes(batch.narratives)
        self._texts.sync()
        self._writer.append(vectors, codes)

    def close(self) -> None:
        """See `Sink.close`."""
        close_all([self._texts, self._writer])


class TemporalSink:
    """One vector a source host and step: the hour of that host, corrected when events come late."""

    reused: Sequence[SensorId] = ()

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        self._writer = HourWriter(disk, names, embedders.temporal)

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    @property
    def due(self) -> int:
        """See `Sink.due`: vectors that do not show all events yet."""
        return self._writer.due

    def prime(self, history: History) -> None:
        """Count the events before."""
        self._writer.prime(lambda first, end: (batch.table for batch in history(first, end)))

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        self._writer.append(batch.table)

    def settle(self, is_time_up: Callable[[], bool]) -> None:
        """See `Sink.settle`."""
        self._writer.settle(is_time_up)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()
