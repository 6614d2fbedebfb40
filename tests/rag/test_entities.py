"""Hosts like a host: of sealed and open days, of one model and of several, with receipts of what was missing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.day_hosts import find_hosts
from services.common.errors import UsageError
from services.common.rpc import Deadline, NotFound, RequestError
from services.rag.arguments import parse_filters
from services.rag.entities import Entities, address_text
from services.rag.hosts_on_demand import HostsOnDemand
from services.rag.models import StoredModels
from services.rag.scope import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.common.events.network_security_pb2 import NetworkSecurityEvent

FIRST, SECOND, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"
HOST = "192.168.10.5"


def _hosts_of(events: list[NetworkSecurityEvent]) -> set[str]:
    flows = [event.network_features for event in events]
    return {flow.source_ip for flow in flows} | {flow.destination_ip for flow in flows}


def _named(hits: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(hit["address"], hit["day"]) for hit in hits]


@pytest.fixture
def ask(world: Any, follow: Any, small_entities: Any) -> Any:
    """`ask(text, k, **filters)` over two sealed days and an open one."""
    for day, sealed in ((FIRST, True), (SECOND, True), (OPEN, False)):
        world.fill(day, 80, sealed=sealed)
    catalog, entities = follow(world), small_entities(world)

    def similar(text: str, k: int = 100, **filters: Any) -> dict[str, Any]:
        with catalog.lease() as snapshot:
            return dict(entities.similar(snapshot, text, Bounds(k, parse_filters(filters))))

    return similar


def test_every_host_of_every_day_but_itself_is_an_answer(world: Any, ask: Any) -> None:
    """All hosts of sealed and open days come, each day's own once, the nearest first, and the receipt counts them."""
    answer = ask(f"{HOST}@{FIRST}")
    expected = {
        (host, day)
        for day in (FIRST, SECOND, OPEN)
        for host in _hosts_of([event for event_id, event in world.events.items() if day in event_id])
    }
    found = _named(answer["hits"])
    assert len(found) == len(set(found))
    assert set(found) == expected - {(HOST, FIRST)}
    distances = [hit["distance"] for hit in answer["hits"]]
    assert distances == sorted(distances)
    assert answer["receipt"]["rows"] == len(expected)
    assert answer["receipt"]["models"] == {"entity": [world.embedders.entity.model_id]}
    assert answer["receipt"]["missing"] == []
    assert ask(f"{HOST}@{FIRST}", 3)["hits"] == answer["hits"][:3]


def test_distances_are_those_of_the_profiles(world: Any, ask: Any, follow: Any) -> None:
    """A hit's distance is Euclidean between the embedded profiles of the two hosts, each on its own day."""
    vectors: dict[tuple[str, str], Any] = {}
    with follow(world).lease() as snapshot:
        for view in (segment.view for segment in snapshot.segments):
            hosts = find_hosts([view])
            places = [(view.day, address_text(address.tobytes())) for address in hosts.facts["address"]]
            vectors |= zip(places, world.embedders.entity.embed(hosts.profiles), strict=True)
    for hit in ask(f"{HOST}@{OPEN}")["hits"]:
        expected = np.linalg.norm(vectors[hit["day"], hit["address"]] - vectors[OPEN, HOST])
        assert hit["distance"] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_without_a_day_the_newest_that_has_the_host_is_asked(
    world: Any, follow: Any, small_entities: Any, ask: Any
) -> None:
    """The open day where the host was seen there, an older one where it was not; every way to write an address."""
    assert ask(HOST)["host"]["day"] == OPEN
    (event,) = world.make("2026-01-19", 1)
    event.network_features.source_ip = "203.0.113.77"
    world.write("2026-01-19", [event])
    with follow(world).lease() as snapshot:
        assert (
            small_entities(world).similar(snapshot, "203.0.113.77", Bounds(1))["host"]["day"] == "2026-01-19"
        )
    assert ask(f"::ffff:{HOST}")["host"]["address"] == HOST
    assert ask("2001:DB8::1")["host"]["address"] == "2001:db8::1"


