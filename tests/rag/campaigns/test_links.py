"""The weight of what sightings share, computed here one by one, and which links it makes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from services.common.days.columns import pack_address
from services.common.rpc import Deadline
from services.rag.campaigns import links
from services.rag.campaigns.likeness import Likeness
from services.rag.campaigns.links import Linker, Union
from services.rag.campaigns.rarity import Around, look_around, network_of, purities, rarity
from services.rag.campaigns.sightings import EVENT, Sightings, gather
from services.rag.filters import Filters
from services.rag.networks import INTERNAL, addresses_in, parse_networks
from services.rag.scope import Bounds, Scope

DAYS = ("2026-01-20", "2026-01-21")
OUTSIDE = [f"198.51.{number}.1" for number in range(400)]


def sightings(*each: tuple[str, list[str], str]) -> Sightings:
    """Sightings with a source, destinations and a kind; one event for each destination, in order of time."""
    names = list(dict.fromkeys(name for source, targets, _ in each for name in (source, *targets)))
    texts = list(dict.fromkeys(["", *(kind for *_, kind in each)]))
    table = np.zeros(sum(len(targets) for _, targets, _ in each), EVENT)
    starts = np.cumsum([0, *(len(targets) for _, targets, _ in each)])
    table["time_ns"] = np.arange(len(table))
    for (source, targets, kind), start in zip(each, starts.tolist(), strict=False):
        here = slice(start, start + len(targets))
        table["src"][here], table["kind"][here] = names.index(source), texts.index(kind)
        table["dst"][here] = [names.index(target) for target in targets]
    addresses = [pack_address(name) for name in names]
    return Sightings(table, starts, np.ones(len(each), bool), DAYS, addresses, texts)


def around(found: Sightings, more: dict[str, int] | None = None, hosts: int = 1000) -> Around:
    """Hosts that do nothing but what matters, apart from some that have more peers, with one event each."""
    mine = np.array([(more or {}).get(name, 0) for name in _names(found)], np.int64)
    only = Around(np.zeros(0, np.int64), np.zeros(0, np.int64), hosts, 100, _networks(found))
    pairs = {(int(e["src"]), int(e["dst"])) for e in found.table}
    peers = [len({a + b - h for a, b in pairs if h in {a, b}}) for h in range(len(found.addresses))]
    events = [
        int(np.count_nonzero((found.table["src"] == h) | (found.table["dst"] == h)))
        for h in range(len(peers))
    ]
    return Around(np.array(events) + mine, np.array(peers) + mine, only.hosts, only.inside, only.networks)


def _names(found: Sightings) -> list[str]:
    from services.rag.entities import address_text  # noqa: PLC0415 - only for this

    return [address_text(address) for address in found.addresses]


def _networks(found: Sightings) -> dict[bytes, int]:
    keys, counts = np.unique(network_of(found.addresses), return_counts=True)
    return dict(zip(keys.tolist(), counts.tolist(), strict=True))


def linked(
    found: Sightings, seen: Around | None = None, likeness: Likeness | None = None
) -> list[tuple[Any, ...]]:
    """The links: kind, weight and members."""
    table = np.frombuffer(b"".join(found.addresses), np.uint8).reshape(-1, 16)
    linker = Linker(
        found, seen or around(found), likeness or Likeness(), addresses_in(table, parse_networks(INTERNAL))
    )
    made, whole = linker.links(Deadline())
    assert whole
    return [(link.kind, round(link.weight, 3), list(link.members)) for link in made]


def test_the_same_source_is_enough() -> None:
    """What one host does belongs together; what two do on hosts of their own does not."""
    found = sightings(
        ("10.0.0.1", [OUTSIDE[0]], "a"), ("10.0.0.2", [OUTSIDE[1]], "b"), ("10.0.0.1", [OUTSIDE[2]], "c")
    )
    assert linked(found) == [("source", 1.0, [0, 2])]


def test_a_rare_destination_outside_links_and_a_common_one_does_not() -> None:
    """Two that call one host outside are linked, unless many others do, or it is a server of one's own."""
    found = sightings(("10.0.0.1", [OUTSIDE[0]], "a"), ("10.0.0.2", [OUTSIDE[0]], "b"))
    weight = round(1 - math.log(2) / math.log(1000), 3)
    assert linked(found) == [("destination", weight, [0, 1])]
    assert linked(found, around(found, {OUTSIDE[0]: 20})) == []
    inside = sightings((OUTSIDE[0], ["10.0.0.1"], "a"), (OUTSIDE[1], ["10.0.0.1"], "b"))
    assert linked(inside) == []


