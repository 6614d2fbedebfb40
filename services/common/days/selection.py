"""Which rows of a segment a question is about, and which vectors these have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLED = 16
"""Rows of a vector that are looked at before all of them are: mostly one of these passes, or there are no more."""
WORTH = 8
"""Looking at one row out of order costs as much as at several in order."""


@dataclass(frozen=True)
class Selection:
    """Rows of a segment that pass: those of a stretch of it that a mask shows. For one thread.

    The other forms are made when they are first asked for: a mask costs a byte a row, numbers eight a row that passes.
    """

    total: int  # rows of the segment
    first: int  # where the stretch begins
    stretch: NDArray[np.bool_]

    @classmethod
    def of_rows(cls, rows: NDArray[np.int64], total: int) -> Selection:
        """Rows by number, int64, each below `total`."""
        mask = np.zeros(total, bool)
        mask[rows] = True
        return cls(total, 0, mask)

    @cached_property
    def count(self) -> int:
        """How many pass."""
        return int(np.count_nonzero(self.stretch))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Those that pass, int64, ascending."""
        return np.asarray(np.flatnonzero(self.stretch) + self.first, np.int64)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """For every row whether it passes, bool (total,)."""
        if len(self.stretch) == self.total:
            return self.stretch
        mask = np.zeros(self.total, bool)
        mask[self.first : self.first + len(self.stretch)] = self.stretch
        return mask

    def up_to(self, total: int) -> Selection:
        """Those of the first `total` rows."""
        if total >= self.total:
            return self
        return Selection(total, min(self.first, total), self.stretch[: max(total - self.first, 0)])


@dataclass(frozen=True)
class Postings:
    """Rows ordered by their vector: those of vector v are `order[starts[v]:starts[v + 1]]`, ascending."""

    order: NDArray[np.uint32]
    starts: NDArray[np.uint32]

    def stretches(self, vectors: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the rows of some vectors begin in `order`, and how many they are; int64 both."""
        starts = self.starts[vectors].astype(np.int64)
        return starts, self.starts[vectors + 1] - starts

    def rows_in(self, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some stretches of `order`, one after the other, int64 (sum of counts,)."""
        if len(starts) == 1:
            return self.order[starts[0] : starts[0] + counts[0]].astype(np.int64)
        ends = np.cumsum(counts)
        offsets = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
        return np.asarray(self.order.take(offsets), np.int64)

    def passing(self, vectors: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Which of some vectors have a row that the mask (rows,) shows, bool; None where looking at all costs less."""
        starts, counts = self.stretches(vectors)
        middle = np.maximum(counts - SAMPLED, 0) // 2
        passing = self._any(starts + middle, np.minimum(counts, SAMPLED), mask)
        left = np.flatnonzero(~passing & (counts > SAMPLED))
        if counts[left].sum() > len(mask) // WORTH:
            return None
        passing[left] = self._any(starts[left], counts[left], mask)
        return passing

    def _any(
        self, starts: NDArray[np.int64], counts: NDArray[np.int64], mask: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """For stretches of `order` whether the mask shows one of their rows."""
        ends = np.cumsum(counts)
        sums = np.concatenate(([0], np.cumsum(mask.take(self.rows_in(starts, counts)))))
        return np.asarray(sums[ends] > sums[ends - counts])