def test_a_host_is_told_in_numbers_and_words(world: Any, ask: Any) -> None:
    """Events, peers, verdicts and hours of a host are those of its events."""
    own = [
        event for event_id, event in world.events.items() if FIRST in event_id and HOST in _hosts_of([event])
    ]
    began = [event for event in own if event.network_features.source_ip == HOST]
    host = ask(f"{HOST}@{FIRST}")["host"]
    assert host["out"]["events"] == len(began)
    assert host["out"]["peers"] == len({event.network_features.destination_ip for event in began})
    flows = [event.network_features for event in began]
    assert host["out"]["bytes"] == sum(flow.total_forward_bytes + flow.total_backward_bytes for flow in flows)
    assert host["active_hours"] == sorted({event.event_timestamp.ToDatetime().hour for event in own})
    sides = [
        e for e in own for end in ("source_ip", "destination_ip") if getattr(e.network_features, end) == HOST
    ]
    malicious = np.mean([event.final_classification == "MALICIOUS" for event in sides])
    assert host["verdicts"]["malicious"] == pytest.approx(malicious, abs=1e-4)
    assert f"began {len(began)} events with {host['out']['peers']} hosts" in host["summary"]
    times = [event.event_timestamp.ToNanoseconds() for event in own]
    assert host["first_seen"][:19] == np.datetime64(min(times), "ns").astype(str)[:19]
    assert host["last_seen"][:19] == np.datetime64(max(times), "ns").astype(str)[:19]


def test_days_and_networks_filter_hosts(ask: Any) -> None:
    """`days` and `host` choose among the answers, not what is asked about; other filters are refused by name."""
    answer = ask(f"{HOST}@{OPEN}", days=SECOND, host="10.0.0.0/8")
    assert _named(answer["hits"]) == [("10.1.2.3", SECOND)]
    assert (answer["receipt"]["days"], answer["receipt"]["rows"]) == ([SECOND], 1)
    with pytest.raises(
        UsageError, match=r"by days and host, not by since, class: .* with all its events of a day"
    ):
        ask(HOST, **{"since": "2026-01-20", "class": "BENIGN"})


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("event-7", UsageError, "'event-7' is no address: .* IP or IP@DAY"),
        ("10.0.0.999", UsageError, "is no address"),
        (f"{HOST}@yesterday", UsageError, "'yesterday' is not a day"),
        ("203.0.113.9", NotFound, "There is no host 203.0.113.9 on any day here"),
        (f"203.0.113.9@{FIRST}", NotFound, f"203.0.113.9 was not seen on {FIRST}"),
        (f"203.0.113.9@{OPEN}", NotFound, f"203.0.113.9 was not seen on {OPEN}"),
        (f"{HOST}@2025-12-31", NotFound, "no event of 2025-12-31 here"),
    ],
)
def test_what_is_no_known_host_is_refused_in_a_sentence(
    ask: Any, text: str, kind: type, sentence: str
) -> None:
    """Bad text, an unknown address and a day without the host each have their own sentence."""
    with pytest.raises(kind, match=sentence):
        ask(text)


def test_late_events_of_a_sealed_day_count(world: Any, follow: Any, small_entities: Any) -> None:
    """A sealed day with late events is answered from both: the same as after sealing it again."""
    world.fill(FIRST, 60, sealed=True)
    world.write(FIRST, world.make(FIRST, 30, "late"), segment=2)
    entities = small_entities(world)
    with follow(world).lease() as snapshot:
        before = entities.similar(snapshot, f"{HOST}@{FIRST}", Bounds(50))
    world.seal(FIRST, 2)
    with follow(world).lease() as snapshot:
        after = small_entities(world).similar(snapshot, f"{HOST}@{FIRST}", Bounds(50))
    assert before["host"] == after["host"]
    assert before["receipt"]["missing"] == []
    for one, other in zip(before["hits"], after["hits"], strict=True):
        assert one == other | {"distance": pytest.approx(other["distance"], abs=1e-4), "score": one["score"]}


def test_open_hosts_are_made_again_when_rows_come_but_not_all_the_time(
    world: Any, follow: Any, small_entities: Any, until: Any
) -> None:
    """After new rows the answer may be of the rows before, and says so; when the time has passed it is of all."""
    world.fill(OPEN, 50, sealed=False)
    now = [0.0]

    def clock() -> float:
        now[0] += (
            1.0  # every look at the clock takes a second, so making takes one, and is repeated after ten
        )
        return now[0]

    entities, catalog = small_entities(world, monotonic=clock), follow(world)

    def asked() -> dict[str, Any]:
        with catalog.lease() as snapshot:
            return dict(entities.similar(snapshot, HOST, Bounds(5)))

    first = asked()
    assert asked()["host"] == first["host"]
    world.write(OPEN, world.make(OPEN, 10))
    until(lambda: asked()["receipt"]["missing"] != [])
    (missing,) = asked()["receipt"]["missing"]
    assert missing == {"day": OPEN, "index": "entity", "reason": "the hosts are those of 50 of 60 events"}
    now[0] += 100.0
    assert asked()["receipt"]["missing"] == []
    assert asked()["host"] != first["host"]


