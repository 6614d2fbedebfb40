"""How stretches of time are said in English and in Spanish: patterns, and what each means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.rag.language.moments import (
    DAY,
    Span,
    a_day,
    a_month,
    a_week,
    a_year,
    ago,
    back,
    latest_weekday,
    midnight,
    part_of_day,
)
from services.rag.language.understanding import ENGLISH, SPANISH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Meaning: TypeAlias = Callable[["TimeWords", re.Match[str], datetime], Span | None]


@dataclass(frozen=True)
class TimeWords:
    """The time words of a language, all plain: numbers, units, days, months, and the patterns that use them."""

    language: str
    numbers: Mapping[str, int]
    units: Mapping[str, str]  # pattern -> name of the unit
    weekdays: tuple[str, ...]  # patterns, Monday first
    months: tuple[str, ...]  # patterns, January first
    parts: Mapping[str, str]  # word -> part of the day
    near: Mapping[str, int]  # "yesterday" -> days before today
    patterns: Mapping[str, str]  # name of the meaning -> pattern with the fields below

    def compiled(self) -> tuple[tuple[re.Pattern[str], Meaning], ...]:
        """The patterns in their order, with what they mean."""
        fields = {
            "number": rf"\d{{1,5}}|{'|'.join(self.numbers)}",
            "unit": "|".join(self.units),
            "weekday": "|".join(self.weekdays),
            "month": "|".join(self.months),
            "part": "|".join(self.parts),
            "near": "|".join(self.near),
        }
        return tuple(
            (
                re.compile(rf"(?<![\w-])(?<!\w\.)(?:{_filled(pattern, fields)})(?!\w|[-:]\d)"),
                MEANINGS[name.rstrip("0123456789")],
            )
            for name, pattern in self.patterns.items()
        )


def _filled(pattern: str, fields: Mapping[str, str]) -> str:
    """A pattern whose `<name>` are the fields as groups of that name."""
    return re.sub(r"(?<!P)<(\w+)>", lambda match: f"(?P<{match[1]}>{fields[match[1]]})", pattern)


def _near(words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    return _perhaps_part(words, match, midnight(now) - words.near[match["near"]] * DAY)


def _weekday(words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    today, groups = midnight(now), match.groupdict()
    weekday = _which(words.weekdays, match["weekday"])
    if groups.get("week"):
        monday = latest_weekday(today, 0) - 7 * DAY
        return _perhaps_part(words, match, monday + weekday * DAY)
    return _perhaps_part(words, match, latest_weekday(today - DAY if groups.get("past") else today, weekday))


def _perhaps_part(words: TimeWords, match: re.Match[str], day: datetime) -> Span:
    part = match.groupdict().get("part")
    return part_of_day(day, words.parts[part]) if part else a_day(day)


def _last_night(_words: TimeWords, _match: re.Match[str], now: datetime) -> Span:
    return part_of_day(midnight(now) - DAY, "night")


def _this_part(words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    return part_of_day(midnight(now), words.parts[match["part"]])


def _rolling(words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    groups = match.groupdict()
    return Span(back(now, _count(words, groups.get("number")), _unit(words, match["unit"])), None)


def _ago(words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    return ago(now, _count(words, match["number"]), _unit(words, match["unit"]))


def _calendar(words: TimeWords, match: re.Match[str], now: datetime) -> Span | None:
    """This week, month or year, the one before it, or the next one."""
    groups = match.groupdict()
    unit, shift = _unit(words, match["unit"]), -1 if groups.get("past") else 1 if groups.get("next") else 0
    if unit == "week":
        return a_week(now + shift * 7 * DAY)
    if unit == "month":
        return a_month(now.year, now.month + shift)
    return a_year(now.year + shift) if unit == "year" else None


def _weekend(_words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    """The latest one that has begun; the one before where it is called the last one and still runs."""
    saturday = latest_weekday(midnight(now), 5)
    if match.groupdict().get("past") and now < saturday + 2 * DAY:
        saturday -= 7 * DAY
    return Span(saturday, saturday + 2 * DAY)


def _half_hour(_words: TimeWords, _match: re.Match[str], now: datetime) -> Span:
    return ago(now, 30, "minute")


def _month(words: TimeWords, match: re.Match[str], now: datetime) -> Span:
    """The latest one that has begun, or that of the year that is named."""
    month, year = _which(words.months, match["month"]) + 1, match.groupdict().get("year")
    if year:
        return a_month(int(year), month)
    past = match.groupdict().get("past") and month == now.month
    return a_month(now.year - (month > now.month or bool(past)), month)


def _year(_words: TimeWords, match: re.Match[str], _now: datetime) -> Span:
    return a_year(int(match["year"]))


def _date(words: TimeWords, match: re.Match[str], now: datetime) -> Span | None:
    day = written_date(match["date"], words.language, now)
    return None if day is None else _perhaps_part(words, match, day)


def _week(words: TimeWords, match: re.Match[str], now: datetime) -> Span | None:
    day = written_date(match["date"], words.language, now)
    return None if day is None else a_week(day)


def _iso(_words: TimeWords, match: re.Match[str], _now: datetime) -> Span | None:
    try:
        found = datetime.fromisoformat(match[0].upper())
    except ValueError:
        return None
    if ":" not in match[0]:
        return a_day(found)
    utc = (found.astimezone(UTC) if found.tzinfo else found).replace(tzinfo=None, microsecond=0)
    return Span(utc, utc + timedelta(minutes=1), moment=utc)


def written_date(text: str, language: str, now: datetime) -> datetime | None:
    """Midnight of a written date such as "July 4th 2017" or "3/11/2026"; without a year the latest one that was."""
    if re.search(r"\d{4}", text):
        return _parsed_date(text, language, now)
    # Left to itself dateparser would look for the year on the clock; leap days come back after eight years at most.
    dates = (_parsed_date(f"{text} {now.year - years}", language, now) for years in range(9))
    return next((date for date in dates if date is not None and date <= now), None)


def _parsed_date(text: str, language: str, now: datetime) -> datetime | None:
    # It takes 20 MB and a tenth of a second, and most questions name no such date: hence imported here.
    from dateparser.date import DateDataParser  # noqa: PLC0415 - see above

    settings = {
        "RELATIVE_BASE": now,
        "TIMEZONE": "UTC",
        "RETURN_AS_TIMEZONE_AWARE": False,
        "REQUIRE_PARTS": ["day", "month", "year"],
        "PARSERS": ["absolute-time"],
    }
    found = DateDataParser(languages=[language], settings=settings).get_date_data(text).date_obj
    return None if found is None else midnight(found)


def _count(words: TimeWords, text: str | None) -> int:
    return 1 if text is None else int(text) if text.isdecimal() else words.numbers[text]


def _unit(words: TimeWords, text: str) -> str:
    return next(unit for pattern, unit in words.units.items() if re.fullmatch(pattern, text))


def _which(patterns: tuple[str, ...], text: str) -> int:
    return next(number for number, pattern in enumerate(patterns) if re.fullmatch(pattern, text))


MEANINGS: Mapping[str, Meaning] = {
    "near": _near, "weekday": _weekday, "last_night": _last_night, "this_part": _this_part, "rolling": _rolling,
    "ago": _ago, "calendar": _calendar, "weekend": _weekend, "half_hour": _half_hour, "month": _month, "year": _year,
    "date": _date, "week": _week, "iso": _iso,
}  # fmt: skip

_ISO = r"\d{4}-\d{2}-\d{2}(?:[t ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?: ?z|[+-]\d{2}:?\d{2})?)?(?: utc)?"
_ISO_DAY = r"\d{4}-\d{2}-\d{2}"
_NUMERIC = r"\d{1,2}[/.]\d{1,2}[/.]\d{4}|\d{4}/\d{1,2}/\d{1,2}"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_SHORT_MONTHS = ("jan", "feb", "mar", "apr", "may", "june?", "july?", "aug", "sept?", "oct", "nov", "dec")
_LONG_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_EN_MONTHS = tuple(f"{long}|{short}\\.?" for long, short in zip(_LONG_MONTHS, _SHORT_MONTHS, strict=True))
_EN_MONTH = "|".join(_EN_MONTHS)
_ES_MONTHS = (
    "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "sep?tiembre", "octubre", "noviembre",
    "diciembre",
)  # fmt: skip
_ES_MONTH = "|".join(_ES_MONTHS)
_EN_DAY, _EN_YEAR = r"\d{1,2}(?:st|nd|rd|th)?", r"(?:,? (?:of )?\d{4})?"
_EN_DATE = rf"{_EN_DAY} (?:of )?(?:{_EN_MONTH}){_EN_YEAR}|(?:{_EN_MONTH}) (?:the )?{_EN_DAY}{_EN_YEAR}"
_EN_PART = r"(?:,? (?:in the |at |during the )?<part>)?"
_ES_DATE = rf"\d{{1,2}} (?:de )?(?:{_ES_MONTH})(?: (?:del? )?\d{{4}})?"
_ES_PART = r"(?:,? (?:(?:por|en|a|de) )?(?:la )?<part>)?"
# What a word may stand after that is also the name of a month, and a number that is also a year.
_EN_IN, _ES_IN = r"(?:in|during|of|through(?:out)?)", r"(?:en|durante|de)"
_EN_EDGE = r"(?:(?<=since )|(?<=until )|(?<=before )|(?<=after )|(?<=till ))"
_ES_EDGE = r"(?:(?<=desde )|(?<=hasta )|(?<=antes de )|(?<=despues de ))"
_NO_NOUN = r"(?= *(?:$|[,.;:?!)\x00]|(?:to|until|and|on|from|by|with|over|y|a|hasta|por|con|desde|hacia)\b))"

ENGLISH_TIMES = TimeWords(
    ENGLISH,
    numbers={
        "a couple of": 2, "couple of": 2, "an": 1, "a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5,
        "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
    },
    units={
        "seconds?|secs?": "second", "minutes?|mins?": "minute", "hours?|hrs?": "hour", "days?": "day",
        "weeks?": "week", "months?": "month", "years?": "year",
    },
    weekdays=("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    months=_EN_MONTHS,
    parts={"morning": "morning", "afternoon": "afternoon", "evening": "evening", "night": "night"},
    near={"the day before yesterday": 2, "day before yesterday": 2, "yesterday": 1, "today": 0, "tomorrow": -1},
    patterns={
        "week": rf"(?:the )?week (?:of|from) (?:the )?(?P<date>{_NUMERIC}|{_EN_DATE}|{_ISO_DAY})",
        "iso": _ISO,
        "date0": rf"(?P<date>{_NUMERIC}){_EN_PART}",
        "date1": rf"(?:the )?(?P<date>{_EN_DATE}){_EN_PART}",
        "near": rf"<near>{_EN_PART}",
        "last_night": "last night|overnight",
        "this_part0": "(?:earlier )?this <part>",
        "this_part1": "to(?P<part>night)",
        "half_hour": "half an hour ago",
        "ago": "(?:about |around )?<number> <unit> ago",
        "weekday0": rf"<weekday>,? (?:of )?(?P<week>last week){_EN_PART}",
        "weekday1": rf"(?:(?P<past>last|past|previous) |this |on )?(?:the )?<weekday>{_EN_PART}",
        "rolling0": "(?:(?:in|over|during|within|for|of) )?(?:the )?(?:last|past|previous) <number> <unit>",
        "rolling1": "(?:in|over|during|within|for|of) the (?:last|past|previous) <unit>",
        "rolling2": "(?:the )?past <unit>",
        "rolling3": "(?:the )?last (?P<unit>second|minute|hour|day)",
        "weekend": "(?:(?P<past>last|past|previous)|this|on the|over the|at the) weekend",
        "calendar": "(?:(?P<past>last|previous)|(?P<next>next)|this|the current) (?P<unit>week|month|year)",
        "month0": rf"(?:{_EN_IN} )?<month>,? (?:of )?{_YEAR}{_NO_NOUN}",
        "month1": rf"{_EN_IN} (?:(?P<past>last) )?<month>{_NO_NOUN}",
        "month2": rf"(?:{_EN_EDGE}|(?P<past>last) )<month>{_NO_NOUN}",
        "year": rf"(?:{_EN_IN} (?:the year )?|{_EN_EDGE}){_YEAR}{_NO_NOUN}",
    },
)  # fmt: skip
SPANISH_TIMES = TimeWords(
    SPANISH,
    numbers={
        "un par de": 2, "par de": 2, "una": 1, "un": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6,
        "siete": 7, "ocho": 8, "nueve": 9, "diez": 10, "once": 11, "doce": 12,
    },
    units={
        "segundos?": "second", "minutos?": "minute", "horas?": "hour", "dias?": "day", "semanas?": "week",
        "mes(?:es)?": "month", "anos?": "year",
    },
    weekdays=("lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "domingo"),
    months=_ES_MONTHS,
    parts={"manana": "morning", "tarde": "tarde", "noche": "night", "madrugada": "dawn"},
    near={"anteayer": 2, "antier": 2, "antes de ayer": 2, "ayer": 1, "hoy": 0},
    patterns={
        "week": rf"(?:la )?semana del? (?P<date>{_NUMERIC}|{_ES_DATE}|{_ISO_DAY})",
        "iso": _ISO,
        "date0": rf"(?:el )?(?P<date>{_NUMERIC}){_ES_PART}",
        "date1": rf"(?:el )?(?:dia )?(?P<date>{_ES_DATE}){_ES_PART}",
        "near": rf"<near>{_ES_PART}",
        "last_night": "anoche",
        "this_part": "esta <part>",
        "half_hour": "hace media hora",
        "ago": "hace (?:unos |unas |como )?<number> <unit>",
        "weekday0": rf"(?:el )?<weekday> de (?P<week>la semana pasada){_ES_PART}",
        "weekday1": rf"(?:el )?(?P<past>pasado|ultimo) <weekday>{_ES_PART}",
        "weekday2": rf"(?:(?:el|este) )?<weekday>(?P<past> pasado| ultimo)?{_ES_PART}",
        "rolling0": "(?:(?:en|durante|de) )?(?:los|las) (?:ultim[oa]s|pasad[oa]s) <number> <unit>",
        "rolling1": "(?:(?:en|durante|de) )?(?:el|la) ultim[oa] <unit>",
        "weekend": "(?:el |este )?fin de semana(?P<past> pasado)?|(?:el )?ultimo fin de semana",
        "calendar0": "(?:la |el )?(?P<unit>semana|mes|ano) (?P<past>pasad[oa]|anterior)",
        "calendar1": "(?:est[ea]) (?P<unit>semana|mes|ano)",
        "calendar2": "(?:la |el )?(?P<next>proxim[oa]) (?P<unit>semana|mes|ano)",
        "month0": rf"(?:{_ES_IN} )?<month> (?:de |del )?{_YEAR}{_NO_NOUN}",
        "month1": rf"{_ES_EDGE}<month>{_NO_NOUN}",
        "month2": rf"{_ES_IN} <month>(?P<past> pasado)?{_NO_NOUN}",
        "year": rf"(?:{_ES_IN} (?:el ano )?|{_ES_EDGE}){_YEAR}{_NO_NOUN}",
    },
)  # fmt: skip
