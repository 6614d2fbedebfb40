"""Copies one index of an open segment: its vectors, which row has which, and those that were replaced since."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.open_writer import VectorSpec, VectorWriter
from services.mirror.appended import BeginAnew
from services.mirror.source import BadSource, Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import OpenNames
    from services.mirror.open_events import Ground

AT_ONCE = 8192
"""Rows that are pulled and committed together."""
NOTES_AT_ONCE = 1 << 16
WIDEST = 4096
_METRICS = ("l2", "cosine")
_GAP = 8  # vectors between two wanted ones that are rather read too than asked for separately


@dataclass(frozen=True)
class Seen:
    """What the source said of an index, in this order: its counter, how it is made, the sizes of its files."""

    rows: int
    items: int
    described: bytes
    sizes: Mapping[str, int]


class IndexCopy:
    """One index of one open segment. For one thread; after an error it is closed and opened anew."""

    def __init__(
        self, ground: Ground, places: tuple[OpenNames, OpenNames], index: str, described: bytes
    ) -> None:
        """Open behind what is committed here; begun anew where the source made it in another way. See `Seen`."""
        self._ground, self._index = ground, index
        self._local, self._remote = places
        self.described = described
        self._spec, layout = _parse(described, index, self._remote)
        self._writer = VectorWriter(ground.disk, self._local, self._spec, layout)
        notes = self._local.rewritten(index)
        self._notes = notes.stat().st_size // 4 if notes.exists() else 0

    @property
    def rows(self) -> int:
        """Rows that are here."""
        return self._writer.rows

    def step(self, seen: Seen) -> bool:
        """Pull some rows that the source has committed, and vectors that were replaced; whether there is more.

        Raises:
            BeginAnew: the source has another index now than the one here, or less of it.
            BadSource: what it has does not fit together.
            AppiaError, OSError: it cannot be read, or not be written here.
        """
        writer = self._writer
        noted = seen.sizes.get(self._remote.rewritten(self._index).name, 0) // 4
        if seen.rows < writer.rows or seen.items < writer.items or noted < self._notes:
            raise BeginAnew(f"The source has less of {self._index} than before: it is pulled anew.")
        # Notes before vectors: a vector that is pulled after its note is not older than that.
        replaced, until = self._replaced(noted), min(seen.rows, writer.rows + AT_ONCE)
        before = writer.items
        if until > writer.rows:
            self._append(until, seen)
        if len(replaced):
            self._replace(replaced, before)
        return until < seen.rows or self._notes < noted

    def _append(self, until: int, seen: Seen) -> None:
        writer = self._writer
        codes = None
        items = writer.items + until - writer.rows
        if seen.sizes.get(self._remote.codes(self._index).name, 0):
            codes = np.frombuffer(
                self._exactly(self._remote.codes(self._index), 4, (writer.rows, until)), "<u4"
            )
            items = seen.items if until == seen.rows else max(int(codes.max()) + 1, writer.items)
            if int(codes.max()) >= items:
                raise BadSource(f"A row of {self._index} at the source has a vector that is not there.")
        if items > seen.items:
            raise BadSource(f"The source has {seen.items} vectors of {self._index} and needs {items}.")
        writer.append(self._vectors(writer.items, items), codes)

    def _replaced(self, noted: int) -> NDArray[np.uint32]:
        """The next notes, uint32."""
        until = min(noted, self._notes + NOTES_AT_ONCE)
        raw = self._exactly(self._remote.rewritten(self._index), 4, (self._notes, until))
        return np.frombuffer(raw, "<u4")

    def _replace(self, notes: NDArray[np.uint32], before: int) -> None:
        """Pull noted vectors again, of the `before` that were here already; those pulled since are new enough."""
        wanted = np.unique(notes[notes < before]).astype(np.int64)
        for first, end in _runs(wanted):
            items = np.arange(first, end)
            self._writer.replace(items, self._vectors(first, end))
        self._writer.sync()
        self._writer.note(notes.astype(np.int64))
        self._notes += len(notes)

    def _vectors(self, first: int, end: int) -> NDArray[np.float32]:
        """Vectors of the source, float32 (end - first, dim)."""
        raw = self._exactly(self._remote.vectors(self._index), 4 * self._spec.dim, (first, end))
        return np.frombuffer(raw, "<f4").reshape(-1, self._spec.dim)

    def _exactly(self, path: Path, size: int, which: tuple[int, int]) -> bytes:
        first, end = which
        if first >= end:
            return b""
        data = self._ground.source.read(Range(path, first * size, (end - first) * size))
        if len(data) < (end - first) * size:
            raise BadSource(f"{path} of the source is shorter than its counter says.")
        return data

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


def discard(ground: Ground, local: OpenNames, index: str) -> None:
    """Take an index away that is no beginning of what the source has. Files go by name: a replica may map them."""
    with ground.disk.counts(local.counts(index)) as counts:
        counts.write(0, 0)
        counts.sync()
    for path in (local.model(index), local.vectors(index), local.codes(index), local.rewritten(index)):
        ground.disk.remove(path)


def _parse(described: bytes, index: str, remote: OpenNames) -> tuple[VectorSpec, int]:
    try:
        raw = json.loads(described)
        model, dim, metric, layout = raw["model"], raw["dim"], raw["metric"], raw.get("layout", 1)
        fits = isinstance(model, str) and type(dim) is type(layout) is int and metric in _METRICS
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        fits = False
    if not fits or not 0 < dim <= WIDEST or not model.isprintable() or len(model) > 100:
        raise BadSource(f"{remote.model(index)} of the source does not say how {index} is made.")
    return VectorSpec(index, model, dim, metric), layout


def _runs(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Stretches `[first, end)` that cover ascending numbers, with little between them."""
    if not len(numbers):
        return
    breaks = np.flatnonzero(np.diff(numbers) > _GAP)
    firsts = numbers[np.r_[0, breaks + 1]]
    lasts = numbers[np.r_[breaks, len(numbers) - 1]]
    yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)