def test_likeness_and_kind_help_a_weak_link_and_make_none() -> None:
    """A server of one's own that two attack links them where the attacks are alike and of one rare kind."""
    attacks = [(OUTSIDE[0], ["10.0.0.1"], "a"), (OUTSIDE[1], ["10.0.0.1"], "a")]
    others = [(OUTSIDE[number], [f"10.0.1.{number}"], "b") for number in range(2, 20)]
    found = sightings(*attacks, *others)
    seen = around(
        found, {"10.0.0.1": 2}
    )  # half of what it does matters: with its kind alone it is too little
    rows = np.zeros((20, 2), np.float32)
    rows[:, 0] = np.arange(20) // 2 * 10  # each has one at its side
    alike = Likeness({n: ("m", n) for n in range(20)}, {"m": rows}, {"m": 0.0})
    (link,) = linked(found, seen, alike)
    assert (link[0], link[2]) == ("destination", [0, 1])
    assert link[1] == round(0.5 * 0.5 * (1 - math.log(4) / math.log(1000)), 3)
    models = {f"m{n}": rows for n in range(2)}
    of_two_models = Likeness({n: (f"m{n % 2}", n) for n in range(20)}, models, dict.fromkeys(models, 0.0))
    apart = Likeness(alike.places, {"m": rows + np.arange(20, dtype=np.float32)[:, None]}, alike.radii)
    for likeness in (apart, of_two_models, Likeness()):
        assert linked(found, seen, likeness) == []
    other_kind = sightings(attacks[0], (OUTSIDE[1], ["10.0.0.1"], "c"), *others)
    assert linked(other_kind, around(other_kind, {"10.0.0.1": 2}), alike) == []
    assert linked(sightings(*others), likeness=alike) == []


def test_who_was_hit_and_acts_later_is_a_stepping_stone() -> None:
    """A host that few came to and that acts afterwards links both; not where it acted before, nor after a wide scan."""
    hit, acts = (OUTSIDE[0], ["10.0.0.1"], "a"), ("10.0.0.1", [OUTSIDE[5]], "b")
    assert linked(sightings(hit, acts)) == [("stepping_stone", 1.0, [0, 1])]
    assert linked(sightings(acts, hit)) == []
    scan = (OUTSIDE[0], [f"10.0.0.{number}" for number in range(1, 51)], "a")
    assert linked(sightings(scan, acts)) == []
    three = [(OUTSIDE[number], ["10.0.0.1"], "a") for number in range(3)]
    assert linked(sightings(*three, acts)) == [], "a third of a stepping stone is too little"


def test_a_network_of_strangers_links_where_little_else_is_seen_of_it() -> None:
    """Two of one /24 outside are linked; not where two more of it were seen at harmless things, and never inside."""
    found = sightings(("203.0.113.7", ["10.0.0.1"], "a"), ("203.0.113.9", ["10.0.0.2"], "b"))
    assert linked(found) == [("network", 0.5, [0, 1])]
    seen = around(found)
    crowded = Around(seen.events, seen.peers, seen.hosts, seen.inside, dict.fromkeys(seen.networks, 4))
    assert linked(found, crowded) == []
    inside = sightings(("10.0.0.7", [OUTSIDE[0]], "a"), ("10.0.0.9", [OUTSIDE[1]], "b"))
    assert linked(inside) == []


