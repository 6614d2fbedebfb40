"""Judges the days of a question: which of their vectors are farther from everything before than past ones were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.rag.novelty.distances import OutOfTime
from services.rag.novelty.past import FusedPast, Past, PastDay
from services.rag.novelty.spaces import before

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.rag.novelty.distances import Clock, Distances
    from services.rag.novelty.spaces import Space

PAST_DAYS = 7
"""A day is measured by so many days before it: the newest that have vectors of its model."""


@dataclass(frozen=True)
class Judged:
    """One day in one index by one model: how far each vector is, and what is usual there."""

    space: Space
    past: Past
    compared: int  # days before, that the vectors were compared with
    distances: NDArray[np.float32]  # (items,), exact where it is above the threshold
    threshold: float  # farther vectors are novel
    hurried: bool = False  # whether there was no time for all past days

    @property
    def alone(self) -> bool:
        """Whether there was no day before: each vector was compared with what came before it on the day itself."""
        return not self.compared

    def novel(self) -> NDArray[np.int64]:
        """The items that are novel, int64 ascending."""
        return np.flatnonzero((self.distances > self.threshold) & np.isfinite(self.distances))


@dataclass(frozen=True)
class JudgedDay:
    """One day in all indices that were asked for. `fused` is what is usual over several; None where one was asked."""

    judged: tuple[Judged, ...]
    fused: FusedPast | None

    def shares(self, judged: Judged, distances: NDArray[np.float32]) -> NDArray[np.float64]:
        """The share of past events that were as unusual as vectors at some distances in one index, float64."""
        shares = judged.past.shares(distances)
        return shares if self.fused is None else self.fused.shares(shares)


@dataclass(frozen=True)
class Judge:
    """Judges days by what was before them. For one question."""

    spaces: Mapping[str, Sequence[Space]]  # of each index, in the order of days
    distances: Distances
    clock: Clock
    rare: float  # the share of past events that may be as far as a novel one

    def day(self, day: str) -> JudgedDay | None:
        """One day in all indices; None where it has no vector.

        Raises:
            OutOfTime: the time of the question is nearly over.
        """
        pasts = [
            (space, *self._past(space))
            for of_index in self.spaces.values()
            for space in of_index
            if space.day == day
        ]
        if not pasts:
            return None
        fused = FusedPast.of([past for _, past, _ in pasts]) if len(self.spaces) > 1 else None
        return JudgedDay(tuple(self._judge(space, past, fused, hurried=h) for space, past, h in pasts), fused)

    def before(self, space: Space) -> list[Space]:
        """What a day is compared with: the days before it whose vectors are of the same model, newest first."""
        return before(self.spaces[space.index], space)

    def _past(self, space: Space) -> tuple[Past, bool]:
        """What is usual before a day, and whether there was no time for all of it; on the first day, its own events."""
        days: list[PastDay] = []
        for one in self.before(space)[:PAST_DAYS] or [space]:
            if days and self.clock.is_half_over:
                return Past.of(days), True
            try:
                days.append(self._past_day(one))
            except OutOfTime:
                if not days:
                    raise
                return Past.of(days), True
        return Past.of(days), False

    def _past_day(self, space: Space) -> PastDay:
        first = space.first_seen()
        found = self.distances.at_their_time(space, first, self.before(space), self.clock)
        return PastDay(space, first, found)

    def _judge(self, space: Space, past: Past, fused: FusedPast | None, *, hurried: bool) -> Judged:
        others = self.before(space)
        rare = self.rare if fused is None else fused.limit(self.rare)
        threshold = past.threshold(rare, below=fused is not None)
        if others:
            found = self.distances.from_days_before(space, others, threshold, self.clock)
        else:
            found = past.days[0].distances
        return Judged(space, past, len(others), found, threshold, hurried)
