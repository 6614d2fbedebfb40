"""The temporal index of an open segment: one vector a host and step, kept equal to what sealing will make of it.

An event changes the hours of its host that end up to 63 steps after it. Those that the segment has vectors of become
due, and their vectors are made again a few at a time (`settle`), so that a flood of late events holds nobody up. How
far that has got is kept, so that a start after a crash makes again what is in doubt and no more.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.counts import read_counts
from services.common.days.chunk import open_chunk
from services.common.days.columns import ADDRESS_BYTES, ROW
from services.common.days.embedders import spec_of
from services.common.days.generations import sealed_through
from services.common.days.names import read_pointer
from services.common.days.open_writer import VectorWriter
from services.common.days.traffic import TableTraffic, column_traffic
from services.common.errors import AppiaError
from services.common.events.windows import CELL, Cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import OpenNames
    from services.common.durable import Disk
    from services.common.embedding.port import WindowEmbedder
    from services.common.events.table import EventTable
    from services.common.events.windows import Traffic

LAYOUT = 2
"""1 had a vector for each host, step and batch, which was never corrected; such an index is written anew."""
AT_ONCE = 128
NOTE_AFTER = 65_536
"""So many rows are corrected before it is noted on disk; after a crash they are looked at again."""


class HourWriter:
    """Writes the temporal index of one open segment. Not safe for several threads.

    The hours are those of the day as far as it had come before the segment, and of the segment's own rows.
    """

    def __init__(self, disk: Disk, names: OpenNames, embedder: WindowEmbedder) -> None:
        """Open behind what is committed; `prime` comes before the first `append`."""
        self._names = names
        self._embedder = embedder
        with ExitStack() as opened:
            self._writer = opened.enter_context(
                closing(VectorWriter(disk, names, spec_of("temporal", embedder), LAYOUT))
            )
            self._settled = opened.enter_context(closing(disk.counts(names.settled)))
            self._scratch = opened.enter_context(closing(ScratchSpace(names.folder)))
            self._cells = Cells(self._scratch)
            self._files = opened.pop_all()
        self._traffic = TableTraffic()
        self._base = 0  # rows of the day before the segment
        self._noted = self.rows  # rows up to which there is nothing to note
        self._item = np.empty(0, np.int32)  # of each cell the number of its vector; -1 where it has none
        self._cell = np.empty(0, np.int64)  # of each vector its cell
        self._due = np.empty(0, np.bool_)  # of each vector whether it has to be made again
        self._next = 0  # vector at which `settle` goes on

    @property
    def rows(self) -> int:
        """Rows that are committed and visible."""
        return self._writer.rows

    @property
    def due(self) -> int:
        """Vectors that do not show all events yet."""
        return int(np.count_nonzero(self._due))

    def prime(self, decoded: Callable[[int, int], Iterable[EventTable]]) -> None:
        """Count the rows written before: from columns where these are, else `decoded(first, end)`.

        Blocks for about a microsecond a row of the day.

        Raises:
            AppiaError: a sealed generation of the day cannot be read.
        """
        for traffic in _earlier(self._names):
            self._base += len(traffic)
            for block in traffic.blocks():
                self._cells.update(block)
        known = self._count_own(decoded)
        settled, base = self._settled_before()
        right = settled if (settled <= self.rows and base == self._base) else 0
        self._settled.write(right, self._base)
        self._mark(np.unique(known[right:]))
        self._noted = right

    def _settled_before(self) -> tuple[int, int]:
        try:
            return read_counts(self._names.settled)
        except AppiaError:  # torn by a power cut: all rows are looked at again
            return 0, 0

    def _count_own(self, decoded: Callable[[int, int], Iterable[EventTable]]) -> NDArray[np.int64]:
        """The cell of each committed row; also finds out which vector each cell has."""
        cells = [np.empty(0, np.int64)]
        written = _rows_of(self._names)[: self.rows]
        cells += map(self._cells.update, column_traffic(written, _addresses_of(self._names)).blocks())
        cells += [self._cells.update(self._traffic.of(table)) for table in decoded(len(written), self.rows)]
        own = np.concatenate(cells)
        codes = np.fromfile(self._names.codes("temporal"), "<u4", self.rows)
        if len(codes) < self.rows or (self.rows and codes.max() >= self._writer.items):
            raise AppiaError(
                f"{self._names.codes('temporal')} does not fit its counter: stop the ingester, delete "
                f"{self._names.model('temporal').name} beside it, start again"
            )
        self._grow(self._writer.items)
        self._item[own] = codes
        self._cell[codes] = own
        return own

    def append(self, table: EventTable) -> None:
        """Commit the next rows: visible to readers and on disk on return. Hours that they change become due."""
        cells = self._cells.update(self._traffic.of(table))
        touched = np.unique(cells)
        self._grow(self._writer.items)
        self._mark(touched)
        new = touched[self._item[touched] < 0]
        vectors = self._embedder.embed(self._cells.windows(new))
        items = np.arange(self._writer.items, self._writer.items + len(new))
        self._grow(self._writer.items + len(new))
        self._item[new], self._cell[items] = items, new
        self._writer.append(vectors, self._item[cells].astype(np.uint32))

    def settle(self, is_time_up: Callable[[], bool]) -> None:
        """Make vectors again that are due, a few at least, until the time is up or none is left."""
        while True:
            waiting = np.flatnonzero(self._due)
            if not waiting.size:
                if self.rows - self._noted >= NOTE_AFTER:
                    self._note()
                return
            # Each has its turn, so that hosts which never rest do not keep the others waiting.
            place = int(np.searchsorted(waiting, self._next))
            turn = waiting[place : place + AT_ONCE] if place < len(waiting) else waiting[:AT_ONCE]
            self._writer.rewrite(turn, self._embedder.embed(self._cells.windows(self._cell[turn])))
            self._due[turn] = False
            self._next = int(turn[-1]) + 1
            if is_time_up():
                return

    def close(self) -> None:
        """Close the files, also where noting fails; what is due is made again after the next opening."""
        with self._files:
            if self.rows > self._noted and not self._due.any():
                self._note()

    def _note(self) -> None:
        """Keep that all vectors are right as far as the rows go."""
        self._writer.sync()
        self._noted = self.rows
        self._settled.write(self._noted, self._base)

    def _mark(self, cells: NDArray[np.int64]) -> None:
        """Vectors of hours that show one of `cells` become due."""
        items = self._item[self._cells.showing(cells)]
        self._due[items[items >= 0]] = True

    def _grow(self, items: int) -> None:
        self._item = _grown(self._item, len(self._cells), -1)
        self._cell = _grown(self._cell, items, 0)
        self._due = _grown(self._due, items, 0)


class ScratchSpace:
    """Cells in a mapped file without a name: the system may put them aside, and nothing is left after a crash."""

    def __init__(self, folder: Path) -> None:
        """Make the file on the disk of `folder`."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as the space

    def grow(self, cells: int) -> NDArray[np.void]:
        """See `CellSpace.grow`. The blocks are reserved, as writing to a mapped hole on a full disk would kill."""
        os.posix_fallocate(self._file.fileno(), 0, cells * CELL.itemsize)
        return np.asarray(np.memmap(self._file, CELL, "r+", shape=(cells,)))

    def close(self) -> None:
        """Give the file up; its blocks are free when nothing shows its cells any more."""
        self._file.close()


