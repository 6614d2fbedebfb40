"""Answers `novel`: which events of the last days are far from everything before them, as patterns."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.names import EVENT_INDICES, NS_PER_DAY, day_of, day_start_ns
from services.common.days.selection import Selection
from services.rag.novelty.distances import Clock, Distances, OutOfTime
from services.rag.novelty.judging import PAST_DAYS, Judge
from services.rag.novelty.rows import novel_rows
from services.rag.novelty.showing import describe_judged, show_patterns
from services.rag.novelty.spaces import spaces_of
from services.rag.patterns import Patterns
from services.rag.scope import EVERY_INDEX, HOURS, Part, Scope, iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.rag.catalog import Snapshot
    from services.rag.filters import Filters
    from services.rag.novelty.judging import Judged, JudgedDay
    from services.rag.novelty.rows import NovelRows
    from services.rag.scope import Bounds

FUSED = "fused"


@dataclass(frozen=True)
class NovelQuestion:
    """What is asked for: the last `days`, in one index or all of them fused, beyond `percentile` of past events."""

    days: int
    index: str
    percentile: float

    @property
    def indices(self) -> Sequence[str]:
        """Where to look."""
        return EVENT_INDICES if self.index == FUSED else (self.index,)

    @property
    def searched(self) -> str:
        """What a receipt calls that."""
        return EVERY_INDEX if self.index == FUSED else self.index


@dataclass(frozen=True)
class Novelty:
    """Finds what was new. Safe for several threads; a call blocks for its own search."""

    distances: Distances = field(default_factory=Distances)
    patterns: Patterns = field(default_factory=Patterns)

    def find(self, snapshot: Snapshot, question: NovelQuestion, bounds: Bounds) -> dict[str, Any]:
        """The novel events among the last days that pass the filters; docs/novelty.md has the answer.

        The newest day is judged first. Where the time ends meanwhile, the receipt names what was not judged; what was
        found by then is kept, and the same question goes on from there.

        Raises:
            RequestError: the time was over before a day was judged.
        """
        filters = last_days(snapshot, question.days, bounds.filters)
        scope = Scope(snapshot, replace(bounds, filters=filters), question.indices)
        judge = Judge(
            {index: spaces_of(snapshot, index) for index in question.indices},
            self.distances,
            Clock.until(bounds.deadline),
            1 - question.percentile / 100,
        )
        days = _judge_days(scope, judge, question)
        judged = [one for day in days for one in day.judged]
        _note(scope, judge, judged)
        rows, looked = novel_rows(scope, days)
        shown = show_patterns(self.patterns, (scope, _only(scope, rows)), (rows, judge, judged), bounds.k)
        novel = np.bincount(rows.judged, minlength=len(judged)).tolist()
        return {
            "groups": shown.groups,
            "patterns": shown.patterns,
            "novel": len(rows),
            "index": question.index,
            "percentile": question.percentile,
            "since": None if filters.since_ns is None else iso_time(filters.since_ns),
            "judged": [describe_judged(*facts) for facts in zip(judged, looked, novel, strict=True)],
            "receipt": scope.receipt(),
        }


def last_days(snapshot: Snapshot, days: int, filters: Filters) -> Filters:
    """Filters that also ask for the last `days` UTC days: those up to the newest event that may pass."""
    until = np.iinfo(np.int64).max if filters.until_ns is None else filters.until_ns
    newest = max(
        (min(s.tally.last_ns, until - 1) for s in snapshot.segments if filters.may_pass(s)), default=None
    )
    if newest is None:
        return filters
    since = day_start_ns(day_of(newest)) - (days - 1) * NS_PER_DAY
    return replace(filters, since_ns=since if filters.since_ns is None else max(since, filters.since_ns))


def _judge_days(scope: Scope, judge: Judge, question: NovelQuestion) -> list[JudgedDay]:
    """The days of a scope, newest first, as far as there is time."""
    days: list[JudgedDay] = []
    for day in sorted({part.view.day for part in scope.parts}, reverse=True):
        if days and not scope.begin(day, question.searched):
            continue
        try:
            found = judge.day(day)
        except OutOfTime:
            scope.begin(day, question.searched)  # refuses where it was the first, else notes what is missing
            continue
        if found is not None:
            days.append(found)
    return days


def _note(scope: Scope, judge: Judge, several: Sequence[Judged]) -> None:
    """Let the receipt say which models were used, what was not compared, and what may change."""
    for judged in several:
        space = judged.space
        for number, part in enumerate(scope.parts):
            if any(view is part.view for view in space.views):
                scope.index_of(number, space.index, {space.model_id})
        others = judge.before(space)
        if space.index == HOURS:
            for view in (view for other in others for view in other.views):
                scope.doubt_hours(view)
        for other in judge.spaces[space.index]:
            if other.day < space.day and other.model_id != space.model_id:
                reason = f"made by model {other.model_id}: not compared with vectors of {space.model_id}"
                scope.miss(other.day, space.index, reason)
        if judged.hurried:
            used = len(judged.past.days)
            scope.miss(
                space.day,
                space.index,
                f"measured by {used} instead of up to {PAST_DAYS} days before it: the time for the question was over",
            )
            scope.partial = True
            scope.doubt("the time for the question was over before all days were measured")


def _only(scope: Scope, rows: NovelRows) -> Scope:
    """The scope with nothing but the novel rows."""
    found = copy.copy(scope)
    found.parts = []
    for number, part in enumerate(scope.parts):
        here = np.sort(rows.rows[rows.parts == number])
        if len(here):
            found.parts.append(Part(part.segment, Selection.of_rows(here, part.view.rows)))
    return found
