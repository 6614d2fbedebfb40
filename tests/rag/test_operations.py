"""The operations of a replica: arguments refused by name, whole events, lists, days and totals."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import AppiaError, UsageError
from services.common.rpc import Deadline, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.rpc_server import Handler

OLD, OPEN = "2026-01-20", "2026-01-22"
SOON = Deadline()


@pytest.fixture
def ask(world: Any, replica: Any) -> Mapping[str, Handler]:
    """The operations of a replica over a sealed and an open day."""
    world.fill(OLD, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return replica(world)


def test_a_whole_event_comes_back(world: Any, ask: Any) -> None:
    """`get` gives every field of the contract by its name, from sealed and open days, and where the event lies."""
    for day, segment in ((OLD, "sealed-000001"), (OPEN, "open-000001")):
        event_id, event = next((i, e) for i, e in world.events.items() if day in i)
        answer = ask["get"]({"event_id": event_id}, SOON)
        assert (answer["day"], answer["segment"]) == (day, segment)
        flow = answer["event"]["network_features"]
        assert flow["source_ip"] == event.network_features.source_ip
        assert flow["destination_port"] == event.network_features.destination_port
        assert answer["event"]["event_id"] == answer["fields"]["event_id"] == event_id
        assert answer["fields"]["class"] == event.final_classification
        assert answer["fields"]["narrative"]


def test_an_event_that_json_cannot_hold_comes_as_text(world: Any, replica: Any) -> None:
    """A time outside the calendar in an attacker's event does not break `get`."""
    (event,) = world.make(OPEN, 1)
    event.network_features.flow_start_time.seconds = 2**62
    world.write(OPEN, [event])
    operations = replica(world)
    answer = operations["get"]({"event_id": event.event_id}, SOON)
    assert f"seconds: {2**62}" in answer["event"]["text_format"]


def test_damaged_bytes_are_a_sentence(world: Any, ask: Any) -> None:
    """An event whose bytes were changed on disk is not shown; the sentence says what to run."""
    event_id = next(i for i in world.events if OPEN in i)
    log = world.state.day(OPEN).segment(1).log(1)
    raw = log.read_bytes()
    log.write_bytes(raw.replace(event_id.encode(), b"x" * len(event_id)))
    with pytest.raises(AppiaError, match="appia verify"):
        ask["get"]({"event_id": event_id}, SOON)


def test_lists_go_by_time(world: Any, ask: Any) -> None:
    """`list` gives the newest or the oldest events over all days, with filters, never more than the limit."""
    by_time = sorted(world.events.values(), key=lambda e: e.event_timestamp.ToNanoseconds())
    times = [event.event_timestamp.ToNanoseconds() for event in by_time]
    for order, wanted in (("newest", times[::-1]), ("oldest", times)):
        answer = ask["list"]({"limit": 55, "order": order}, SOON)
        listed = [world.events[e["event_id"]].event_timestamp.ToNanoseconds() for e in answer["events"]]
        assert listed == wanted[:55]
    ddos = ask["list"]({"filters": {"class": "ddos"}, "limit": 100}, SOON)
    assert {event["class"] for event in ddos["events"]} == {"DDoS"}
    assert len(ddos["events"]) == sum(e.final_classification == "DDoS" for e in by_time)
    assert ddos["receipt"]["rows"] == len(ddos["events"])


def test_totals_are_exact(world: Any, ask: Any) -> None:
    """`stats` counts every event once by class, category, node and day, and says who answered."""
    answer = ask["stats"]({}, SOON)
    events = world.events.values()
    assert answer["rows"] == 100
    assert answer["classes"] == dict(Counter(e.final_classification for e in events))
    assert answer["categories"] == dict(Counter(e.threat_category for e in events))
    assert answer["nodes"] == dict(Counter(e.originating_node_id for e in events))
    assert answer["days"] == {OLD: 60, OPEN: 40}
    assert answer["hosts"] == {OLD: 7}
    assert answer["first_event"] < answer["last_event"]
    assert answer["replica"]["name"] == "rag-7"
    assert ask["ping"]({}, SOON)["pid"] == 42


def test_an_empty_state_has_totals(world: Any, replica: Any) -> None:
    """Without any event the counts are zero and the times absent."""
    operations = replica(world)
    answer = operations["stats"]({}, SOON)
    assert (answer["rows"], answer["first_event"], answer["classes"]) == (0, None, {})
    assert answer["receipt"]["newest_event"] is None
    assert operations["days"]({}, SOON)["days"] == []
    assert operations["list"]({}, SOON)["events"] == []


def test_days_tell_their_state(world: Any, ask: Any, until: Any) -> None:
    """`days` names each day with its state, rows and indices, also a damaged one and one with late events."""
    world.fill("2026-01-24", 5, sealed=True)
    world.write(OLD, world.make(OLD, 3), segment=2)
    damaged = world.state.day("2026-01-25")
    world.disk.make_folder(damaged.sealed_folder)
    world.disk.write_file(damaged.current, b"000001\n")
    until(lambda: len(ask["days"]({}, SOON)["days"]) == 4 and ask["stats"]({}, SOON)["rows"] == 108)
    days = {day["day"]: day for day in ask["days"]({}, SOON)["days"]}
    assert {name: day["state"] for name, day in days.items()} == {
        OLD: "sealed+open",
        OPEN: "open",
        "2026-01-24": "sealed",
        "2026-01-25": "damaged",
    }
    assert days["2026-01-24"]["rows"] == 5
    assert days["2026-01-24"]["indices"]["semantic"] == {
        "rows": 5,
        "generation": 1,
        "model": "semantic@000000000001",
    }
    assert days[OPEN]["indices"]["attack"]["generation"] == 0
    assert f"{damaged.sealed_folder}/000001 is missing" in days["2026-01-25"]["faults"][0]
    missing = ask["list"]({}, SOON)["receipt"]["missing"]
    assert [(entry["day"], entry["index"]) for entry in missing] == [("2026-01-25", "all")]


