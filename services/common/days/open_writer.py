"""Writers of an open segment: the log, the metadata with its columns, and one file of vectors per index.

Each commits on its own: data first, synced, then its counter, so that a reader never sees more than there is. What lies
beyond a counter after a crash is cut off when the file is opened again, and written anew from the log.
"""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from services.common.counts import read_counts
from services.common.days.columns import ROW, AddressTable, TextTable
from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import EVENT
from services.common.days.metadata import MetadataWriter
from services.common.durable import close_all
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.metadata import SensorId
    from services.common.days.names import OpenNames
    from services.common.durable import AppendFile, Disk
    from services.common.events.table import EventTable
    from services.common.rest.log_keys import LogKeys

FILE_SHIFT = 40
"""An event's position in an open segment: number of the log file << 40 | offset of the record."""


class SegmentLog:
    """The log of one open segment: where an event becomes durable. Not safe for several threads."""

    def __init__(self, disk: Disk, names: OpenNames, rows: int, keys: LogKeys = NO_KEYS) -> None:
        """Open a new log file behind those there are, which hold `rows` events."""
        disk.make_folder(names.folder)
        self.names = names
        self.rows = rows
        self._number = max(names.logs(), default=0) + 1
        self._log = LogWriter(disk, names.log(self._number), keys)

    def append(self, payloads: Sequence[bytes]) -> NDArray[np.int64]:
        """Append events as the next rows; returns their positions, int64 (n,). Not durable before `sync`."""
        offsets = self._log.append(EVENT, self.rows, payloads)
        self.rows += len(payloads)
        return offsets | (self._number << FILE_SHIFT)

    def sync(self) -> None:
        """Block until every appended event is on disk."""
        self._log.sync()

    def close(self) -> None:
        """Sync and close."""
        self._log.close()


