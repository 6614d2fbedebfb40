"""Stretches of time that a question names: days, parts of days, weeks, months, and times of the day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

DAY = timedelta(days=1)
MINUTES_OF_DAY = 24 * 60
EARLIEST = datetime(1678, 1, 1)  # noqa: DTZ001 - UTC throughout
"""Before it nanoseconds since 1970 have no place in 64 bits."""
AROUND = timedelta(minutes=15)
"""How far on either side a moment reaches that is told to the minute: people are not more exact than that."""

PARTS = {
    "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (20, 30), "dawn": (0, 6),
    "tarde": (12, 20),
}  # fmt: skip
"""Parts of a day: from which hour to which; after 24 it is the next day."""


@dataclass(frozen=True)
class Span:
    """From `since` to before `until`, UTC without a time zone; None for an open end."""

    since: datetime | None
    until: datetime | None
    day: datetime | None = None  # midnight of the day of which it is, or is a part
    late: bool = False  # in the afternoon, the evening or the night: "between 6 and 8" is after noon
    moment: datetime | None = None  # where it stands for one moment: what "since" and "until" mean of it


@dataclass(frozen=True)
class Clock:
    """A stretch of any day, in minutes after midnight; a `stop` that is not after `start` lies on the next day."""

    start: int
    stop: int
    moment: int | None = None  # where it stands for one moment
    bare: bool = False  # numbers only: a time of the day only beside a day

    def text(self) -> str:
        """As the filter `hours` has it."""
        return f"{_hour(self.start)}-{_hour(self.stop or MINUTES_OF_DAY)}"


def _hour(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def midnight(moment: datetime) -> datetime:
    """The beginning of its day."""
    return datetime.combine(moment.date(), datetime.min.time())


def a_day(moment: datetime) -> Span:
    """The day that a moment lies in."""
    start = midnight(moment)
    return Span(start, start + DAY, start)


def part_of_day(day: datetime, part: str) -> Span:
    """A part, one of `PARTS`, of the day that begins at `day`."""
    first, last = PARTS[part]
    hour = timedelta(hours=1)
    return Span(day + first * hour, day + last * hour, day, late=first >= 12)


def a_week(moment: datetime) -> Span:
    """The week, from Monday, that a moment lies in."""
    start = midnight(moment) - moment.weekday() * DAY
    return Span(start, start + 7 * DAY)


def a_month(year: int, month: int) -> Span:
    """A month; months below 1 and above 12 are those of other years."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return Span(datetime(year, month, 1), datetime(year + month // 12, month % 12 + 1, 1))  # noqa: DTZ001 - UTC throughout


def a_year(year: int) -> Span:
    """A year."""
    return Span(datetime(year, 1, 1), datetime(year + 1, 1, 1))  # noqa: DTZ001 - UTC throughout


def latest_weekday(day: datetime, weekday: int) -> datetime:
    """The latest such day (0 is Monday), `day` included."""
    return day - (day.weekday() - weekday) % 7 * DAY


UNITS = {
    "second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": DAY,
    "week": 7 * DAY,
}  # fmt: skip
"""Units that have one length."""


def back(now: datetime, count: int, unit: str) -> datetime:
    """So many seconds, minutes, hours, days, weeks, months or years before a moment.

    Raises:
        ValueError: that is before the year 1 (also `OverflowError`).
    """
    if unit in UNITS:
        return now - count * UNITS[unit]
    first = a_month(now.year, now.month - count * (12 if unit == "year" else 1)).since
    if first is None:
        raise ValueError("a month has a beginning")
    last_day = a_month(first.year, first.month).until
    days = 31 if last_day is None else (last_day - first).days
    return first.replace(day=min(now.day, days)) + (now - midnight(now))


def ago(now: datetime, count: int, unit: str) -> Span:
    """What "three days ago" means: that whole day, week, month or year; of shorter units the hour or minutes there."""
    then = back(now, count, unit)
    if unit in {"second", "minute"}:
        return Span(then - AROUND, then + AROUND, moment=then)
    if unit == "hour":
        return Span(then, then + UNITS[unit], moment=then)
    if unit == "day":
        return a_day(then)
    if unit == "week":
        return a_week(then)
    return a_month(then.year, then.month) if unit == "month" else a_year(then.year)


def at_clock(span: Span, clock: Clock) -> Span:
    """A time of the day within the one day of a span."""
    if span.day is None:
        raise ValueError("only one day has one such time")
    clock = late_clock(clock) if span.late and clock.bare else clock
    minute = timedelta(minutes=1)
    start, stop = span.day + clock.start * minute, span.day + clock.stop * minute
    moment = None if clock.moment is None else span.day + clock.moment * minute
    return Span(start, stop if stop > start else stop + DAY, span.day, moment=moment)


def late_clock(clock: Clock) -> Clock:
    """The same in the second half of the day, where it was said in the first; "11 to 2" then begins before noon."""
    noon = MINUTES_OF_DAY // 2
    later = {
        name: value + noon for name in ("stop", "moment") if (value := getattr(clock, name)) and value < noon
    }
    if clock.start < min(clock.stop, noon) or clock.moment is not None:
        later["start"] = clock.start % noon + noon
    return replace(clock, **later)
