"""A segment as queries use it: what a reader sees of it, and what is known about all its rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.columns import TAGS
from services.common.days.names import ENTITY
from services.rag.pattern_tables import SegmentTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView

COUNTED = ("class", "category", "label", "node", TAGS)
"""The text columns whose values are counted; segments of older releases have no column of tags."""

_LIMITS = np.iinfo(np.int64)


@dataclass(frozen=True)
class Tally:
    """Facts about the first `rows` rows of a segment: the span of their times, how often each text occurs.

    `counts[column][code]` is the number of rows whose `column` holds text number `code`, int64.
    """

    rows: int = 0
    first_ns: int = int(_LIMITS.max)
    last_ns: int = int(_LIMITS.min)
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def grown(self, view: SegmentView) -> Tally:
        """The facts about all rows of `view`; looks only at those behind the first `self.rows`."""
        if view.rows == self.rows:
            return self
        times = np.asarray(view.columns["time_ns"][self.rows : view.rows])
        return Tally(
            rows=view.rows,
            first_ns=min(self.first_ns, int(times.min())),
            last_ns=max(self.last_ns, int(times.max())),
            counts={name: self._count(name, view) for name in COUNTED if name in view.columns},
        )

    def _count(self, name: str, view: SegmentView) -> NDArray[np.int64]:
        known = self.counts.get(name)
        first = 0 if known is None else self.rows  # a column of tags may appear later
        new = np.bincount(view.columns[name][first : view.rows], minlength=len(view.texts)).astype(np.int64)
        if known is not None:
            new[: len(known)] += known
        return new


@dataclass(frozen=True)
class Segment:
    """One segment at one moment. Immutable; safe for several threads."""

    view: SegmentView
    tally: Tally
    tables: SegmentTables = field(default_factory=SegmentTables)
    """The patterns of its rows; later views of the segment share it."""
    whole: SegmentView | None = None  # with all its indices, where some were left out
    _without: dict[frozenset[str], Segment] = field(default_factory=dict)

    @property
    def named(self) -> SegmentView:
        """What an `as_of` names: the view with all its indices, whoever asks."""
        return self.view if self.whole is None else self.whole

    def without(self, indices: frozenset[str], reason: str) -> Segment:
        """The same rows without some indices, which are then missing for a reason; the same object each time."""
        known = self._without.get(indices)
        if known is None:
            view = replace(
                self.view,
                indices={name: index for name, index in self.view.indices.items() if name not in indices},
                hosts=None if ENTITY in indices else self.view.hosts,
                missing={**self.view.missing, **dict.fromkeys(sorted(indices), reason)},
                damaged=self.view.damaged - indices,
            )
            # Of two threads that come here at once both get the first's.
            known = self._without.setdefault(indices, replace(self, view=view, whole=self.view, _without={}))
        return known