class SegmentLogReader:
    """Reads events of an open segment by position. Safe for several threads."""

    def __init__(self, names: OpenNames, keys: LogKeys = NO_KEYS) -> None:
        """Open no file yet."""
        self._names = names
        self._keys = keys
        self._opening = threading.Lock()
        self._files: dict[int, LogReader] = {}

    def event(self, position: int) -> bytes | None:
        """The event at `position`; None when the log is damaged there.

        Raises:
            AppiaError: the log cannot be opened, or is encrypted and its key not at hand.
        """
        number = position >> FILE_SHIFT
        file = self._files.get(number) or self._open(number)
        record = file.record(position & ((1 << FILE_SHIFT) - 1))
        return record.payload if record is not None and record.type == EVENT else None

    def _open(self, number: int) -> LogReader:
        """The file with a number; by one thread at a time, for one that nobody keeps would stay open."""
        with self._opening:
            if number not in self._files:
                self._files[number] = LogReader(self._names.log(number), self._keys)
            return self._files[number]

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class ColumnWriter:
    """Metadata and columns of an open segment: one commit makes both visible."""

    def __init__(self, disk: Disk, names: OpenNames) -> None:
        """Open the files and cut off what was not committed."""
        rows, _ = read_counts(names.counts("metadata"))
        with ExitStack() as opened:
            self._metadata = opened.enter_context(closing(MetadataWriter(names.metadata, disk)))
            self.rows = min(rows, self._metadata.rows())
            if self.rows < rows:
                _shorten(disk, names.columns, self.rows * ROW.itemsize)
                _shorten(disk, names.tags, self.rows * 4)
            self._columns = opened.enter_context(closing(disk.append_to(names.columns)))
            self._columns.truncate(self.rows * ROW.itemsize)
            self._addresses = opened.enter_context(closing(AddressTable(disk, names.addresses)))
            self._texts = opened.enter_context(closing(TextTable(disk, names.symbols)))
            self._tags = opened.enter_context(closing(disk.append_to(names.tags)))
            self._complete_tags()
            self._counts = opened.enter_context(closing(disk.counts(names.counts("metadata"))))
            self._counts.write(self.rows, 0)
            opened.pop_all()

    def _complete_tags(self) -> None:
        """Cut off what was not committed, and fill in what an older release wrote into the database only."""
        self._tags.truncate(min(self._tags.size // 4, self.rows) * 4)
        known = self._tags.size // 4
        if known < self.rows:
            codes = self._texts.codes(self._metadata.tags(known, self.rows))
            self._tags.write(codes.astype("<u4").tobytes())
            for file in (self._texts, self._tags):
                file.sync()

    def append(
        self, table: EventTable, narratives: Sequence[str], positions: NDArray[np.int64]
    ) -> list[SensorId]:
        """Commit the next rows: visible to readers and on disk on return. Gives what `MetadataWriter.append` does."""
        rows = column_rows(table, narratives, positions, Tables(self._addresses, self._texts))
        reused = self._metadata.append(self.rows, table, narratives)
        self._columns.write(rows.tobytes())
        self._tags.write(self._texts.codes(table.tags).astype("<u4").tobytes())
        for file in (self._addresses, self._texts, self._columns, self._tags):
            file.sync()
        self.rows += len(rows)
        self._counts.write(self.rows, 0)
        return reused

    def close(self) -> None:
        """Close all files."""
        close_all([self._metadata, self._columns, self._addresses, self._texts, self._tags, self._counts])


def _shorten(disk: Disk, path: Path, size: int) -> None:
    """Keep the first `size` bytes in a new file: who maps the old one would be killed if it were cut (SIGBUS)."""
    if path.exists() and path.stat().st_size > size:
        with path.open("rb") as file:
            disk.write_file(path, file.read(size))


@dataclass(frozen=True)
class Tables:
    """The tables that columns refer to."""

    addresses: AddressTable
    texts: TextTable


def column_rows(
    table: EventTable, narratives: Sequence[str], positions: NDArray[np.int64], tables: Tables
) -> NDArray[np.void]:
    """The columns of events as rows (n,) of dtype `ROW`; unknown addresses and texts are appended to their tables."""
    rows = np.zeros(len(table.event_id), ROW)
    rows["position"] = positions
    for name in ("time_ns", "src_port", "dst_port", "protocol", "source", "fast_triggered"):
        rows[name] = getattr(table, name)
    for name in ("overall", "fast", "ml", "divergence", "packets", "bytes"):
        rows[name] = getattr(table, name)
    rows["src_ip"] = tables.addresses.codes(table.src_ip)
    rows["dst_ip"] = tables.addresses.codes(table.dst_ip)
    texts = {"class": table.klass, "category": table.category, "label": table.label, "node": table.node}
    for name, values in {**texts, "narrative": narratives}.items():
        rows[name] = tables.texts.codes(values)
    return rows


@dataclass(frozen=True)
class VectorSpec:
    """Which model makes the vectors of an index, and how they are compared ("l2" or "cosine")."""

    index: str
    model_id: str
    dim: int
    metric: str


class VectorWriter:
    """The vectors of one index of an open segment.

    Rows may share a vector: `codes` then says which vector a row has. Without codes, row i has vector i.
    """

    def __init__(self, disk: Disk, names: OpenNames, spec: VectorSpec, layout: int = 1) -> None:
        """Open the files and cut off what was not committed, or all of it when another model or layout made it."""
        self.spec = spec
        facts: dict[str, str | int] = {"model": spec.model_id, "dim": spec.dim, "metric": spec.metric}
        described = json.dumps(facts if layout == 1 else {**facts, "layout": layout}, indent=1)
        model = names.model(spec.index)
        same = model.exists() and model.read_text() == described
        self.rows, self.items = read_counts(names.counts(spec.index)) if same else (0, 0)
        with ExitStack() as opened:
            self._counts = opened.enter_context(closing(disk.counts(names.counts(spec.index))))
            self._counts.write(self.rows, self.items)
            if not same:
                self._counts.sync()  # else a power cut may bring back counters of the vectors that go now
                # Removed and not cut: a process that reads below the end of a mapped file is killed (SIGBUS).
                disk.remove(names.vectors(spec.index))
                disk.remove(names.codes(spec.index))
                disk.remove(names.rewritten(spec.index))
                disk.write_file(model, described.encode())
            self._vectors = opened.enter_context(closing(disk.append_to(names.vectors(spec.index))))
            self._codes = opened.enter_context(closing(disk.append_to(names.codes(spec.index))))
            self._vectors.truncate(self.items * spec.dim * 4)
            self._codes.truncate(min(self._codes.size, self.rows * 4))
            self._patch = disk.patch(names.vectors(spec.index))
            self._notes: AppendFile | None = None  # begun with the first vector that is replaced
            self._open_notes = partial(disk.append_to, names.rewritten(spec.index))
            opened.pop_all()

    def append(self, vectors: NDArray[np.float32], codes: NDArray[np.uint32] | None = None) -> None:
        """Commit the next rows: visible to readers and on disk on return.

        Args:
            vectors: new vectors, float32 (m, dim).
            codes: for each new row the number of its vector, counted from the first of the segment; None when each row
                has a vector of its own.
        """
        self._vectors.write(np.asarray(vectors, "<f4").tobytes())
        self._vectors.sync()
        if codes is not None:
            self._codes.write(np.asarray(codes, "<u4").tobytes())
            self._codes.sync()
        self.items += len(vectors)
        self.rows += len(vectors) if codes is None else len(codes)
        self._counts.write(self.rows, self.items)

    def rewrite(self, items: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Replace vectors (m, dim) that are there, by number. Readers see it at once; not durable before `sync`.

        A reader that looks at that moment may find some numbers of a vector as they were and some as they are now.
        """
        self.replace(items, vectors)
        self.note(items)

    def replace(self, items: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """As `rewrite`, without a note for those who copy the files."""
        size = self.spec.dim * 4
        for item, vector in zip(items.tolist(), np.asarray(vectors, "<f4"), strict=True):
            self._patch.write(item * size, vector.tobytes())

    def note(self, items: NDArray[np.int64]) -> None:
        """Tell those who copy the files which vectors were replaced. What they read after the note is the new ones."""
        if self._notes is None:
            self._notes = self._open_notes()
            self._notes.truncate(self._notes.size // 4 * 4)
        self._notes.write(np.asarray(items, "<u4").tobytes())

    def sync(self) -> None:
        """Block until rewritten vectors are on disk, and the notes of them."""
        self._patch.sync()
        if self._notes is not None:
            self._notes.sync()

    def close(self) -> None:
        """Close the files."""
        notes = [] if self._notes is None else [self._notes]
        close_all([self._vectors, self._codes, self._counts, self._patch, *notes])