def test_networks_are_those_of_either_protocol() -> None:
    """/24 of IPv4 and /48 of IPv6."""
    names = ["203.0.113.7", "203.0.113.9", "203.0.114.9", "2001:db8:1:2::3", "2001:db8:1:7::", "2001:db8:2::"]
    found = network_of([pack_address(name) for name in names]).tolist()
    assert found[0] == found[1] != found[2]
    assert found[3] == found[4] != found[5]
    assert found[3] == pack_address("2001:db8:1::")


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more pairs would have to be compared than may, the answer is said not to be whole."""
    found = sightings(*((OUTSIDE[number], ["10.0.0.1"], "a") for number in range(3)))
    table = np.frombuffer(b"".join(found.addresses), np.uint8).reshape(-1, 16)
    inside = addresses_in(table, parse_networks(INTERNAL))
    linker = Linker(found, around(found), Likeness(), inside)
    assert linker.links(Deadline())[1]
    monkeypatch.setattr(links, "MOST_PAIRS", 2)
    assert not linker.links(Deadline())[1]
    assert not linker.links(Deadline.after(0))[1]


def test_sets_that_are_joined_are_one() -> None:
    """Whatever the order in which pairs are joined, the sets are the same, known by their lowest number."""
    pairs = [(1, 5), (5, 3), (2, 4), (7, 7)]
    for order in itertools.permutations(pairs):
        union = Union(8)
        for one, other in order:
            union.join(one, other)
        assert union.sets(range(8)) == [[0], [1, 3, 5], [2, 4], [6], [7]]
        assert union.root(5) == 1


def test_rarity_goes_from_one_to_all() -> None:
    """One of many is 1, all are 0, and nothing divides by zero."""
    assert rarity(1, 1000) == 1
    assert rarity(1000, 1000) == pytest.approx(0)
    assert rarity(10, 1000) == pytest.approx(2 / 3)
    assert rarity(5, 0) == rarity(5, 1) == 0


def test_what_was_seen_of_a_host_is_counted_from_all_events(world: Any, follow: Any) -> None:
    """Events, peers and purity of every host are those of plain loops over the events."""
    events = [event for day in DAYS for event in world.fill(day, 200, sealed=day == DAYS[0])]
    flows = [(e.network_features.source_ip, e.network_features.destination_ip) for e in events]
    bad = [pair for pair, event in zip(flows, events, strict=True) if _matters(event)]
    with follow(world).lease() as snapshot:
        found = gather(Scope(snapshot, Bounds(1)))
        scope = Scope(snapshot, Bounds(1))
        seen = look_around(scope, found.addresses, parse_networks(INTERNAL))
        pure = purities(found, seen)
    names = _names(found)
    assert seen.hosts == len({host for pair in flows for host in pair})
    own = {host for pair in flows for host in pair if host.startswith(("10.", "192.168.", "172.16."))}
    assert seen.inside == len(own)
    for number, host in enumerate(names):
        mine, mattering = _of(host, flows), _of(host, bad)
        assert (seen.events[number], seen.peers[number]) == (len(mine), len(set(mine)))
        share = min(len(mattering) / len(mine), len(set(mattering)) / len(set(mine)))
        assert pure[number] == pytest.approx(share)


def test_only_hosts_of_the_time_asked_about_are_counted(world: Any, follow: Any) -> None:
    """The hosts of a segment's other events do not make a shared one look rarer."""
    events = world.fill(DAYS[0], 30, sealed=False)
    times = sorted(event.event_timestamp.ToNanoseconds() for event in events)
    with follow(world).lease() as snapshot:
        scope = Scope(snapshot, Bounds(1, Filters(until_ns=times[1])))
        seen = look_around(scope, [], parse_networks(INTERNAL))
    flows = [e.network_features for e in events if e.event_timestamp.ToNanoseconds() == times[0]]
    assert seen.hosts == len({host for flow in flows for host in (flow.source_ip, flow.destination_ip)})


def _of(host: str, flows: list[tuple[str, str]]) -> list[str]:
    """Whom a host met, once for each flow."""
    return [source if target == host else target for source, target in flows if host in {source, target}]


def _matters(event: Any) -> bool:
    if event.final_classification:
        return bool(event.final_classification != "BENIGN")
    named = event.threat_category != "NORMAL" or "label" in event.custom_metadata
    return bool(named or event.overall_threat_score >= 0.5)
