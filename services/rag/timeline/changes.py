"""Where the behaviour of a host changed: hours unlike its own hours before, and what it did for the first time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.rag.timeline.hours import HOURS_A_DAY, MEASURES, service_of
from services.rag.timeline.usual import HOURS_BEFORE, LEAST_HOURS, unusual
from services.rag.timeline.words import (
    first_words,
    hour_words,
    judged_words,
    measure_words,
    service_words,
    silence_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from services.rag.timeline.hours import Hours
    from services.rag.timeline.usual import Unusual

SIGMAS = 6.0
"""An hour this far from what is usual is a change: chance alone does that in less than one hour of a century."""
FALLING = ("out", "in", "bytes")
LEAST_SILENCE = 6
"""Hours without an event in which others were seen; a silence is also over twice as long as each of the last ones."""
LEAST_WATCHED = 24
"""Hours in which others were seen before the host was, so that its first event says something."""
LEAST_ACTIVE_DAYS = 7
"""Days on which the host was active and never at this time of day."""
QUIET_HOURS = 7 * HOURS_A_DAY
FEW_TIMES = 5
"""Events that a port of 1024 or more without a name needs in an hour to be a service: clients choose such ports too."""
_LOW_PORTS = 1024


@dataclass(frozen=True)
class Change:
    """One change. `first` and `last` are hours since 1970; `event` is the number of an event that shows it."""

    first: int
    last: int
    kind: str  # "first_seen", "service", "judged", "rise", "fall", "time_of_day" or "silence"
    sentence: str
    event: int
    facts: Mapping[str, Any] = field(default_factory=dict)


def find_changes(hours: Hours, watched: NDArray[np.int64], services: Mapping[int, str]) -> list[Change]:
    """Every change of a host, by time.

    Args:
        hours: what it did.
        watched: the hours (since 1970) in which some host was seen, ascending.
        services: the names of ports.
    """
    if not len(hours):
        return []
    found = [
        *_first_seen(hours, watched),
        *_new_services(hours, services),
        *_judged(hours),
        *_deviations(hours, unusual(hours.numbers, hours.measures), watched),
        *_times_of_day(hours, watched),
        *_silences(hours, watched),
    ]
    return sorted(found, key=lambda change: change.first)


def _first_seen(hours: Hours, watched: NDArray[np.int64]) -> Iterator[Change]:
    first = int(hours.numbers[0])
    before = int(np.searchsorted(watched, first))
    if before >= LEAST_WATCHED:
        yield Change(first, first, "first_seen", first_words(before), 0, {"hours_before": before})


def _new_services(hours: Hours, names: Mapping[int, str]) -> Iterator[Change]:
    """Services that the host used or offered for the first time, after it was active for some hours."""
    numbers, firsts = np.unique(hours.services, return_index=True)
    new: dict[tuple[int, bool], list[int]] = {}
    for number, event in zip(numbers.tolist(), firsts.tolist(), strict=True):
        hour = int(hours.of_events[event])
        out, _, port = service_of(number)
        if hour >= LEAST_HOURS and _is_service(hours, hour, number, named=port in names or port < _LOW_PORTS):
            new.setdefault((hour, out), []).append(event)
    for (hour, out), events in sorted(new.items()):
        events.sort()
        found = [service_of(int(hours.services[event]))[1:] for event in events]
        facts = {
            "side": "out" if out else "in",
            "services": [{"protocol": protocol, "port": port} for protocol, port in found[:10]],
            "count": len(found),
        }
        number = int(hours.numbers[hour])
        yield Change(number, number, "service", service_words(found, names, out=out), events[0], facts)


def _is_service(hours: Hours, hour: int, number: int, *, named: bool) -> bool:
    return named or int(np.count_nonzero(hours.services[hours.span(hour)] == number)) >= FEW_TIMES


def _judged(hours: Hours) -> Iterator[Change]:
    """Hours with events that matter, the first ones ever or after a week without."""
    matters = hours.events.table["matters"]
    before: int | None = None
    for hour in np.flatnonzero(hours.measures[:, MEASURES.index("matters")]).tolist():
        number = int(hours.numbers[hour])
        if before is None or number - before > QUIET_HOURS:
            span = hours.span(hour)
            event = span.start + int(np.argmax(matters[span]))
            text = hours.events.texts[hours.events.table["narrative"][event]]
            count = int(np.count_nonzero(matters[span]))
            days = None if before is None else (number - before) // HOURS_A_DAY
            yield Change(number, number, "judged", judged_words(count, text, days), event, {"events": count})
        before = number


def _deviations(hours: Hours, found: Unusual, watched: NDArray[np.int64]) -> Iterator[Change]:
    """Stretches of hours in which the host did far more than usual, and such in which it did far less."""
    falls = np.isin(MEASURES, FALLING)
    newest = int(watched[-1])  # an hour that is not over has fewer events than it will have
    low = (found.sigmas < -SIGMAS) & falls & (hours.numbers < newest)[:, None]
    for kind, marks in (("rise", found.sigmas > SIGMAS), ("fall", np.asarray(low))):
        for first, last in _stretches(np.asarray(marks.any(axis=1))):
            yield _deviation(hours, found, kind, (first, last), marks[first : last + 1])


def _deviation(
    hours: Hours, found: Unusual, kind: str, stretch: tuple[int, int], marks: NDArray[np.bool_]
) -> Change:
    first, last = stretch
    sigmas = np.where(marks, np.abs(found.sigmas[first : last + 1]), 0)
    peaks = sigmas.argmax(axis=0)
    measures = []
    for number in np.argsort(-sigmas.max(axis=0), kind="stable").tolist():
        hour = first + int(peaks[number])
        if marks[:, number].any():
            measures.append(
                {
                    "measure": MEASURES[number],
                    "value": round(float(hours.measures[hour, number])),
                    "usual": round(float(found.usual[hour, number]), 1),
                    "sigmas": round(float(found.sigmas[hour, number]), 1),
                }
            )
    lasted = int(hours.numbers[last] - hours.numbers[first]) + 1
    sentence = measure_words(kind, measures, lasted)
    return Change(
        int(hours.numbers[first]),
        int(hours.numbers[last]),
        kind,
        sentence,
        hours.span(first).start,
        {"measures": measures},
    )


def _stretches(marks: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first and last number of each stretch of marks."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return [(first, end - 1) for first, end in edges.reshape(-1, 2).tolist()]


def _times_of_day(hours: Hours, watched: NDArray[np.int64]) -> Iterator[Change]:
    """The first hour at a time of day at which the host was never active on many days, though others were seen then."""
    seen: set[int] = set()
    days: set[int] = set()
    there = set(watched.tolist())
    for place, number in enumerate(hours.numbers.tolist()):
        day, hour = divmod(number, HOURS_A_DAY)
        if hour not in seen:
            before = sum(one * HOURS_A_DAY + hour in there for one in days if one != day)
            if before >= LEAST_ACTIVE_DAYS:
                sentence = hour_words(hour, before)
                yield Change(
                    number, number, "time_of_day", sentence, hours.span(place).start, {"days_before": before}
                )
        seen.add(hour)
        days.add(day)


def _silences(hours: Hours, watched: NDArray[np.int64]) -> Iterator[Change]:
    """Long silences, the last of which may go on."""
    places = np.append(np.searchsorted(watched, hours.numbers), len(watched))
    gaps = np.diff(places) - 1  # hours in which others were seen, after each hour of the host
    for hour in np.flatnonzero(gaps >= LEAST_SILENCE).tolist():
        longest = int(gaps[max(hour - HOURS_BEFORE, 0) : hour].max(initial=0))
        gap = int(gaps[hour])
        if hour + 1 >= LEAST_HOURS and gap > 2 * longest:
            lasts = hour + 1 == len(hours)
            first, last = int(watched[places[hour] + 1]), int(watched[places[hour + 1] - 1])
            facts = {"hours": gap, "longest_before": longest, "over": not lasts}
            sentence = silence_words(gap, longest, over=not lasts)
            yield Change(first, last, "silence", sentence, int(hours.starts[hour + 1]) - 1, facts)
