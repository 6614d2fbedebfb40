"""`novel` names what is farther from everything before than past events were, checked against plain comparisons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.names import day_start_ns
from services.common.errors import UsageError
from services.common.logs import make_logger
from services.common.rpc import Deadline, RequestError
from services.rag.arguments import parse_filters
from services.rag.catalog import Catalog
from services.rag.novelty.distances import Distances
from services.rag.novelty.finder import NovelQuestion, Novelty
from services.rag.scope import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.rpc_server import Handler
    from services.rag.catalog import Snapshot

DAYS = ("2026-01-18", "2026-01-19", "2026-01-20", "2026-01-21")
LAST = DAYS[-1]
ROWS = 120


def fill(world: Any) -> Any:
    """Three sealed days and an open one of random events; on the last some that are like nothing before."""
    for day in DAYS[:-1]:
        world.fill(day, ROWS, sealed=True)
    events = world.make(LAST, ROWS)
    for number, event in enumerate(events[:5]):
        event.network_features.total_forward_bytes = 10**14 + number
        event.network_features.flow_duration_microseconds = 10**13
        event.network_features.source_ip = "203.0.113.9"
        event.final_classification = "DDoS"
    world.write(LAST, events)
    return world


@pytest.fixture
def filled(world: Any) -> Any:
    """Days of its own for a test that changes them."""
    return fill(world)


@pytest.fixture(scope="module")
def snapshot(world_class: Any, tmp_path_factory: Any) -> Iterator[Snapshot]:
    """The days as they are, for tests that only ask."""
    world = fill(world_class(tmp_path_factory.mktemp("novel") / "state"))
    catalog = Catalog(world.state, make_logger("test"))
    catalog.start()
    assert catalog.wait_opened(30)
    with catalog.lease() as found:
        yield found
    catalog.stop()
    world.close()


def ask(snapshot: Snapshot, index: str = "attack", percentile: float = 99, **more: Any) -> dict[str, Any]:
    """The answer of a fresh replica."""
    bounds = Bounds(
        more.pop("k", 100), parse_filters(more.pop("filters", {})), more.pop("deadline", Deadline())
    )
    novelty = more.pop("novelty", None) or Novelty()
    return novelty.find(snapshot, NovelQuestion(more.pop("days", 1), index, percentile), bounds)


def plain(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Without the time that it took."""
    receipt = {name: value for name, value in answer["receipt"].items() if name != "took_ms"}
    return {**answer, "receipt": receipt}


@dataclass(frozen=True)
class Day:
    """The vectors and times of all events of a day."""

    vectors: np.ndarray
    times: np.ndarray
    narratives: list[str]


def read_day(snapshot: Snapshot, day: str, index: str) -> Day:
    views = [segment.view for segment in snapshot.segments if segment.view.day == day]
    return Day(
        np.array([view.indices[index].vector(row) for view in views for row in range(view.rows)], np.float64),
        np.concatenate([np.asarray(view.columns["time_ns"]) for view in views]),
        [view.texts[int(code)] for view in views for code in view.columns["narrative"]],
    )


def distances(index: str, one: np.ndarray, others: np.ndarray) -> np.ndarray:
    if index == "attack":
        return np.asarray(np.linalg.norm(others - one, axis=1))
    return np.asarray(np.maximum(1 - others @ one, 0))


def truth(snapshot: Snapshot, index: str, percentile: float) -> tuple[float, dict[str, int]]:
    """The threshold, and the number of novel events of the last day by narrative, by comparing every two events."""
    *before, last = (read_day(snapshot, day, index) for day in DAYS)
    past: list[float] = []
    for number, day in enumerate(before):
        known = [one.vectors for one in before[:number]]
        for row, vector in enumerate(day.vectors):
            # Of the same moment the one that was written first came first.
            earlier = (day.times < day.times[row]) | (
                (day.times == day.times[row]) & (np.arange(len(day.times)) < row)
            )
            seen = np.concatenate([*known, day.vectors[earlier]])
            past.append(distances(index, vector, seen).min() if len(seen) else 0.0)
    allowed = int(len(past) * (1 - percentile / 100) + 1e-9)
    threshold = sorted(past, reverse=True)[allowed]
    everything = np.concatenate([day.vectors for day in before])
    found: dict[str, int] = {}
    for vector, narrative in zip(last.vectors, last.narratives, strict=True):
        if distances(index, vector, everything).min() > threshold + 1e-6:
            found[narrative] = found.get(narrative, 0) + 1
    return threshold, found


@pytest.mark.parametrize("index", ["attack", "semantic", "temporal"])
def test_it_is_what_comparing_every_two_events_says(snapshot: Snapshot, index: str) -> None:
    """Threshold and novel events are those of the definition, for sealed days and an open one."""
    answer = ask(snapshot, index)
    threshold, novel = truth(snapshot, index, 99)
    assert answer["judged"][0]["threshold"] == pytest.approx(threshold, abs=2e-6)
    assert {group["narrative"]: group["count"] for group in answer["groups"]} == novel
    assert answer["novel"] == sum(novel.values())
    facts = answer["judged"][0]
    assert (facts["past_events"], facts["compared_days"]) == (3 * ROWS, 3)
    assert facts["past_days"] == list(reversed(DAYS[:-1]))


