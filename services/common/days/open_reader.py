"""Reads an open segment while the ingester writes it: maps what is committed, never more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.columns import ADDRESS_BYTES, ROW, unpack_texts
from services.common.days.names import EVENT_INDICES
from services.common.days.open_writer import SegmentLogReader, VectorSpec
from services.common.days.store import SegmentEvents
from services.common.days.vectors import VectorIndex
from services.common.days.view import SegmentView
from services.common.durable import read_counts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import OpenNames


class OpenSegmentReader:
    """Follows one open segment. `view` is for one thread at a time; the views it gives may be used by any."""

    def __init__(self, day: str, names: OpenNames) -> None:
        """Open nothing yet: files appear as the ingester writes."""
        self._day = day
        self._names = names
        self._log = SegmentLogReader(names)
        self._events = SegmentEvents(names.metadata, self._log.event, sealed=False)
        self._texts: list[str] = []
        self._texts_read = 0
        self._rows: NDArray[np.void] = np.empty(0, ROW)
        self._addresses: NDArray[np.uint8] = np.empty((0, ADDRESS_BYTES), np.uint8)
        self._seen: object = None
        self._view: SegmentView | None = None

    def view(self) -> SegmentView:
        """What is committed now; the same object while nothing new is.

        Raises:
            FileNotFoundError: the segment is gone, because its day was sealed meanwhile.
        """
        counts = {name: read_counts(self._names.counts(name)) for name in ("metadata", *EVENT_INDICES)}
        # Another model may have written the same number of rows meanwhile.
        seen = counts, [_inode(self._names.model(name)) for name in EVENT_INDICES]
        if self._view is None or seen != self._seen:
            view = self._make_view(counts)
            self._check_there()
            self._view, self._seen = view, seen
        self._check_there()
        return self._view

    def _check_there(self) -> None:
        """After reading: a segment vanishes as a whole, so what was read before is of the whole of it."""
        if not self._names.folder.is_dir():
            raise FileNotFoundError(self._names.folder)

    def _make_view(self, counts: dict[str, tuple[int, int]]) -> SegmentView:
        rows = counts["metadata"][0]
        self._follow(rows)
        missing: dict[str, str] = {}
        indices: dict[str, VectorIndex] = {}
        for name in EVENT_INDICES:
            index = self._index(name, counts[name], rows)
            if index is None:
                missing[name] = "not written yet"
            else:
                indices[name] = index
                if index.rows < rows:
                    missing[name] = f"{index.rows} of {rows} rows written"
        return SegmentView(
            day=self._day,
            name=f"open-{self._names.folder.name}",
            sealed=False,
            generation=0,
            rows=rows,
            columns={name: self._rows[name][:rows] for name in ROW.names or ()},
            addresses=self._addresses,
            texts=self._texts,
            indices=indices,
            events=self._events,
            missing=missing,
        )

    def _follow(self, rows: int) -> None:
        """Map the committed rows, and read the tables that they refer to (written and synced before the rows)."""
        if rows == len(self._rows):
            return
        self._rows = np.asarray(np.memmap(self._names.columns, ROW, "r", shape=(rows,)))
        raw = self._names.addresses.read_bytes()
        whole = len(raw) - len(raw) % ADDRESS_BYTES
        self._addresses = np.frombuffer(raw[:whole], np.uint8).reshape(-1, ADDRESS_BYTES)
        with self._names.symbols.open("rb") as file:
            file.seek(self._texts_read)
            texts, size = unpack_texts(file.read())
        self._texts = [*self._texts, *texts]
        self._texts_read += size

    def _index(self, name: str, counts: tuple[int, int], most: int) -> VectorIndex | None:
        """An index of the first `most` rows: it may have been written further than the metadata."""
        written, items = counts
        rows = min(written, most)
        described = self._names.model(name)
        if not rows or not described.exists():
            return None
        model = json.loads(described.read_text())
        spec = VectorSpec(name, model["model"], model["dim"], model["metric"])
        vectors = np.asarray(np.memmap(self._names.vectors(name), "<f4", "r", shape=(items, spec.dim)))
        codes = _codes(self._names.codes(name), rows)
        if codes is None:
            vectors = vectors[:rows]
        return VectorIndex(spec, rows, vectors, codes, hidden=written - rows)

    def close(self) -> None:
        """Close the files; views given before may no longer fetch events."""
        self._events.close()
        self._log.close()


def _inode(path: Path) -> int | None:
    """Which file is at `path`; None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _codes(path: Path, rows: int) -> NDArray[np.uint32] | None:
    if not path.exists() or path.stat().st_size == 0:
        return None
    return np.asarray(np.memmap(path, "<u4", "r", shape=(rows,)))
