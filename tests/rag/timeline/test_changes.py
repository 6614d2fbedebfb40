"""Where a host changed, on hours made by hand: each kind of change, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np

from services.common.days.columns import pack_address
from services.rag.timeline.changes import Change, find_changes
from services.rag.timeline.events import EVENT, HostEvents
from services.rag.timeline.hours import HOUR_NS, HOURS_A_DAY, Hours, watched_hours

NAMES = {22: "SSH", 443: "HTTPS"}


def made(*events: tuple[int, dict[str, Any]]) -> Hours:
    """The hours of some events, each in an hour with its fields; by TCP to port 443 where they say nothing."""
    table = np.zeros(len(events), EVENT)
    table["out"], table["port"], table["protocol"], table["bytes"] = True, 443, 6, 1000
    for place, (hour, fields) in enumerate(events):
        table["row"][place], table["time_ns"][place] = place, hour * HOUR_NS + place
        for name, value in fields.items():
            table[name][place] = value
    order = np.argsort(table["time_ns"])
    addresses = [pack_address(f"10.0.0.{number}") for number in range(200)]
    return Hours.of(HostEvents(table[order], addresses, ("quiet", "loud")))


def steady(hours: range, **fields: Any) -> list[tuple[int, dict[str, Any]]]:
    """One event in each of some hours."""
    return [(hour, fields) for hour in hours]


def kinds(hours: Hours, watched: range | None = None) -> dict[str, Change]:
    """The changes by kind; each kind once."""
    every = hours.numbers if watched is None else np.arange(watched.start, watched.stop)
    found = find_changes(hours, every, NAMES)
    assert len({change.kind for change in found}) == len(found)
    return {change.kind: change for change in found}


def test_a_steady_host_does_not_change() -> None:
    """The same in each of three hundred hours is no change; nor is a host of which nothing is known."""
    assert kinds(made(*steady(range(1000, 1300)))) == {}
    assert kinds(made()) == {}


def test_far_more_than_usual_is_a_rise_until_it_is_over() -> None:
    """Three loud hours are one change, told by what is most unusual, with the numbers of the strongest hour."""
    loud = [(1030 + number % 3, {"peer": number % 150}) for number in range(600)]
    change = kinds(made(*steady(range(1000, 1060)), *loud))["rise"]
    assert (change.first, change.last) == (1030, 1032)
    (first, *others) = change.facts["measures"]
    assert {one["measure"] for one in (first, *others)} == {"out", "bytes", "peers", "new_peers"}
    assert first["value"] == 201
    assert "began 201 events (usually 1: " in change.sentence
    assert "in the strongest of 3 hours" in change.sentence


def test_far_less_than_usual_is_a_fall_but_not_in_the_newest_hour() -> None:
    """An hour with one event among hours with four hundred falls; the newest one may not be over."""
    many = [(hour, {}) for hour in range(1000, 1040) for _ in range(1 if hour in {1030, 1039} else 400)]
    change = kinds(made(*many))["fall"]
    assert (change.first, change.last) == (1030, 1030)
    assert change.sentence.startswith("only began 1 event (usually 400: ")


def test_a_silence_counts_only_hours_in_which_others_were_seen() -> None:
    """Twenty hours without an event are a silence where others were seen in them, and nothing where nobody was."""
    hours = made(*steady(range(1000, 1040)), *steady(range(1060, 1070)))
    change = kinds(hours, range(1000, 1070))["silence"]
    assert (change.first, change.last, change.facts["over"]) == (1040, 1059, True)
    assert change.sentence == "silent for 20 hours in which others were seen; never silent before"
    assert kinds(hours) == {}


def test_a_silence_that_goes_on_is_told() -> None:
    """The host that fell silent and still is; an event before the silence is named."""
    change = kinds(made(*steady(range(1000, 1040))), range(1000, 1060))["silence"]
    assert (change.first, change.last, change.facts["over"], change.event) == (1040, 1059, False, 39)
    assert "and still" in change.sentence


def test_a_silence_as_long_as_others_is_none() -> None:
    """A host that is away each night is not silent at night."""
    nights = [event for day in range(10) for event in steady(range(day * 24 + 8, day * 24 + 18))]
    assert kinds(made(*nights), range(250)) == {}


def test_a_service_is_new_when_the_host_was_there_before() -> None:
    """SSH in the fiftieth hour is new and in the second is not; either direction has its own services."""
    before = steady(range(1000, 1060))
    assert kinds(made(*before, (1001, {"port": 22}))) == {}
    change = kinds(made(*before, (1050, {"port": 22})))["service"]
    assert change.sentence == "used SSH (TCP port 22) for the first time"
    came = kinds(made(*before, (1001, {"port": 22}), (1050, {"port": 22, "out": False})))["service"]
    assert came.sentence == "was reached on SSH (TCP port 22) for the first time"
    assert came.facts["side"] == "in"


def test_a_port_that_a_client_may_have_chosen_needs_several_events() -> None:
    """A high port without a name is a service from five events in an hour on."""
    before = steady(range(1000, 1060))
    assert kinds(made(*before, *[(1050, {"port": 41_000})] * 4)) == {}
    assert kinds(made(*before, *[(1050, {"port": 41_000})] * 5))["service"].facts["services"] == [
        {"protocol": 6, "port": 41_000}
    ]


def test_events_that_matter_are_told_once_a_week() -> None:
    """The first, not those of the same week, and again after more than a week without; the named event matters."""
    bad = {"matters": True, "narrative": 1}
    hours = made(*steady(range(1000, 1500, 3)), (1100, {}), (1100, bad), (1150, bad), (1400, bad))
    found = [c for c in find_changes(hours, hours.numbers, NAMES) if c.kind == "judged"]
    assert [change.first for change in found] == [1100, 1400]
    assert found[0].sentence == "1 event that matters, the first: loud"
    assert found[1].sentence == "1 event that matters, the first in 10 days: loud"
    assert all(hours.events.table["matters"][change.event] for change in found)


def test_a_new_time_of_day_needs_a_week_of_days() -> None:
    """The first event at three o'clock is a change on the eighth day and none on the seventh."""
    for days, changed in ((6, False), (7, True)):
        work = [event for day in range(days) for event in steady(range(day * 24 + 8, day * 24 + 18))]
        night = (days * HOURS_A_DAY + 3, {})
        found = kinds(made(*work, night), range(200))
        assert ("time_of_day" in found) == changed
    assert found["time_of_day"].sentence == "active between 03:00 and 04:00 UTC, never before on 7 days"


def test_a_first_event_says_something_where_others_were_watched() -> None:
    """A host that appears after a day of others is new; one that was there from the first hour on is not."""
    hours = made(*steady(range(1024, 1030)))
    assert kinds(hours, range(1000, 1030))["first_seen"].facts == {"hours_before": 24}
    assert kinds(hours, range(1001, 1030)) == {}


def test_watched_hours_are_the_same_for_sorted_rows(world: Any, follow: Any) -> None:
    """The hours with events of a sealed day are found by its order, and are those of the events themselves."""
    day = "2026-01-20"
    events = world.make(day, 15)
    world.write(day, events)
    times = [event.event_timestamp.ToNanoseconds() for event in events]
    expected = sorted({time // HOUR_NS for time in times})
    with follow(world).lease() as snapshot:
        assert watched_hours([s.view for s in snapshot.segments], None).tolist() == expected
    world.seal(day)
    with follow(world).lease() as snapshot:
        views = [s.view for s in snapshot.segments]
        assert watched_hours(views, None).tolist() == expected
        until = expected[5] * HOUR_NS
        assert watched_hours(views, until).tolist() == expected[:5]
