"""Reads an open segment while the ingester writes it: maps what is committed, never more."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from services.common.counts import read_counts
from services.common.days.columns import ADDRESS_BYTES, ROW, TAGS, map_tags, unpack_texts
from services.common.days.names import EVENT_INDICES
from services.common.days.open_writer import SegmentLogReader, VectorSpec
from services.common.days.store import SegmentEvents
from services.common.days.vectors import VectorIndex
from services.common.days.view import SegmentView
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import OpenNames
    from services.common.rest.log_keys import LogKeys


class OpenSegmentReader:
    """Follows one open segment. `view` is for one thread at a time; the views it gives may be used by any."""

    def __init__(self, day: str, names: OpenNames, keys: LogKeys = NO_KEYS) -> None:
        """Open nothing yet: files appear as the ingester writes."""
        self._day = day
        self._names = names
        self._log = SegmentLogReader(names, keys)
        self._events = SegmentEvents(names.metadata, self._log.event, sealed=False)
        self._texts: list[str] = []
        self._texts_read = 0
        self._rows: NDArray[np.void] = np.empty(0, ROW)
        self._addresses: NDArray[np.uint8] = np.empty((0, ADDRESS_BYTES), np.uint8)
        self._seen: object = None
        self._view: SegmentView | None = None
        self._folder: int | None = (
            None  # a descriptor: while it is open, no other folder is taken for this one
        )

    def view(self) -> SegmentView:
        """What is committed now; the same object while nothing new is.

        Raises:
            FileNotFoundError: the segment is gone, because its day was sealed meanwhile, or another one is in its
                place: a mirror begins one anew whose source came back with other rows.
        """
        if self._folder is None:
            self._folder = os.open(self._names.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
        if self._folder is None or not os.path.samestat(os.fstat(self._folder), self._names.folder.stat()):
            raise FileNotFoundError(self._names.folder)

    def _make_view(self, counts: dict[str, tuple[int, int]]) -> SegmentView:
        rows = counts["metadata"][0]
        self._follow(rows)
        missing: dict[str, str] = {}
        indices: dict[str, VectorIndex] = {}
        for name in EVENT_INDICES:
            index = self._index(name, counts[name], rows)
            if index is None:
                missing[name] = NOT_WRITTEN
            else:
                indices[name] = index
                if index.rows < rows:
                    missing[name] = _behind(index.rows, rows)
        view = SegmentView(
            day=self._day,
            name=f"open-{self._names.folder.name}",
            sealed=False,
            generation=0,
            rows=rows,
            columns=self._columns(rows),
            addresses=self._addresses,
            texts=self._texts,
            indices=indices,
            events=self._events,
            missing=missing,
        )
        return replace(view, identity=identity_of(view))

    def _columns(self, rows: int) -> dict[str, NDArray[np.generic]]:
        columns: dict[str, NDArray[np.generic]] = {name: self._rows[name][:rows] for name in ROW.names or ()}
        tags = map_tags(self._names.tags, rows)
        if tags is not None:
            columns[TAGS] = tags
        return columns

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
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)


NOT_WRITTEN = "not written yet"
"""Why an index is not there that has no rows."""


def _behind(rows: int, most: int) -> str:
    return f"{rows} of {most} rows written"


def written_rows(view: SegmentView) -> dict[str, int]:
    """How many rows of each index of an open segment were committed, also beyond those of the view; 0 for none."""
    return {
        name: view.indices[name].rows + view.indices[name].hidden if name in view.indices else 0
        for name in EVENT_INDICES
    }


def cut_back(view: SegmentView, rows: int, written: Mapping[str, int]) -> SegmentView:
    """What was seen of an open segment when it had `rows` rows, and each index as many as `written` says.

    Nothing is copied. Blocks about 2 ms for a million rows, which have to name the vectors that were there.

    Raises:
        ValueError: the view has not that many rows yet.
    """
    if rows == view.rows and written == written_rows(view):
        return view
    if rows > view.rows:
        raise ValueError(f"{view.rows} rows and not {rows}")
    indices: dict[str, VectorIndex] = {}
    missing: dict[str, str] = {}
    for name in EVENT_INDICES:
        if not written[name]:
            missing[name] = NOT_WRITTEN
            continue
        indices[name] = _cut_index(view, name, rows, written[name])
        if written[name] < rows:
            missing[name] = _behind(written[name], rows)
    columns = {name: column[:rows] for name, column in view.columns.items()}
    cut = replace(view, rows=rows, columns=columns, indices=indices, missing=missing)
    return replace(cut, identity=identity_of(cut))


def _cut_index(view: SegmentView, name: str, rows: int, written: int) -> VectorIndex:
    index = view.indices.get(name)
    if index is None or written > index.rows:
        raise ValueError(f"{0 if index is None else index.rows} rows of {name} and not {written}")
    shown = min(rows, written)
    if index.codes is None:
        vectors, codes = index.vectors[:shown], None
    else:
        # Vectors are numbered in the order in which rows first have them, each batch after the one before.
        vectors, codes = index.vectors[: int(index.codes[:written].max()) + 1], index.codes[:shown]
    return replace(index, rows=shown, vectors=vectors, codes=codes, hidden=written - shown)


def identity_of(view: SegmentView) -> str:
    """Of what an open segment shows: its last row, which says where in the log it lies, and the models."""
    digest = hashlib.sha256()
    if view.rows:
        for name in ROW.names or ():
            digest.update(view.columns[name][view.rows - 1].tobytes())
    for name, index in sorted(view.indices.items()):
        digest.update(f"{name} {index.spec.model_id}\n".encode())
    return digest.hexdigest()


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