@pytest.mark.parametrize(
    ("op", "args", "said"),
    [
        ("similar", {}, "Give 'event_id'"),
        ("similar", {"event_id": 7}, "'event_id' must be a text"),
        ("similar", {"event_id": "x", "k": 0}, "'k' must be a whole number from 1 to 1000"),
        ("similar", {"event_id": "x", "k": 1001}, "'k' must be"),
        ("similar", {"event_id": "x", "k": True}, "'k' must be"),
        ("similar", {"event_id": "x", "k": 5.0}, "'k' must be"),
        ("similar", {"event_id": "x", "index": ["attack"]}, "'index' must be one of"),
        ("similar", {"event_id": "x", "index": "none"}, "'index' must be one of fused, attack"),
        ("similar", {"event_id": "x", "filters": []}, "'filters' must be a map"),
        ("similar", {"event_id": "x", "filters": {"a": 1}}, "no filter 'a'"),
        (
            "similar",
            {"event_id": "x", "nearest": 1},
            "no argument 'nearest' of 'similar'; there are: event_id, host, k, index",
        ),
        ("search", {"text": None}, "'text' is missing"),
        ("search", {"text": " \n"}, "'text' must be a text that is not empty"),
        ("search", {"text": "x" * 1001}, "'text' must be a text of at most 1000 characters, not 1001"),
        ("search", {"text": "\ud800"}, "'text' must be a text of valid Unicode"),
        ("search", {"text": "x", "by": "attack"}, "'by' must be one of fused, meaning, words"),
        ("list", {"limit": -1}, "'limit' must be"),
        ("list", {"order": "random"}, "'order' must be one of newest, oldest"),
        ("get", {"event_id": ""}, "a text that is not empty"),
        ("days", {"all": True}, "no argument 'all' of 'days'; there are: as_of"),
        ("stats", {"x": 1}, "no argument 'x'"),
        ("ping", {"x": 1}, "no argument 'x'"),
    ],
)
def test_a_wrong_argument_is_named(ask: Any, op: str, args: dict[str, Any], said: str) -> None:
    """Every argument that is wrong is refused by its name."""
    with pytest.raises(AppiaError, match=re.escape(said)):
        ask[op](args, SOON)


def test_a_request_whose_time_is_over_is_not_answered(ask: Any) -> None:
    """The deadline is looked at before a snapshot is searched."""
    with pytest.raises(RequestError, match="time for this request is over"):
        ask["list"]({}, Deadline.after(-1))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
NAMES = ("event_id", "k", "index", "filters", "text", "limit", "order")


@given(
    op=st.sampled_from(["similar", "search", "get", "list"]),
    args=st.dictionaries(st.sampled_from(NAMES), VALUES),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_arguments_are_answered_or_refused(ask: Any, op: str, args: dict[str, Any]) -> None:
    """Whatever the arguments are, the outcome is an answer with a receipt or an AppiaError."""
    try:
        answer = ask[op](args, SOON)
    except AppiaError:
        return
    assert answer["receipt"]["took_ms"] >= 0


def test_a_day_with_a_damaged_database_does_not_hide_the_others(world: Any, replica: Any) -> None:
    """Events of sound days are found; for others the sentence names the damaged day, before and after it was opened."""
    world.fill(OLD, 20, sealed=True)
    world.fill(OPEN, 20, sealed=True)
    database = world.state.day(OPEN).generation(1).chunk / "metadata.db"
    database.chmod(0o644)
    opened_whole = replica(world)
    database.write_bytes(b"x" * database.stat().st_size)
    event_id = next(i for i in world.events if OLD in i)
    for operations, why in (
        (opened_whole, f"database of {OPEN} is damaged"),
        (replica(world), f"{OPEN} cannot be read"),
    ):
        assert operations["get"]({"event_id": event_id}, SOON)["day"] == OLD
        with pytest.raises(AppiaError, match=why):
            operations["get"]({"event_id": "unknown"}, SOON)


def test_hosts_and_events_are_not_confused(world: Any, ask: Any) -> None:
    """`similar` takes a host in the index of hosts and an event elsewhere; each mix-up of the two is explained."""
    answer = ask["similar"]({"host": "10.1.2.3", "index": "entity", "k": 3}, SOON)
    assert (answer["host"]["address"], answer["host"]["day"], len(answer["hits"])) == ("10.1.2.3", OPEN, 3)
    event_id = next(iter(world.events))
    for arguments, sentence in (
        ({"event_id": event_id, "index": "entity"}, "give 'host', not 'event_id'"),
        ({"host": event_id, "index": "entity"}, "is no address"),
        ({"host": "10.1.2.3", "index": "attack"}, "only the index entity compares hosts"),
        ({"event_id": "10.1.2.3"}, "the address of a host, not the id of an event"),
    ):
        with pytest.raises(UsageError, match=sentence):
            ask["similar"](arguments, SOON)


def test_days_tell_how_many_hosts_are_sealed(ask: Any) -> None:
    """`days` counts the hosts of a sealed day and names their model; an open day has none until somebody asks."""
    days = {day["day"]: day["hosts"] for day in ask["days"]({}, SOON)["days"]}
    assert days == {OLD: {"rows": 7, "generation": 1, "model": "entity@000000000001"}, OPEN: None}