def test_planted_events_come_first(snapshot: Snapshot) -> None:
    """Events like none before lead, with their hosts, classes, times, distance and what was nearest before."""
    best = ask(snapshot)["groups"][0]
    assert best["count"] >= 1
    assert best["hosts"]["sources"]["most"][0]["address"] == "203.0.113.9"
    assert best["percentile"] == 100
    assert best["distance"] > best["threshold"]
    assert best["classes"].keys() == {"DDoS"}
    assert best["nearest_before"]["day"] < LAST
    assert best["nearest_before"]["distance"] == pytest.approx(best["distance"], abs=2e-6)
    assert all(example["src_ip"] == "203.0.113.9" for example in best["examples"])


def test_sealing_changes_no_answer(filled: Any, follow: Any) -> None:
    """The same events are novel when their day has been sealed."""
    catalog = follow(filled)
    with catalog.lease() as before:
        opened = ask(before)
    filled.seal(LAST)
    with follow(filled).lease() as after:
        assert all(segment.view.sealed for segment in after.segments)
        sealed = ask(after)
    for answer in (opened, sealed):
        assert answer["novel"] >= 5
    shown = [
        [(group["narrative"], group["count"], group["distance"]) for group in answer["groups"]]
        for answer in (opened, sealed)
    ]
    assert shown[0] == shown[1]


def test_filters_choose_what_is_shown_not_what_was_before(snapshot: Snapshot) -> None:
    """With a filter the same events that pass are novel, by the same measure; nothing else is."""
    everything = ask(snapshot)
    some = ask(snapshot, filters={"src": "203.0.113.9"})
    assert some["novel"] == 5
    assert some["judged"][0]["threshold"] == everything["judged"][0]["threshold"]
    assert some["judged"][0]["events"] == 5
    assert some["judged"][0]["past_events"] == 3 * ROWS
    none = ask(snapshot, filters={"class": "nothing at all"})
    assert (none["groups"], none["novel"]) == ([], 0)


def test_days_before_can_be_asked_about(snapshot: Snapshot) -> None:
    """`until` moves the window back, and what came later is neither judged nor compared with."""
    answer = ask(snapshot, days=2, filters={"until": f"{DAYS[2]}T00:00:00"})
    assert [facts["day"] for facts in answer["judged"]] == [DAYS[1], DAYS[0]]
    assert answer["judged"][0]["past_days"] == [DAYS[0]]
    assert answer["since"] == f"{DAYS[0]}T00:00:00.000000Z"
    assert answer["receipt"]["days"] == [DAYS[0], DAYS[1]]


def test_the_first_day_is_measured_by_itself(snapshot: Snapshot) -> None:
    """With nothing before its day an event is compared with the day until it came; one in a hundred is novel."""
    answer = ask(snapshot, filters={"days": [DAYS[0]]})
    (facts,) = answer["judged"]
    assert (facts["past_days"], facts["compared_days"], facts["past_events"]) == ([], 0, ROWS)
    assert answer["novel"] == ROWS // 100
    assert answer["groups"][0]["nearest_before"] is None


def test_fused_is_what_is_rare_in_any_index(snapshot: Snapshot) -> None:
    """Every novel event is far in the index that is named; about as many past ones would have been."""
    answer = ask(snapshot, "fused", 95)
    assert {facts["index"] for facts in answer["judged"]} == {"attack", "semantic", "temporal"}
    assert answer["novel"] == sum(facts["novel"] for facts in answer["judged"])
    for group in answer["groups"]:
        assert group["distance"] > group["threshold"]
        assert group["percentile"] >= 95
    alone = {index: ask(snapshot, index, 95) for index in ("attack", "semantic", "temporal")}
    for facts in answer["judged"]:
        assert facts["threshold"] >= alone[facts["index"]]["judged"][0]["threshold"]


def test_the_most_unusual_comes_first(snapshot: Snapshot) -> None:
    """Patterns go by their most unusual event; k counts patterns; all are counted."""
    everything = ask(snapshot, "fused", 90, k=1000)
    few = ask(snapshot, "fused", 90, k=2)
    assert few["groups"] == everything["groups"][:2]
    assert few["patterns"] == everything["patterns"] == len(everything["groups"]) > 2
    percentiles = [group["percentile"] for group in everything["groups"]]
    assert percentiles == sorted(percentiles, reverse=True)
    assert all(group["events"] >= group["count"] for group in everything["groups"])


@pytest.mark.parametrize("index", ["attack", "fused"])
def test_asking_again_gives_the_same(snapshot: Snapshot, index: str) -> None:
    """What is kept for the next question changes no answer, whatever was asked before."""
    novelty = Novelty()
    fresh = [plain(ask(snapshot, index, percentile)) for percentile in (99.9, 95, 99)]
    asked = [plain(ask(snapshot, index, percentile, novelty=novelty)) for percentile in (99.9, 95, 99)]
    again = [plain(ask(snapshot, index, percentile, novelty=novelty)) for percentile in (99.9, 95, 99)]
    assert fresh == asked == again


