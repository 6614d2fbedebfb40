"""The vectors of one day in one index by one model, over the segments of that day."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from services.common.days.batch_nearest import committed
from services.common.days.vectors import NO_VECTOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex
    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot

_ROW_BITS = 40


@dataclass(frozen=True)
class Space:
    """Vectors that can be compared: of one day, one index and one model. Immutable; safe for several threads.

    The vectors of its segments are numbered one segment after the other: "item" below.
    """

    day: str
    index: str
    model_id: str
    views: tuple[SegmentView, ...]

    @cached_property
    def vectors(self) -> tuple[VectorIndex, ...]:
        """The index of each segment."""
        return tuple(view.indices[self.index] for view in self.views)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The first item of each segment, and the number of items, int64 (segments + 1,)."""
        return np.cumsum([0, *(committed(index) for index in self.vectors)], dtype=np.int64)

    @property
    def items(self) -> int:
        """How many vectors there are."""
        return int(self.starts[-1])

    @property
    def rows(self) -> int:
        """How many events have one of them."""
        return sum(index.rows - index.left_out for index in self.vectors)

    @property
    def metric(self) -> str:
        """How the vectors are compared: "l2" or "cosine"."""
        return self.vectors[0].spec.metric

    @property
    def lasting(self) -> bool:
        """Whether the vectors stay as they are: hours of an open day are corrected in place."""
        return self.index != "temporal" or all(view.sealed for view in self.views)

    def take(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some items, float32 (n, dim)."""
        found = np.empty((len(items), self.vectors[0].spec.dim), np.float32)
        for start, end, index in zip(self.starts[:-1], self.starts[1:], self.vectors, strict=True):
            here = (items >= start) & (items < end)
            if here.any():
                found[here] = index.vectors[items[here] - start]
        return found

    def first_seen(self) -> First:
        """Where and when each item came first."""
        found = [_first_of(view, index) for view, index in zip(self.views, self.vectors, strict=True)]
        keys = [
            (segment_key(view) << _ROW_BITS) | rows for view, (rows, _) in zip(self.views, found, strict=True)
        ]
        return First(np.concatenate(keys), np.concatenate([times for _, times in found]))

    def items_of(self, view: SegmentView) -> NDArray[np.int64]:
        """The item of each indexed row of one of its segments, int64; -1 where sampling left the row without one."""
        number = next(number for number, one in enumerate(self.views) if one is view)
        index, start = self.vectors[number], int(self.starts[number])
        if index.codes is None:
            return np.arange(index.rows, dtype=np.int64) + start
        codes = index.codes[: index.rows].astype(np.int64)
        return np.asarray(np.where(codes == NO_VECTOR, -1, codes + start), np.int64)


@dataclass(frozen=True)
class First:
    """Where each of n items came first: a number that names segment and row, and the time, both int64 (n,)."""

    keys: NDArray[np.int64]
    times: NDArray[np.int64]

    def rows_in(self, view: SegmentView) -> NDArray[np.int64]:
        """The rows of a segment in which some item came first, int64."""
        here = self.keys >> _ROW_BITS == segment_key(view)
        return np.asarray(self.keys[here] & ((1 << _ROW_BITS) - 1), np.int64)


def segment_key(view: SegmentView) -> int:
    """A number of the segment that no other segment of its day has."""
    return int(view.name.rpartition("-")[2]) << 1 | view.sealed


def spaces_of(snapshot: Snapshot, index: str) -> list[Space]:
    """Every space of an index, in the order of days."""
    found: dict[tuple[str, str], list[SegmentView]] = {}
    for view in _indexed(snapshot, index):
        found.setdefault((view.day, view.indices[index].spec.model_id), []).append(view)
    return [Space(day, index, model_id, tuple(views)) for (day, model_id), views in found.items()]


def before(spaces: Sequence[Space], space: Space) -> list[Space]:
    """The spaces of the same model on earlier days, the newest first."""
    return [one for one in reversed(spaces) if one.day < space.day and one.model_id == space.model_id]


def _indexed(snapshot: Snapshot, index: str) -> Iterable[SegmentView]:
    for segment in snapshot.segments:
        found = segment.view.indices.get(index)
        if found is not None and found.rows > found.left_out:
            yield segment.view


def _first_of(view: SegmentView, index: VectorIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each vector by time, and that time, int64 each."""
    times = cast("NDArray[np.int64]", view.columns["time_ns"])
    if index.codes is None:
        rows = np.arange(index.rows, dtype=np.int64)
    elif view.sealed and index.postings is not None:
        rows = index.postings.order[index.postings.starts[:-1]].astype(np.int64)
    else:
        order = np.argsort(times[: index.rows], kind="stable")
        codes = index.codes[: index.rows][order]
        known = codes != NO_VECTOR
        rows = order[known][np.unique(codes[known], return_index=True)[1]]
    return rows, np.asarray(times[rows], np.int64)
