"""The four writers of an open segment: metadata and the three indices. Each takes the same decoded batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.common.days.columns import TextTable
from services.common.days.embedders import Embedders, spec_of
from services.common.days.open_writer import ColumnWriter, VectorWriter
from services.common.events.windows import HostWindows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

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


class Sink(Protocol):
    """Writes one thing of a segment. Used by one thread at a time."""

    @property
    def rows(self) -> int:
        """Rows that are committed and visible."""
        ...

    def prime(self, earlier: Iterable[Decoded]) -> None:
        """See the rows before `rows` again, in order, without writing them. Called once, before the first `apply`."""
        ...

    def apply(self, batch: Decoded) -> None:
        """Commit the next rows. `batch.first_row` is `rows`. After an error the sink has to be opened anew."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


class MetadataSink:
    """Metadata and columns."""

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        del embedders
        self._writer = ColumnWriter(disk, names)

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def prime(self, earlier: Iterable[Decoded]) -> None:
        """Need nothing."""

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        self._writer.append(batch.table, batch.narratives, batch.positions)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


class AttackSink:
    """One vector an event."""

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        self._embedder = embedders.attack
        self._writer = VectorWriter(disk, names, spec_of("attack", embedders.attack))

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def prime(self, earlier: Iterable[Decoded]) -> None:
        """Need nothing."""

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        self._writer.append(self._embedder.embed(batch.features.values))

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


class SemanticSink:
    """One vector a distinct narrative of the segment."""

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        self._embedder = embedders.semantic
        self._writer = VectorWriter(disk, names, spec_of("semantic", embedders.semantic))
        self._texts = TextTable(disk, names.texts("semantic"), keep=self._writer.items)

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def prime(self, earlier: Iterable[Decoded]) -> None:
        """Need nothing."""

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        vectors = self._embedder.embed(self._texts.unknown(batch.narratives))
        codes = self._texts.codes(batch.narratives)
        self._texts.sync()
        self._writer.append(vectors, codes)

    def close(self) -> None:
        """See `Sink.close`."""
        self._texts.close()
        self._writer.close()


class TemporalSink:
    """One vector for each host and step that a batch touches: the host's last hour as far as it is known then.

    Sealing computes the hours again from the whole day.
    """

    def __init__(self, disk: Disk, names: OpenNames, embedders: Embedders) -> None:
        """Open behind what is committed."""
        self._embedder = embedders.temporal
        self._writer = VectorWriter(disk, names, spec_of("temporal", embedders.temporal))
        self._hosts = HostWindows()

    @property
    def rows(self) -> int:
        """See `Sink.rows`."""
        return self._writer.rows

    def prime(self, earlier: Iterable[Decoded]) -> None:
        """Follow the hosts through rows written before."""
        for batch in earlier:
            self._hosts.update(batch.table)

    def apply(self, batch: Decoded) -> None:
        """See `Sink.apply`."""
        windows, codes = self._hosts.update(batch.table)
        self._writer.append(self._embedder.embed(windows), (codes + self._writer.items).astype(np.uint32))

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()