def _earlier(names: OpenNames) -> list[Traffic]:
    """The rows of the day before a segment: of the sealed generation, and of the segments between. All mapped.

    Raises:
        AppiaError: the generation cannot be read, or was published at this moment.
    """
    day = names.day
    current = read_pointer(day.current)
    through = 0 if current is None else sealed_through(day, current)
    found = []
    if current is not None:
        chunk = open_chunk(day.generation(current).chunk)
        chunk.log.close()
        found.append(column_traffic(chunk.columns, chunk.addresses))
    for number in day.segments():
        if through < number < names.number:
            before = day.segment(number)
            found.append(column_traffic(_rows_of(before), _addresses_of(before)))
    if read_pointer(day.current) != current:
        raise AppiaError(f"{day.day} was sealed while its hours were counted: they are counted again")
    return found


def _rows_of(names: OpenNames) -> NDArray[Any]:
    """The committed rows of a segment's columns, dtype `ROW`, mapped."""
    rows, _ = read_counts(names.counts("metadata"))
    return np.asarray(np.memmap(names.columns, ROW, "r", shape=(rows,))) if rows else np.empty(0, ROW)


def _addresses_of(names: OpenNames) -> NDArray[np.uint8]:
    """The whole addresses in a segment's table, uint8 (n, 16)."""
    raw = np.fromfile(names.addresses, np.uint8) if names.addresses.exists() else np.empty(0, np.uint8)
    return raw[: len(raw) // ADDRESS_BYTES * ADDRESS_BYTES].reshape(-1, ADDRESS_BYTES)


def _grown(array: NDArray[Any], size: int, filler: int) -> NDArray[Any]:
    """`array` with at least `size` places, doubled when it has to grow."""
    if size <= len(array):
        return array
    grown = np.full(max(size, 2 * len(array), 1024), filler, array.dtype)
    grown[: len(array)] = array
    return grown
