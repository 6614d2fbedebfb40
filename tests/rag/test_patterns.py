"""Answers in patterns: what is said of each is about all its events, and floods do not hide other patterns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.fusion import FusionWeights
from services.common.rpc import Deadline
from services.rag.arguments import parse_filters
from services.rag.patterns import EXAMPLES, NAMED
from services.rag.scope import Bounds
from services.rag.searcher import Searcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.rag.catalog import Catalog, Snapshot

OLD, NEW, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"
INDICES = ("attack", "semantic", "temporal", "fused")
WEIGHTS = FusionWeights(attack=2.0, semantic=1.0, temporal=0.5)
SOON = Deadline()


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """Two sealed days and an open one: each has 400 events of a flood of its own, and 40 others of which ten repeat."""
    repeated = world.make(OLD, 10)
    for day in (OLD, NEW, OPEN):
        again = [_on(event, day) for event in repeated]
        world.write(day, [*world.make(day, 30), *again, *world.flood(day, 200)])
        if day != OPEN:
            world.seal(day)
    return follow(world)


def _on(event: Any, day: str) -> Any:
    """The same event on another day."""
    found = type(event).FromString(event.SerializeToString())
    found.event_id = f"{event.event_id}-{day}"
    found.event_timestamp.seconds += (int(day[-2:]) - int(OLD[-2:])) * 86_400
    return found


@pytest.fixture
def searcher(world: Any, small_queries: Any) -> Searcher:
    return Searcher(small_queries(world), WEIGHTS)


def plain(snapshot: Snapshot, passes: Callable[[Mapping[str, Any]], bool]) -> dict[str, list[dict[str, Any]]]:
    """The events that pass, by narrative, without the code under test."""
    found: dict[str, list[dict[str, Any]]] = {}
    for segment in snapshot.segments:
        for fields in segment.view.events.fetch(range(segment.view.rows)):
            if passes({**fields, "day": segment.view.day}):
                found.setdefault(fields["narrative"], []).append(fields)
    return found


FILTERS: tuple[tuple[dict[str, Any], Callable[[Mapping[str, Any]], bool]], ...] = (
    ({}, lambda _: True),
    ({"class": "ddos"}, lambda event: event["class"] == "DDoS"),
    ({"days": [OLD, OPEN]}, lambda event: event["day"] != NEW),
    ({"src": "10.0.0.0/26"}, lambda event: event["src_ip"].startswith("10.0.0.") and _last(event) < 64),
    ({"days": NEW, "min_overall": 0.5}, lambda event: event["day"] == NEW and event["overall"] > 0.49),
)


def _last(event: Mapping[str, Any]) -> int:
    return int(event["src_ip"].rpartition(".")[2])


@pytest.mark.parametrize(("raw", "passes"), FILTERS)
@pytest.mark.parametrize("index", ["attack", "fused"])
def test_a_pattern_is_told_from_all_its_events(
    catalog: Catalog, searcher: Searcher, index: str, raw: dict[str, Any], passes: Any
) -> None:
    """Count, span, classes and hosts are those of a plain count over the events that pass, whatever k is."""
    with catalog.lease() as snapshot:
        events = plain(snapshot, passes)
        for k in (1, 7, 1000):
            for asked in ("flood", "e"):
                event_id = next(i for i in _ids(snapshot) if i.startswith(asked))
                answer = searcher.similar_patterns(snapshot, event_id, index, Bounds(k, parse_filters(raw)))
                assert answer["patterns"] == len(events)
                assert answer["groups"]
                for group in answer["groups"]:
                    _check(group, events[group["narrative"]])


def _ids(snapshot: Snapshot) -> list[str]:
    return [
        fields["event_id"] for s in snapshot.segments for fields in s.view.events.fetch(range(s.view.rows))
    ]


def _check(group: Mapping[str, Any], events: list[dict[str, Any]]) -> None:
    times = sorted(event["time"] for event in events)
    assert group["count"] == len(events)
    assert (group["first_seen"], group["last_seen"]) == (times[0], times[-1])
    assert group["classes"] == Counter(event["class"] for event in events)
    for name, column in (("sources", "src_ip"), ("destinations", "dst_ip")):
        hosts, told = Counter(event[column] for event in events), group["hosts"][name]
        assert len(told["most"]) == min(len(hosts), NAMED)
        if told["at_least"]:
            assert 64 < told["count"] <= len(hosts)
            assert all(host["events"] <= hosts[host["address"]] for host in told["most"])
        else:
            assert told["count"] == len(hosts)
            assert [host["events"] for host in told["most"]] == [n for _, n in hosts.most_common(NAMED)]
            assert all(host["events"] == hosts[host["address"]] for host in told["most"])


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("raw", [{}, {"min_overall": 0.0}])
def test_a_flood_does_not_hide_other_patterns(
    catalog: Catalog, searcher: Searcher, index: str, raw: dict[str, Any]
) -> None:
    """Asked for events like one of a flood, single events are all of it; patterns are as many as were asked for."""
    with catalog.lease() as snapshot:
        event_id = next(i for i in _ids(snapshot) if i.startswith("flood"))
        bounds = Bounds(12, parse_filters(raw))
        flat = searcher.similar(snapshot, event_id, index, bounds)["hits"]
        assert {hit["event_id"].partition("-")[0] for hit in flat} == {"flood"}
        answer = searcher.similar_patterns(snapshot, event_id, index, bounds)
        groups = answer["groups"]
        assert len({group["narrative"] for group in groups}) == len(groups) == 12
        assert groups[0]["narrative"] == answer["event"]["narrative"]
        scores = [round(group["score"], 5) for group in groups]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("index", INDICES)
def test_examples_are_the_best_events_of_their_pattern(
    catalog: Catalog, searcher: Searcher, index: str
) -> None:
    """Up to three, each once, never the event asked about; the pattern has the facts of the first."""
    with catalog.lease() as snapshot:
        for event_id in _ids(snapshot)[::97]:
            for group in searcher.similar_patterns(snapshot, event_id, index, Bounds(20))["groups"]:
                examples = group["examples"]
                ids = [example["event_id"] for example in examples]
                assert event_id not in ids
                assert 1 <= len(set(ids)) == len(ids) <= EXAMPLES
                assert {example["narrative"] for example in examples} == {group["narrative"]}
                scores = [example["score"] for example in examples]
                assert scores[0] == group["score"] == pytest.approx(max(scores), abs=1e-5)
                assert group["index"] == index
                assert ("distance" in group, "scores" in group) == (index != "fused", index == "fused")


@pytest.mark.parametrize("index", ["attack", "semantic", "temporal"])
def test_patterns_of_one_index_are_those_of_its_single_events(
    catalog: Catalog, searcher: Searcher, index: str
) -> None:
    """The patterns come in the order in which single events first show them, at the same distances."""
    with catalog.lease() as snapshot:
        for event_id in _ids(snapshot)[::61]:
            hits = searcher.similar(snapshot, event_id, index, Bounds(1000))["hits"]
            nearest: dict[str, float] = {}
            for hit in hits:
                nearest.setdefault(hit["narrative"], round(hit["distance"], 5))
            groups = searcher.similar_patterns(snapshot, event_id, index, Bounds(5))["groups"]
            found = {group["narrative"]: round(group["distance"], 5) for group in groups}
            among_the_nearest = {hit["narrative"] for hit in hits[:50]}
            first = list(nearest)[: min(5, len(among_the_nearest))]
            assert sorted(nearest[text] for text in first) == sorted(found.values())[: len(first)]


def test_patterns_of_days_of_two_models_are_one(
    world: Any, follow: Any, small_queries: Any, small_embedder: Any
) -> None:
    """The same behaviour on days that two models embedded is one pattern, with an event of each as an example."""
    old = world.fill(OLD, 40, sealed=True)
    newer = tuple(
        small_embedder(name, metric, 2)
        for name, metric in (("attack", "l2"), ("semantic", "cosine"), ("temporal", "l2"))
    )
    world.embedders = replace(world.embedders, **{embedder.name: embedder for embedder in newer})
    world.write(NEW, [_on(event, NEW) for event in old])
    world.seal(NEW)
    searcher = Searcher(small_queries(world, *newer, *_first_models(small_embedder)), WEIGHTS)
    with follow(world).lease() as snapshot:
        for index in INDICES:
            groups = searcher.similar_patterns(snapshot, old[3].event_id, index, Bounds(5))["groups"]
            twin = next(g for g in groups if g["examples"][0]["event_id"] == f"{old[3].event_id}-{NEW}")
            assert twin["score"] >= groups[-1]["score"] - 1e-5
            assert twin["count"] >= 2
            assert twin["first_seen"][:10] == OLD
            assert twin["last_seen"][:10] == NEW


def _first_models(small: Any) -> tuple[Any, ...]:
    return small("attack", "l2"), small("semantic", "cosine"), small("temporal", "cosine")


def test_patterns_grow_and_are_sealed_without_a_change(
    world: Any, follow: Any, searcher: Searcher, until: Any
) -> None:
    """What comes to an open day counts at once; the sealed day says the same of each pattern."""
    world.write(OPEN, [*world.make(OPEN, 30), *world.flood(OPEN, 20)])
    catalog = follow(world)

    def ask() -> list[dict[str, Any]]:
        with catalog.lease() as snapshot:
            flood = next(i for i in sorted(world.events) if i.startswith("flood"))
            groups = searcher.similar_patterns(snapshot, flood, "semantic", Bounds(1000))["groups"]
        facts = ("narrative", "count", "first_seen", "last_seen", "classes", "hosts")
        return sorted(({key: g[key] for key in facts} for g in groups), key=lambda told: told["narrative"])

    before = ask()
    world.write(OPEN, world.flood(OPEN, 5))
    until(lambda: sum(told["count"] for told in ask()) == sum(told["count"] for told in before) + 9)
    opened = ask()
    world.seal(OPEN)
    until(lambda: all(segment.view.sealed for segment in _segments(catalog)))
    assert ask() == opened


def _segments(catalog: Catalog) -> list[Any]:
    with catalog.lease() as snapshot:
        return [segment for segment in snapshot.segments if segment.view.rows]


def test_an_operation_gives_patterns_or_events(world: Any, replica: Any) -> None:
    """`similar` answers in patterns, with 'flat' in events; nothing passes: nothing is found."""
    events = world.fill(OPEN, 30, sealed=False)
    ask = replica(world)["similar"]
    answer = ask({"event_id": events[0].event_id, "k": 3}, SOON)
    assert len(answer["groups"]) == 3
    assert "hits" not in answer
    flat = ask({"event_id": events[0].event_id, "k": 3, "flat": True}, SOON)
    assert len(flat["hits"]) == 3
    assert "groups" not in flat
    nothing = ask({"event_id": events[0].event_id, "filters": {"node": "nowhere"}}, SOON)
    assert (nothing["groups"], nothing["patterns"], nothing["receipt"]["rows"]) == ([], 0, 0)


def test_patterns_are_completed_by_meaning(world: Any, follow: Any, searcher: Searcher) -> None:
    """Where one index sees only a flood, the rest comes from the semantic one, and the receipt says what that lacks."""
    world.write(OLD, [*world.make(OLD, 20), *world.flood(OLD, 200)])
    world.seal(OLD)
    world.state.day(OLD).generation(1).index_current("semantic").unlink()
    flood = next(i for i in sorted(world.events) if i.startswith("flood"))
    with follow(world).lease() as snapshot:
        answer = searcher.similar_patterns(snapshot, flood, "attack", Bounds(10))
    assert {"day": OLD, "index": "semantic", "reason": "not built yet"} in answer["receipt"]["missing"]
    assert answer["patterns"] > len(answer["groups"])