def test_days_of_two_models_are_each_asked_with_their_own(
    world: Any, follow: Any, small_entities: Any, small_embedder: Any
) -> None:
    """Hits of two models take turns by rank; a day whose model is gone is left out, and the receipt says so."""
    world.fill(FIRST, 60, sealed=True)
    older = world.embedders.entity
    newer = small_embedder("entity", "l2", 2)
    object.__setattr__(world.embedders, "entity", newer)
    world.fill(SECOND, 60, sealed=True)
    object.__setattr__(world.embedders, "entity", older)
    with follow(world).lease() as snapshot:
        both = small_entities(world, newer).similar(snapshot, f"{HOST}@{SECOND}", Bounds(8))
        gone = small_entities(world).similar(snapshot, f"{HOST}@{FIRST}", Bounds(50))
    assert both["receipt"]["models"] == {"entity": sorted([older.model_id, newer.model_id])}
    assert both["receipt"]["missing"] == []
    models = [hit["model"] for hit in both["hits"]]
    assert [set(models[place : place + 2]) for place in (0, 2, 4)] == [{older.model_id, newer.model_id}] * 3
    assert {hit["day"] for hit in gone["hits"]} == {FIRST}
    (missing,) = gone["receipt"]["missing"]
    assert (missing["day"], missing["index"]) == (SECOND, "entity")
    assert f"made by model {newer.model_id}, which cannot be used" in missing["reason"]


def test_without_a_model_open_days_are_missing_and_sealed_ones_serve(
    world: Any, follow: Any, tmp_path: Path
) -> None:
    """An open day is left out, one with late events is answered from what is sealed, and the receipt says why."""
    world.fill(FIRST, 40, sealed=True)
    world.write(FIRST, world.make(FIRST, 20, "late"), segment=2)
    world.fill(OPEN, 40, sealed=False)
    models = StoredModels(tmp_path)
    entities = Entities(models, HostsOnDemand(models))
    with follow(world).lease() as snapshot:
        answer = entities.similar(snapshot, HOST, Bounds(20))
        with pytest.raises(NotFound, match=f"hosts of {OPEN} cannot be searched now: No entity model is in"):
            entities.similar(snapshot, f"{HOST}@{OPEN}", Bounds(20))
    assert {hit["day"] for hit in answer["hits"]} == {FIRST} == {answer["host"]["day"]}
    assert [entry["day"] for entry in answer["receipt"]["missing"]] == [OPEN, FIRST]
    assert all("No entity model is in" in entry["reason"] for entry in answer["receipt"]["missing"])


def test_who_asks_meanwhile_waits_for_one_making(world: Any, follow: Any, small_entities: Any) -> None:
    """Several questions at once about an open day make its hosts once, and get the same answer."""
    world.fill(OPEN, 60, sealed=False)
    entities = small_entities(world)
    makings: list[int] = []
    embed = world.embedders.entity.embed

    class Slow:
        model_id, name, dim, metric = (
            world.embedders.entity.model_id,
            "entity",
            world.embedders.entity.dim,
            "l2",
        )

        def embed(self, profiles: Any) -> Any:
            makings.append(len(profiles))
            threading.Event().wait(0.2)
            return embed(profiles)

    slow = Entities(entities.models, HostsOnDemand(_Only(Slow())))
    with follow(world).lease() as snapshot, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(slow.similar, snapshot, HOST, Bounds(3)) for _ in range(4)]
        hits = [future.result()["hits"] for future in asked]
    assert len(makings) == 1
    assert hits == [hits[0]] * 4


def test_an_open_day_written_anew_has_its_own_hosts(
    world: Any, make_world: Any, follow: Any, small_entities: Any, tmp_path: Path
) -> None:
    """As many events in a segment of the same name are not the same events, and their hosts not the same hosts."""
    again = make_world(tmp_path / "again")
    again.rng = np.random.default_rng(2)
    hosts = HostsOnDemand(
        small_entities(world).models, lambda: 0.0
    )  # making takes no time, and is not put off
    for one in (world, again):
        one.fill(OPEN, 60, sealed=False)
    for exact in (False, True):
        with follow(world).lease() as before, follow(again).lease() as after:
            first, second, third = (
                hosts.of([segment.view for segment in snapshot.segments], exact=exact)
                for snapshot in (before, after, after)
            )
        assert first is not second
        assert second is third


@dataclass(frozen=True)
class _Only:
    """`HostModels` that have one model."""

    embedder: Any

    def profiles(self, _model_id: str) -> Any:
        return self.embedder

    def active_profiles(self) -> Any:
        return self.embedder


def test_a_deadline_ends_the_search(world: Any, follow: Any, small_entities: Any) -> None:
    """A question whose time is over is not answered."""
    world.fill(FIRST, 20, sealed=True)
    with (
        follow(world).lease() as snapshot,
        pytest.raises(RequestError, match="time for this request is over"),
    ):
        small_entities(world).similar(snapshot, HOST, Bounds(5, deadline=Deadline(0.0)))
