"""Puts novel events into an answer: as patterns, each with what was nearest before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from services.common.days.expansion import Nearness
from services.rag.events import Place, read_events
from services.rag.nearest import Hits
from services.rag.patterns import EXAMPLES, narratives_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.novelty.judging import Judge, Judged
    from services.rag.novelty.rows import NovelRows
    from services.rag.novelty.spaces import Space
    from services.rag.patterns import Patterns
    from services.rag.scope import Scope

_DIGITS = 6


@dataclass(frozen=True)
class Shown:
    """Patterns as plain values, and how many there are in all."""

    groups: list[dict[str, Any]]
    patterns: int


def show_patterns(
    patterns: Patterns,
    scopes: tuple[Scope, Scope],
    found: tuple[NovelRows, Judge, Sequence[Judged]],
    k: int,
) -> Shown:
    """At most k patterns, that of the most unusual event first.

    Args:
        patterns: describes them.
        scopes: all events that pass the filters, and only the novel ones.
        found: the novel rows, the most unusual first, and what they were judged by.
        k: how many at most.
    """
    scope, novel = scopes
    rows = found[0]
    empty = np.zeros(len(rows), np.int64)
    numbers: dict[str, list[int]] = {}
    for number, text in enumerate(narratives_of(scope, Hits(rows.parts, rows.rows, empty, rows.distances))):
        numbers.setdefault(text, []).append(number)
    chosen = list(numbers)[:k]
    told = zip(patterns.describe(novel, chosen), patterns.describe(scope, chosen), strict=True)
    groups = [
        {
            "narrative": text,
            **_facts(found, numbers[text][0]),
            **of_novel,
            "events": of_all["count"],
            "examples": _examples(scope, found, numbers[text][:EXAMPLES]),
            "nearest_before": _nearest_before(scope, found, numbers[text][0]),
        }
        for text, (of_novel, of_all) in zip(chosen, told, strict=True)
    ]
    return Shown(groups, len(numbers))


def describe_judged(judged: Judged, looked: int, novel: int) -> dict[str, Any]:
    """How one day was judged in one index, in plain values."""
    space, past = judged.space, judged.past
    return {
        "day": space.day,
        "index": space.index,
        "model": space.model_id,
        "events": looked,
        "novel": novel,
        "threshold": _finite(judged.threshold),
        "compared_days": judged.compared,
        "past_days": [] if judged.alone else [day.space.day for day in past.days],
        "past_events": past.events,
    }


def _examples(
    scope: Scope, found: tuple[NovelRows, Judge, Sequence[Judged]], numbers: Sequence[int]
) -> list[dict[str, Any]]:
    rows = found[0]
    places = [Place(scope.parts[int(rows.parts[n])].view, int(rows.rows[n])) for n in numbers]
    return [
        {**event, **_facts(found, number)} for event, number in zip(read_events(places), numbers, strict=True)
    ]


def _facts(found: tuple[NovelRows, Judge, Sequence[Judged]], number: int) -> dict[str, Any]:
    """Where an event is most unusual, and how much."""
    rows, _, several = found
    judged = several[int(rows.judged[number])]
    return {
        "index": judged.space.index,
        "model": judged.space.model_id,
        "distance": round(float(rows.distances[number]), _DIGITS),
        "threshold": _finite(judged.threshold),
        "percentile": round(100 * (1 - float(rows.shares[number])), 4),
    }


def _nearest_before(
    scope: Scope, found: tuple[NovelRows, Judge, Sequence[Judged]], number: int
) -> dict[str, Any] | None:
    """The event before the day of a novel one that is nearest to it; None on the first day."""
    rows, judge, several = found
    space = several[int(rows.judged[number])].space
    view, row = scope.parts[int(rows.parts[number])].view, int(rows.rows[number])
    moment_ns = int(view.columns["time_ns"][row])
    query = view.indices[space.index].vector(row)
    best: tuple[float, Place] | None = None
    for other in judge.before(space):
        for distance, place in _nearest_in(other, query, moment_ns):
            if best is None or distance < best[0]:
                best = distance, place
    if best is None:
        return None
    return {**read_events([best[1]])[0], "distance": round(best[0], _DIGITS)}


def _nearest_in(space: Space, query: NDArray[np.float32], moment_ns: int) -> list[tuple[float, Place]]:
    found = []
    for view, index in zip(space.views, space.vectors, strict=True):
        times = cast("NDArray[np.int64]", view.columns["time_ns"])
        near = index.search(query, 1, Nearness(times, moment_ns, ascending=view.sealed))
        pairs = zip(near.distances.tolist(), near.rows.tolist(), strict=True)
        found += [(distance, Place(view, row)) for distance, row in pairs]
    return found


def _finite(number: float) -> float | None:
    return round(float(number), _DIGITS) if np.isfinite(number) else None
