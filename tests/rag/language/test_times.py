"""Times of questions: what each way to say one means, in English and in Spanish."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.rag.language.understand import understand
from services.rag.language.understanding import Facts

NOW = int(datetime(2026, 11, 20, 15, 30, tzinfo=UTC).timestamp()) * 10**9  # a Friday


def filters_of(text: str, now_ns: int = NOW) -> dict[str, Any]:
    """The filters, times without the zeros that say nothing."""
    found = understand(text, now_ns, Facts()).filters
    return {
        key: value.removesuffix(":00Z").removesuffix("T00:00") if key in {"since", "until"} else value
        for key, value in found.items()
    }


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("today", "2026-11-20", "2026-11-21"),
        ("yesterday", "2026-11-19", "2026-11-20"),
        ("the day before yesterday", "2026-11-18", "2026-11-19"),
        ("on Friday", "2026-11-20", "2026-11-21"),
        ("last Friday", "2026-11-13", "2026-11-14"),
        ("Saturday", "2026-11-14", "2026-11-15"),
        ("Wednesday of last week", "2026-11-11", "2026-11-12"),
        ("last week", "2026-11-09", "2026-11-16"),
        ("this week", "2026-11-16", "2026-11-23"),
        ("last month", "2026-10-01", "2026-11-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("last weekend", "2026-11-14", "2026-11-16"),
        ("in March", "2026-03-01", "2026-04-01"),
        ("in December", "2025-12-01", "2026-01-01"),
        ("March 2024", "2024-03-01", "2024-04-01"),
        ("in 2025", "2025-01-01", "2026-01-01"),
        ("3 days ago", "2026-11-17", "2026-11-18"),
        ("two weeks ago", "2026-11-02", "2026-11-09"),
        ("a month ago", "2026-10-01", "2026-11-01"),
        ("an hour ago", "2026-11-20T14:30", "2026-11-20T15:30"),
        ("20 minutes ago", "2026-11-20T14:55", "2026-11-20T15:25"),
        ("half an hour ago", "2026-11-20T14:45", "2026-11-20T15:15"),
        ("Nov 3", "2026-11-03", "2026-11-04"),
        ("December 24th", "2025-12-24", "2025-12-25"),
        ("the 3rd of November 2024", "2024-11-03", "2024-11-04"),
        ("2026-11-03", "2026-11-03", "2026-11-04"),
        ("2026-11-03T14:05:00Z", "2026-11-03T14:05", "2026-11-03T14:06"),
        ("2026-11-03T14:05:00+02:00", "2026-11-03T12:05", "2026-11-03T12:06"),
        ("yesterday at noon", "2026-11-19T11:45", "2026-11-19T12:15"),
        ("yesterday at 3pm", "2026-11-19T15:00", "2026-11-19T16:00"),
        ("yesterday between 2 and 5pm", "2026-11-19T14:00", "2026-11-19T17:00"),
        ("yesterday from 11 to 2pm", "2026-11-19T11:00", "2026-11-19T14:00"),
        ("between 10pm and 2am yesterday", "2026-11-19T22:00", "2026-11-20T02:00"),
        ("yesterday afternoon between 2 and 5", "2026-11-19T14:00", "2026-11-19T17:00"),
        ("yesterday before 8am", "2026-11-19", "2026-11-19T08:00"),
        ("last night", "2026-11-19T20:00", "2026-11-20T06:00"),
        ("between Monday and Wednesday", "2026-11-16", "2026-11-19"),
        ("from 3 November 10:00 to 5 November 12:30", "2026-11-03T10:00", "2026-11-05T12:30"),
        ("hoy", "2026-11-20", "2026-11-21"),
        ("anteayer", "2026-11-18", "2026-11-19"),
        ("el viernes", "2026-11-20", "2026-11-21"),
        ("el viernes pasado", "2026-11-13", "2026-11-14"),
        ("el pasado viernes", "2026-11-13", "2026-11-14"),
        ("la semana pasada", "2026-11-09", "2026-11-16"),
        ("el mes pasado", "2026-10-01", "2026-11-01"),
        ("hace media hora", "2026-11-20T14:45", "2026-11-20T15:15"),
        ("hace una semana", "2026-11-09", "2026-11-16"),
        ("el 24 de diciembre", "2025-12-24", "2025-12-25"),
        ("03/11/2026 de la tarde para quien pregunta", "2026-11-03T12:00", "2026-11-03T20:00"),
        ("noviembre de 2024", "2024-11-01", "2024-12-01"),
        ("anoche", "2026-11-19T20:00", "2026-11-20T06:00"),
        ("esta madrugada", "2026-11-20", "2026-11-20T06:00"),
        ("ayer por la tarde", "2026-11-19T12:00", "2026-11-19T20:00"),
        ("ayer entre las 9 y las 11", "2026-11-19T09:00", "2026-11-19T11:00"),
        ("ayer a las 3 de la tarde", "2026-11-19T15:00", "2026-11-19T16:00"),
        ("desde el lunes hasta el miércoles", "2026-11-16", "2026-11-19"),
    ],
)
def test_a_stretch_of_time(text: str, since: str, until: str) -> None:
    """A time becomes the stretch that people mean by it."""
    assert filters_of(text) == {"since": since, "until": until}


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("since Monday", {"since": "2026-11-16"}),
        ("after Monday", {"since": "2026-11-17"}),
        ("until Monday", {"until": "2026-11-17"}),
        ("before Monday", {"until": "2026-11-16"}),
        ("since 3pm yesterday", {"since": "2026-11-19T15:00"}),
        ("since yesterday at 3pm", {"since": "2026-11-19T15:00"}),
        ("until Thursday at noon", {"until": "2026-11-19T12:00"}),
        ("since 14:00", {"since": "2026-11-20T14:00"}),
        ("since 23:00", {"since": "2026-11-19T23:00"}),
        ("since two hours ago", {"since": "2026-11-20T13:30"}),
        ("in the last hour", {"since": "2026-11-20T14:30"}),
        ("over the last week", {"since": "2026-11-13T15:30"}),
        ("the past couple of days", {"since": "2026-11-18T15:30"}),
        ("in the last month", {"since": "2026-10-20T15:30"}),
        ("since January", {"since": "2026-01-01"}),
        ("desde ayer", {"since": "2026-11-19"}),
        ("desde hace dos horas", {"since": "2026-11-20T13:30"}),
        ("las últimas 24 horas", {"since": "2026-11-19T15:30"}),
        ("hasta el lunes", {"until": "2026-11-17"}),
        ("antes de octubre", {"until": "2026-10-01"}),
        ("después de las 18:00", {"hours": "18:00-24:00"}),
        ("at night", {"hours": "20:00-06:00"}),
        ("after 6pm", {"hours": "18:00-24:00"}),
        ("before 8am", {"hours": "00:00-08:00"}),
        ("between 22:00 and 06:00", {"hours": "22:00-06:00"}),
        ("during office hours", {"hours": "08:00-18:00"}),
        ("fuera del horario laboral", {"hours": "18:00-08:00"}),
        ("de madrugada", {"hours": "00:00-06:00"}),
    ],
)
def test_open_stretches_and_times_of_the_day(text: str, filters: dict[str, Any]) -> None:
    """What has one end only has one, and a time without a day is one of any day."""
    assert filters_of(text) == filters


@pytest.mark.parametrize(
    "text",
    [
        "may be a march of the second kind",
        "a sun that sat",
        "3 to 5 packets",
        "between 2 and 5",
        "at 3",
        "24 hours",
        "an august host",
        "in 2000 packets",
        "the last packet of the day",
        "now and then",
        "the first half",
        "una vez en el segundo intento",
        "de la red",
        "una tarde cualquiera no",
        "version 10.11.12",
        "31 June",
        "2026-13-45",
    ],
)
def test_what_is_no_time(text: str) -> None:
    """Words that are also names of times, numbers of other things, and dates that do not exist are left alone."""
    assert filters_of(text) == {}


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("scans tomorrow", "'tomorrow' is still to come, so it is no filter."),
        ("next week", "'next week' is still to come, so it is no filter."),
        ("since 2030-01-01", "'since 2030-01-01' is still to come, so it is no filter."),
        ("from Wednesday to Monday", "'from Wednesday to Monday' ends before it begins, so it is no filter."),
        ("scans except yesterday", "'except yesterday' is no filter: filters choose, and exclude nothing."),
    ],
)
def test_a_time_that_is_no_filter_is_said(text: str, note: str) -> None:
    """What is to come, impossible or excluded is told instead of being used."""
    understood = understand(text, NOW, Facts())
    assert understood.filters == {}
    assert understood.notes == (note,)


def test_a_year_that_begins_with_the_moment_of_asking() -> None:
    """At midnight of the first of January yesterday is in another year, and last month is December."""
    now = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    assert filters_of("yesterday", now) == {"since": "2025-12-31", "until": "2026-01-01"}
    assert filters_of("last month", now) == {"since": "2025-12-01", "until": "2026-01-01"}
    assert filters_of("in the last month", now) == {"since": "2025-12-01"}


def test_a_leap_day_is_kept_within_its_month() -> None:
    """A year before the 29th of February is the 28th."""
    now = int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp()) * 10**9
    assert filters_of("in the last year", now) == {"since": "2023-02-28T12:00"}
    assert filters_of("in the last month", now) == {"since": "2024-01-29T12:00"}
