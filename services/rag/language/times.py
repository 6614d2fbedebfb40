"""Times: "yesterday", "last week between 2 and 5", "since Monday", "el martes pasado", "hace dos horas"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from services.rag.language.clocks import find_clocks
from services.rag.language.moments import DAY, EARLIEST, MINUTES_OF_DAY, Clock, Span, a_day, at_clock
from services.rag.language.text import TAKEN, Reading
from services.rag.language.time_words import ENGLISH_TIMES, SPANISH_TIMES
from services.rag.language.understanding import ENGLISH, SPANISH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.rag.language.text import Draft

_SPANS = {words.language: words.compiled() for words in (ENGLISH_TIMES, SPANISH_TIMES)}
_OTHER = {ENGLISH: SPANISH, SPANISH: ENGLISH}
_AFTER, _SINCE, _BEFORE, _UNTIL = "after", "since", "before", "until"
_LEADS = {
    _SINCE: r"since|starting(?: on| at| from)?|desde|a partir de",
    _AFTER: r"after|despues de",
    _BEFORE: r"before|prior to|antes de",
    _UNTIL: r"until|till|up to|by|hasta",
}
_LEAD = re.compile(
    rf"(?<!\w)(?:{'|'.join(f'(?P<{name}>{words})' for name, words in _LEADS.items())})(?: the| el| la| las| del)? ?$"
)
_RANGE_LEAD = re.compile(r"(?<!\w)(?:from|between|since|desde|entre|de|del)(?: the| el| la)? ?$")
_RANGE_LINK = re.compile(
    r" ?,? ?(?:to|until|till|through|and|up to|-|\u2013|\.{2,3}|a|al|hasta|y)(?: the| el| la)? ?(?:on )?"
)
_ATTACHED = re.compile(r"[ ,]*(?:(?:on|at|in|of|the|el|la|las|de|del|a|por|en|and|y|utc)[ ,]+){0,3}")
_ATTACHED_LEAD = re.compile(r"[ ,]*$")


@dataclass(frozen=True)
class _Point:
    """A time in the text: a stretch, or a time of any day."""

    start: int
    stop: int
    span: Span | None
    clock: Clock | None = None
    lead: str = ""  # the word before a time of the day that is part of it


def read_times(draft: Draft) -> Iterator[Reading]:
    """The stretches of time that the text names, each as `since` and `until`, or as `hours` of any day."""
    for language in (draft.language, _OTHER[draft.language]):
        points = _points(draft.plain, language, draft.now)
        if points:
            yield from _readings(draft.plain, points, draft.now)
            return


def _points(text: str, language: str, now: datetime) -> list[_Point]:
    """Days and longer stretches, each with the time of the day that stands beside it, in the order of the text."""
    spans, left = [], text
    for pattern, meaning in _SPANS[language]:
        for match in pattern.finditer(left):
            try:
                span = meaning(ENGLISH_TIMES if language == ENGLISH else SPANISH_TIMES, match, now)
            except (
                ValueError,
                OverflowError,
            ):  # there is no such time: the 31st of June, a million years ago
                continue
            if span is not None:
                spans.append(_Point(*match.span(), span))
                left = left[: match.start()] + TAKEN * (match.end() - match.start()) + left[match.end() :]
    clocks = [
        _Point(start, stop, None, clock, lead) for start, stop, clock, lead in find_clocks(left, language)
    ]
    return _attached(text, sorted(spans + clocks, key=lambda point: point.start))


def _attached(text: str, found: Sequence[_Point]) -> list[_Point]:
    """Each time of the day put into the day beside it; numbers that stand alone are none."""
    points: list[_Point] = []
    for point in found:
        before = points[-1] if points else None
        if before and _belong(before, point) and _ATTACHED.fullmatch(text, before.stop, point.start):
            day, clock = (before, point) if before.span else (point, before)
            points[-1] = _joined(before.start, point.stop, day, clock)
        else:
            points.append(point)
    return [point for point in points if point.span or (point.clock and not point.clock.bare)]


def _belong(one: _Point, other: _Point) -> bool:
    """Whether one is a day without a time, and the other a time without a day."""
    return (
        (one.span is None) != (other.span is None)
        and not (one.span and one.clock)
        and not (other.span and other.clock)
    )


def _joined(start: int, stop: int, day: _Point, time: _Point) -> _Point:
    span, clock = day.span, time.clock
    if span is None or clock is None:
        raise ValueError("a day and a time of the day are wanted")
    if span.day is None:
        return _Point(start, stop, span, _led(clock, time.lead))
    whole = Span(span.day, span.day + DAY, span.day, late=span.late)
    if not time.lead or clock.moment is None:
        return _Point(start, stop, at_clock(whole, clock))
    exact = at_clock(whole, clock).moment or span.day
    since = exact if _kind(time.lead) in {_AFTER, _SINCE} else None
    until = exact if since is None else None
    if _kind(time.lead) == _AFTER:
        until = span.day + DAY
    if _kind(time.lead) == _BEFORE:
        since = span.day
    return _Point(start, stop, Span(since, until, span.day))


def _led(clock: Clock, lead: str) -> Clock:
    """The times of any day after, or before, one of them."""
    if not lead or clock.moment is None:
        return clock
    if _kind(lead) in {_AFTER, _SINCE}:
        return Clock(clock.moment, MINUTES_OF_DAY)
    return Clock(0, clock.moment or MINUTES_OF_DAY)


def _kind(lead: str) -> str:
    match = _LEAD.search(lead)
    return _SINCE if match is None or match.lastgroup is None else match.lastgroup


def _readings(text: str, points: Sequence[_Point], now: datetime) -> Iterator[Reading]:
    number = 0
    while number < len(points):
        point = points[number]
        after = points[number + 1] if number + 1 < len(points) else None
        ranged = _RANGE_LEAD.search(text, 0, point.start)
        if (
            after
            and point.span
            and after.span
            and _RANGE_LINK.fullmatch(text, point.stop, after.start)
            and (ranged or not re.search(r"\b(?:and|y)\b", text[point.stop : after.start]))
        ):
            start = ranged.start() if ranged else point.start
            until = after.span.moment or after.span.until
            yield _spanned((start, after.stop), Span(point.span.moment or point.span.since, until), now)
            number += 2
            continue
        yield _one(text, point, now)
        number += 1


def _one(text: str, point: _Point, now: datetime) -> Reading:
    """What a single time means, with the "since" or "until" before it."""
    lead = _LEAD.search(text, 0, point.start)
    start = lead.start() if lead else point.start
    kind = lead.lastgroup or "" if lead else ""
    if point.span is None:
        return _of_any_day((start, point.stop), point, kind, now)
    span = point.span
    began, ended = span.moment or span.since, span.moment or span.until
    led = {
        _SINCE: Span(began, None), _AFTER: Span(ended, None), _BEFORE: Span(None, began), _UNTIL: Span(None, ended),
        "": span,
    }[kind]  # fmt: skip
    return _spanned((start, point.stop), led, now, point.clock)


def _of_any_day(place: tuple[int, int], point: _Point, kind: str, now: datetime) -> Reading:
    """A time without a day: every day, but "since 9:00" is today's, or yesterday's where that is still to come."""
    clock = point.clock or Clock(0, MINUTES_OF_DAY)
    word = kind or (_kind(point.lead) if point.lead else "")
    if word == _SINCE and clock.moment is not None:
        moment = at_clock(a_day(now), clock).moment or now
        since = moment if moment <= now else moment - DAY
        return Reading(*place, {"since": _iso(since)}, f"since {_shown(since)}")
    hours = _led(clock, {_AFTER: "after", _BEFORE: "before", _UNTIL: "until"}.get(word, "")).text()
    return Reading(*place, {"hours": hours}, f"between {hours.replace('-', ' and ')} UTC on any day")


def _spanned(place: tuple[int, int], span: Span, now: datetime, clock: Clock | None = None) -> Reading:
    """A stretch as filters; a note where it is to come, or ends before it begins."""
    if span.until is not None and span.until <= EARLIEST:
        return Reading(*place, {}, note="is before the times that events can have, so it is no filter")
    if span.since is not None and span.since > now:
        return Reading(*place, {}, note="is still to come, so it is no filter")
    if span.since is not None and span.until is not None and span.since >= span.until:
        return Reading(*place, {}, note="ends before it begins, so it is no filter")
    filters = {name: _iso(end) for name, end in (("since", span.since), ("until", span.until)) if end}
    words = [f"since {_shown(span.since)}"] if span.since else []
    words += [f"before {_shown(span.until)}"] if span.until else []
    if clock:
        filters["hours"] = clock.text()
        words.append(f"between {clock.text().replace('-', ' and ')} UTC each day")
    return Reading(*place, filters, ", ".join(words))


def _iso(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if moment.time() == datetime.min.time() else f"{moment:%Y-%m-%d %H:%M} UTC"
