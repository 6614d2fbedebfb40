"""`timeline` counts what a host did, from the same events whether its days are open or sealed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import UsageError
from services.common.rpc import Deadline, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.rpc_server import Handler

DAYS = ("2026-01-19", "2026-01-20", "2026-01-21")
HOST = "10.1.2.3"
SOON = Deadline()


@pytest.fixture
def events(world: Any) -> list[Any]:
    """Random events of two sealed days and an open one."""
    return [event for day in DAYS for event in world.fill(day, 400, sealed=day != DAYS[-1])]


@pytest.fixture
def handlers(world: Any, events: list[Any], replica: Any) -> Mapping[str, Handler]:
    """A replica over these days."""
    assert events
    return dict(replica(world))


def ask(handlers: Mapping[str, Handler], host: str = HOST, **filters: Any) -> dict[str, Any]:
    return handlers["timeline"]({"host": host, "filters": filters}, SOON)


def moment(event: Any) -> datetime:
    return datetime.fromtimestamp(event.event_timestamp.seconds, UTC)


def hour_of(event: Any) -> str:
    return f"{moment(event):%Y-%m-%dT%H}:00:00.000000Z"


def sides(event: Any) -> tuple[str, str]:
    return event.network_features.source_ip, event.network_features.destination_ip


def with_host(events: list[Any], host: str = HOST) -> list[Any]:
    return [event for event in events if host in sides(event)]


@pytest.mark.parametrize("host", [HOST, "2001:db8::1"])
def test_hours_are_counted_from_the_events(events: list[Any], handlers: Any, host: str) -> None:
    """Every number of every hour is that of a plain count over the events; IPv6 is no different."""
    answer = ask(handlers, host)
    by_hour: dict[str, list[Any]] = {}
    for event in sorted(with_host(events, host), key=lambda e: e.event_timestamp.ToNanoseconds()):
        by_hour.setdefault(hour_of(event), []).append(event)
    assert [hour["hour"] for hour in answer["hours"]] == sorted(by_hour)
    for hour in answer["hours"]:
        here = by_hour[hour["hour"]]
        flows = [event.network_features for event in here]
        assert hour["out"] == sum(flow.source_ip == host for flow in flows)
        assert hour["out"] + hour["in"] == len(here)
        assert hour["peers"] == len({_peer(event, host) for event in here})
        assert hour["ports"] == len({flow.destination_port for flow in flows})
        volume = sum(flow.total_forward_bytes + flow.total_backward_bytes for flow in flows)
        assert hour["bytes"] == pytest.approx(volume, rel=1e-5)
        assert hour["matters"] == sum(_matters(event) for event in here)
        assert hour["highest_threat"] == pytest.approx(max(event.overall_threat_score for event in here))
        classes = Counter(event.final_classification for event in here)
        assert all(classes[name] == count for name, count in hour["classes"].items())
        assert list(hour["classes"].values()) == [count for _, count in classes.most_common(3)]
    assert sum(hour["new_peers"] for hour in answer["hours"]) == len(
        {_peer(e, host) for e in with_host(events, host)}
    )
    assert answer["total"]["out"] + answer["total"]["in"] == len(with_host(events, host))
    assert answer["receipt"]["rows"] == len(with_host(events, host))


def _peer(event: Any, host: str) -> str:
    source, destination = sides(event)
    return str(destination if source == host else source)


def _matters(event: Any) -> bool:
    if event.final_classification:
        return bool(event.final_classification != "BENIGN")
    named = event.threat_category != "NORMAL" or "label" in event.custom_metadata
    return bool(named or event.overall_threat_score >= 0.5)


def test_the_newest_peer_is_met_once(handlers: Any) -> None:
    """A peer is new in the first hour that has it and in no other."""
    met = [address for hour in ask(handlers)["hours"] for address in hour["first_met"]]
    assert len(met) == len(set(met))


def test_filters_of_time_choose_what_is_shown(events: list[Any], handlers: Any) -> None:
    """Hours that `since`, `until` and `days` touch are shown whole; those before are looked at all the same."""
    every = {hour["hour"]: hour for hour in ask(handlers)["hours"]}
    since, until = f"{DAYS[1]}T10:30:00Z", f"{DAYS[2]}T03:30:00Z"
    answer = ask(handlers, since=since, until=until)
    wanted = [hour for hour in every if f"{DAYS[1]}T10" <= hour < f"{DAYS[2]}T04"]
    assert answer["hours"] == [every[hour] for hour in wanted], "also what is new is so against all before"
    assert answer["receipt"]["rows"] == sum(hour_of(event) < f"{DAYS[2]}T04" for event in with_host(events))
    of_day = ask(handlers, f"{HOST}@{DAYS[1]}")["hours"]
    assert of_day == ask(handlers, days=[DAYS[1]])["hours"] == [h for n, h in every.items() if DAYS[1] in n]
    assert of_day
    assert {change["from"][:10] for change in ask(handlers, days=[DAYS[1]])["changes"]} <= {DAYS[1]}


def test_other_filters_choose_what_counts(events: list[Any], handlers: Any) -> None:
    """Only events that pass are counted; the host filter then means the other side."""
    answer = handlers["timeline"]({"host": HOST, "filters": {"dst_port": 443, "host": "8.8.8.8"}}, SOON)
    expected = [
        event
        for event in with_host(events)
        if event.network_features.destination_port == 443 and "8.8.8.8" in sides(event)
    ]
    assert expected
    assert answer["total"]["out"] + answer["total"]["in"] == len(expected)
    assert answer["total"]["peers"] == 1


def test_sealing_changes_no_number(world: Any, events: list[Any], replica: Any, handlers: Any) -> None:
    """The answer about an open day is that about the same day sealed, apart from its receipt."""
    assert events
    before = ask(handlers)
    world.seal(DAYS[-1])
    after = ask(replica(world))
    for answer in (before, after):
        answer.pop("receipt")
    assert before == after


def test_a_change_names_an_event(world: Any, replica: Any) -> None:
    """A host that begins to be judged malicious is told with the id of the first such event."""
    day = "2026-01-20"
    events = world.make(day, 60)
    for number, event in enumerate(events):
        event.network_features.source_ip = "10.0.0.9"
        event.final_classification = "BENIGN"
        event.event_timestamp.FromSeconds(event.event_timestamp.seconds // 86_400 * 86_400 + number * 1200)
    events[50].final_classification = "MALICIOUS"
    world.write(day, events)
    (change,) = [one for one in ask(replica(world), "10.0.0.9")["changes"] if one["kind"] == "judged"]
    assert change["event_id"] == events[50].event_id
    assert change["from"] == hour_of(events[50])


def test_a_host_that_is_not_there_has_no_hours(handlers: Any) -> None:
    """An unknown host is answered with nothing and the receipt of what was looked at."""
    answer = ask(handlers, "203.0.113.77")
    assert (answer["hours"], answer["changes"], answer["active_hours"], answer["changed"]) == ([], [], 0, 0)
    assert answer["watched_hours"] > 24
    assert answer["receipt"]["rows"] == 0


@pytest.mark.parametrize(
    ("host", "filters", "sentence"),
    [
        ("e-2026-01-20-1", {}, "'e-2026-01-20-1' is no address"),
        ("10.0.0.0/8", {}, "is no address"),
        ("10.0.0.5@yesterday", {}, "yesterday"),
        (f"10.0.0.5@{DAYS[0]}", {"days": [DAYS[1]]}, "leaves this day out"),
    ],
)
def test_what_is_no_host_is_refused(handlers: Any, host: str, filters: Any, sentence: str) -> None:
    """One sentence says what to ask for instead."""
    with pytest.raises(UsageError, match=sentence):
        ask(handlers, host, **filters)


def test_time_that_ends_leaves_out_the_oldest_days(handlers: Any) -> None:
    """What was not looked at is named, and is not watched; where nothing was, the question is refused."""

    class Ending(Deadline):
        looks = 0

        @property
        def is_near(self) -> bool:
            Ending.looks += 1
            return Ending.looks > 4

    answer = handlers["timeline"]({"host": HOST}, Ending())
    receipt = answer["receipt"]
    assert receipt["partial"]
    assert receipt["days"] == [DAYS[-1]]
    assert [gap["day"] for gap in receipt["missing"]] == [DAYS[1], DAYS[0]]
    assert answer["watched_hours"] <= 24
    with pytest.raises(RequestError, match="time for this request is over"):
        handlers["timeline"]({"host": HOST}, Deadline.after(0))


def test_the_same_as_of_gives_the_same_answer(world: Any, handlers: Any) -> None:
    """What comes later does not change an answer about what was there then."""
    before = ask(handlers)
    world.write(DAYS[-1], world.make(DAYS[-1], 50, "later"))
    as_of = before["receipt"]["as_of"]
    after = handlers["timeline"]({"host": HOST, "as_of": as_of}, SOON)
    for answer in (before, after):
        answer["receipt"].pop("took_ms")
    assert before == after