def test_late_events_of_an_old_day_count(filled: Any, follow: Any) -> None:
    """An event that came late to an earlier day makes its like on the last day usual, also after the first question."""
    novelty = Novelty()
    with follow(filled).lease() as snapshot:
        assert ask(snapshot, novelty=novelty, filters={"src": "203.0.113.9"})["novel"] == 5
    filled.write(DAYS[0], [_late(event) for event in list(filled.events.values())[-ROWS : -ROWS + 5]], 2)
    with follow(filled).lease() as snapshot:
        answer = ask(snapshot, novelty=novelty, filters={"src": "203.0.113.9"})
    assert answer["novel"] == 0
    assert answer["judged"][0]["compared_days"] == 3


def _late(event: Any) -> Any:
    copy = type(event)()
    copy.CopyFrom(event)
    copy.event_id = f"late-{event.event_id}"
    copy.event_timestamp.FromNanoseconds(day_start_ns(DAYS[0]) + 3_600_000_000_000)
    return copy


def test_models_are_never_compared(filled: Any, follow: Any, small_embedder: Any) -> None:
    """A day by another model is neither compared with nor measured by, and the receipt says so."""
    filled.embedders = replace(filled.embedders, attack=small_embedder("attack", "l2", version=2))
    filled.write("2026-01-22", filled.make("2026-01-22", 40))
    with follow(filled).lease() as snapshot:
        answer = ask(snapshot)
    (facts,) = answer["judged"]
    assert (facts["day"], facts["compared_days"], facts["past_events"]) == ("2026-01-22", 0, 40)
    missing = {gap["day"]: gap["reason"] for gap in answer["receipt"]["missing"]}
    assert missing.keys() == set(DAYS)
    assert "not compared with vectors of attack@000000000002" in missing[LAST]


class Rounds(Deadline):
    """Is near after it was looked at so many times."""

    left: list[int]

    @classmethod
    def of(cls, rounds: int) -> Rounds:
        made = cls()
        object.__setattr__(made, "left", [rounds])
        return made

    @property
    def is_near(self) -> bool:
        self.left[0] -= 1
        return self.left[0] < 0


def refusal(snapshot: Snapshot, novelty: Novelty) -> dict[str, Any] | str:
    """The answer within a short time, or the code of the refusal."""
    try:
        return ask(snapshot, "fused", days=4, novelty=novelty, deadline=Rounds.of(25))
    except RequestError as refused:
        return refused.code


def test_the_time_is_kept_and_what_was_done_is_kept_too(snapshot: Snapshot) -> None:
    """A short time gives the newest days and says what is missing; asking again goes on, until the answer is whole."""
    whole = plain(ask(snapshot, "fused", days=4))
    novelty = Novelty()
    seen: list[int] = []
    for _ in range(200):
        answer = refusal(snapshot, novelty)
        if isinstance(answer, str):
            assert answer == "deadline"
            seen.append(0)
            continue
        judged = [facts["day"] for facts in answer["judged"]]
        assert set(judged) == set(DAYS[len(DAYS) - len(set(judged)) :]), "the newest are judged first"
        seen.append(len(set(judged)))
        if not answer["receipt"]["partial"]:
            break
        assert answer["receipt"]["missing"]
        assert not answer["receipt"]["repeatable"]
    else:
        pytest.fail("the answer never became whole")
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert isinstance(answer, dict)
    assert plain(answer) == whole


def test_kept_distances_are_bounded(snapshot: Snapshot) -> None:
    """Of more than may be kept, what was not asked for longest goes; the answers stay."""
    novelty = Novelty(Distances(kept_bytes=2000))
    assert plain(ask(snapshot, "fused", days=4, novelty=novelty)) == plain(ask(snapshot, "fused", days=4))
    assert 0 < novelty.distances.nbytes <= 2000


def test_an_empty_state_has_nothing_new(world: Any, replica: Callable[[Any], Mapping[str, Handler]]) -> None:
    """Without any event the answer is empty, and whole."""
    answer: Any = replica(world)["novel"]({}, Deadline())
    assert (answer["groups"], answer["novel"], answer["since"]) == ([], 0, None)
    assert answer["receipt"]["missing"] == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"days": 0}, "'days' must be a whole number from 1 to 366"),
        ({"percentile": 50}, "'percentile' must be a finite number from 90 to 100"),
        ({"percentile": float("nan")}, "'percentile' must be a finite number"),
        ({"index": "entity"}, "'index' must be one of fused, attack, semantic, temporal"),
    ],
)
def test_wrong_arguments_are_named(
    world: Any, replica: Callable[[Any], Mapping[str, Handler]], wrong: dict[str, Any], said: str
) -> None:
    """Each wrong argument is refused by name, with what is allowed."""
    with pytest.raises(UsageError, match=said):
        replica(world)["novel"](wrong, Deadline())
