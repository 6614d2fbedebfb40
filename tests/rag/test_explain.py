"""Explanations: sigmas are those of the day, ranks are true, answers repeat, and nothing is told that is not so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.fusion import FusionWeights
from services.common.errors import AppiaError, UsageError
from services.common.events.feature_list import FEATURES
from services.common.events.features import column_of, extract
from services.common.rpc import Deadline, NotFound, RequestError
from services.rag.deltas import MOST_DELTAS, Measured, compare
from services.rag.explain import DEPTH, Explainer, Near
from services.rag.feature_words import comparative, name_of, value_text
from services.rag.protocol import OPERATIONS
from services.rag.queries import Queries
from services.rag.scope import Bounds
from services.rag.searcher import Searcher
from services.rag.spread import LEAST, SAMPLE, Spreads, sample_rows, settled_rows, signed_log, spread_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.rag.catalog import Catalog, Snapshot
    from services.rag.spread import Spread

OLD, OPEN = "2026-01-21", "2026-01-22"
SOON = Deadline()
FLOW = "network_features."
SENT = column_of(f"{FLOW}total_forward_bytes")
PORT = column_of(f"{FLOW}destination_port")
SYN = column_of(f"{FLOW}syn_flag_count")
DURATION = column_of(f"{FLOW}flow_duration_microseconds")


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """A sealed day and an open one."""
    world.fill(OLD, 90, sealed=True)
    world.fill(OPEN, 70, sealed=False)
    return follow(world)


@pytest.fixture
def explainer(world: Any, small_queries: Any) -> Explainer:
    return Explainer(Searcher(small_queries(world), FusionWeights()))


def _features(events: Sequence[NetworkSecurityEvent]) -> np.ndarray:
    return extract([event.SerializeToString(deterministic=True) for event in events]).values


def test_sigmas_are_robust_ones_of_the_day(catalog: Catalog, explainer: Explainer, world: Any) -> None:
    """Each difference is (a - b) / (1.4826 MAD) on the scale of log(1 + x) over all events of that day."""
    day = [event for event in world.events.values() if event.event_id.startswith(f"e-{OLD}")]
    values = _features(day)
    scaled = np.sign(values) * np.log1p(np.abs(values.astype(np.float64)))
    with catalog.lease() as snapshot:
        answer = explainer.explain(snapshot, day[3].event_id, [day[7].event_id], Bounds(3))
    assert answer["day"] == {"day": OLD, "rows": 90, "sampled": 90}
    (other,) = answer["others"]
    told = {delta["feature"]: delta for delta in other["deltas"]}
    checked = 0
    for path, delta in told.items():
        column = column_of(path)
        middle = np.median(scaled[:, column])
        mad = 1.4826 * np.median(np.abs(scaled[:, column] - middle))
        assert (delta["event"], delta["other"]) == (values[3, column], values[7, column])
        if mad < LEAST:
            continue  # has a test of its own
        checked += 1
        expected = (scaled[3, column] - scaled[7, column]) / mad
        assert delta["sigmas"] == pytest.approx(expected, abs=0.006)
    assert checked >= 4
    sizes = [abs(delta["sigmas"]) for delta in other["deltas"]]
    assert sizes == sorted(sizes, reverse=True)


def test_a_feature_that_hardly_varies_has_the_deviation_instead() -> None:
    """Where MAD is 0 no difference counts more than sqrt(n + 1) sigmas, and a rarer one counts more."""
    values = np.zeros((100, len(FEATURES)), np.float32)
    values[:5, SYN] = 3.0
    spread = spread_of(OLD, 100, values, np.ones_like(values, bool))
    here, there = values[50].copy(), values[50]
    here[[SYN, SENT]] = 3.0
    sigmas = spread.sigmas(here, there)
    step = np.log1p(3.0)
    deviation = np.sqrt(
        (np.full(100, np.std(np.r_[np.full(5, step), np.zeros(95)]) ** 2).sum() + step**2) / 101
    )
    assert sigmas[SYN] == pytest.approx(step / deviation)
    assert sigmas[SENT] == pytest.approx(np.sqrt(101))
    assert np.all(sigmas[np.setdiff1d(np.arange(len(FEATURES)), [SYN, SENT])] == 0)


def test_what_names_something_is_never_more_or_less() -> None:
    """Another port is told as another port, with how common each is on that day, and never in sigmas."""
    values = np.zeros((10, len(FEATURES)), np.float32)
    values[:, PORT] = [443] * 8 + [80] * 2
    present = np.ones_like(values, bool)
    spread = spread_of(OLD, 10, values, present)
    found = compare(Measured(values[0], present[0]), Measured(values[9], present[9]), spread)
    assert found["deltas"] == []
    assert [change["says"] for change in found["changed"]] == [
        "destination port 443 (80.0% of the day's events) against 80 (20.0% of the day's events)"
    ]


def test_what_only_one_event_has_is_not_compared() -> None:
    """A feature that a sensor did not send is named, and no number is made up for it."""
    values = np.random.default_rng(1).uniform(0, 1000, (20, len(FEATURES))).astype(np.float32)
    present = np.ones_like(values, bool)
    present[0, SENT] = False
    found = compare(
        Measured(values[0], present[0]), Measured(values[1], present[1]), spread_of(OLD, 20, values, present)
    )
    assert found["unmatched"] == [FEATURES[SENT].path]
    assert len(found["deltas"]) == MOST_DELTAS
    assert FEATURES[SENT].path not in {delta["feature"] for delta in found["deltas"]}


def test_likeness_is_that_of_each_index(catalog: Catalog, explainer: Explainer) -> None:
    """Distance and rank are those of a comparison with every event there, in each index."""
    with catalog.lease() as snapshot:
        views = [segment.view for segment in snapshot.segments]
        ids = [fields["event_id"] for view in views for fields in view.events.fetch(range(view.rows))]
        asked, others = ids[4], [ids[20], ids[120]]
        answer = explainer.explain(snapshot, asked, others, Bounds(3))
        ranked = 0
        for name in ("attack", "semantic", "temporal"):
            vectors = np.array([v.indices[name].vector(r) for v in views for r in range(v.rows)], np.float64)
            distances = (
                np.linalg.norm(vectors - vectors[4], axis=1) if name == "attack" else 1 - vectors @ vectors[4]
            )
            distances[4] = np.inf
            for other, number in zip(answer["others"], (20, 120), strict=True):
                found = other["likeness"][name]
                assert found["distance"] == pytest.approx(distances[number], abs=1e-5)
                nearer = np.count_nonzero(distances < distances[number] - 2e-6)
                near = np.count_nonzero(distances < distances[number] + 2e-6)
                if found["rank"] is None:
                    assert near >= DEPTH
                else:
                    ranked += 1
                    assert nearer < found["rank"] <= near
        assert ranked >= 2


def test_a_rank_is_told_only_where_it_is_known() -> None:
    """Beyond the nearest nothing is known, unless these are all; events of another model do not count."""
    some = np.array([0.1, 0.2, 0.2, 0.4], np.float32)
    other = np.array([0.3], np.float32)
    near = Near({"a@1": some, "a@2": other}, whole=False)
    assert [near.rank("a@1", distance) for distance in (0.1, 0.2, 0.4, 0.41)] == [1, 2, 4, None]
    assert [near.rank("a@2", distance) for distance in (0.3, 0.4)] == [1, None]
    assert near.rank("a@3", 0.0) is None
    assert Near({"a@1": some}, whole=True).rank("a@1", 0.9) == 5


def test_without_others_the_nearest_of_each_behaviour_are_taken(
    catalog: Catalog, explainer: Explainer
) -> None:
    """At most k events, each with a narrative of its own, none of them the event itself, and all pass the filters."""
    with catalog.lease() as snapshot:
        event_id = snapshot.segments[0].view.events.fetch([0])[0]["event_id"]
        answer = explainer.explain(snapshot, event_id, None, Bounds(4))
        narratives = [other["event"]["narrative"] for other in answer["others"]]
        assert len(narratives) == len(set(narratives)) == 4
        assert event_id not in {other["event"]["event_id"] for other in answer["others"]}
        assert answer["receipt"]["rows"] == 160


def test_the_same_question_has_the_same_answer(catalog: Catalog, world: Any, small_queries: Any) -> None:
    """Two replicas that never met give the same explanation, apart from how long it took."""
    with catalog.lease() as snapshot:
        ids = [snapshot.segments[1].view.events.fetch([row])[0]["event_id"] for row in (2, 9)]
        for event_id in ids:
            answers = [
                Explainer(Searcher(small_queries(world), FusionWeights())).explain(
                    snapshot, event_id, None, Bounds(5)
                )
                for _ in range(2)
            ]
            for answer in answers:
                answer["receipt"].pop("took_ms")
            assert answers[0] == answers[1]


def test_an_open_day_is_sampled_anew_only_when_it_has_grown(world: Any, follow: Any, until: Any) -> None:
    """A few more events leave the spread as it was; which rows count depends on how many there are alone."""
    world.write(OPEN, world.make(OPEN, 200))
    catalog, spreads = follow(world), Spreads()

    def with_more(count: int) -> Spread:
        before = _snapshot(catalog).rows
        world.write(OPEN, world.make(OPEN, count))
        until(lambda: _snapshot(catalog).rows == before + count)
        with catalog.lease() as snapshot:
            return spreads.of(snapshot, OPEN)

    with catalog.lease() as snapshot:
        first = spreads.of(snapshot, OPEN)
        assert settled_rows(snapshot.segments[0].view) == 192
    assert first.rows == first.sampled == 192
    assert with_more(5) is first
    assert with_more(20).rows == 224


def _snapshot(catalog: Catalog) -> Snapshot:
    with catalog.lease() as snapshot:
        return snapshot


@dataclass(frozen=True)
class _Looks(Deadline):
    """A deadline that is near from the n-th look at it."""

    n: int = 0
    looked: Iterator[int] = field(default_factory=count)

    @property
    def is_near(self) -> bool:
        return next(self.looked) >= self.n


class _NoModels:
    """A store without models: events are compared by the vectors that they have."""

    def rows(self, model_id: str) -> Any:
        raise AppiaError(f"The model {model_id} is not here.")

    texts = windows = rows


def test_a_search_for_the_nearest_that_was_cut_short_is_told(catalog: Catalog) -> None:
    """Whenever the time ends, others that may not be the nearest are not passed off as these."""
    explainer = Explainer(Searcher(Queries(_NoModels()), FusionWeights()))
    with catalog.lease() as snapshot:
        event_id = snapshot.segments[0].view.events.fetch([0])[0]["event_id"]

        def asked(deadline: Deadline) -> dict[str, Any]:
            answer = explainer.explain(snapshot, event_id, None, Bounds(3, deadline=deadline))
            answer["receipt"].pop("took_ms")
            return answer

        whole, partial = asked(SOON), 0
        for looks in range(6, 40):
            with suppress(RequestError):
                answer = asked(_Looks(n=looks))
                assert answer["receipt"]["partial"] or answer == whole, looks
                partial += answer["receipt"]["partial"]
    assert partial > 3


def test_a_day_written_anew_has_another_spread(
    world: Any, make_world: Any, follow: Any, tmp_path: Path
) -> None:
    """As many events under the same names are not the same events."""
    again = make_world(tmp_path / "again")
    again.rng = np.random.default_rng(2)
    spreads = Spreads()
    for one in (world, again):
        one.fill(OLD, 90, sealed=True)
    with follow(world).lease() as before, follow(again).lease() as after:
        assert spreads.of(before, OLD) is not spreads.of(after, OLD)
        assert spreads.of(after, OLD) is spreads.of(after, OLD)


def test_samples_are_even_and_in_runs() -> None:
    """A large day is read in runs of 32 from its first to its last row, about as many as wanted, none twice."""
    for rows in (10_000, 123_457, 1_000_000):
        chosen = sample_rows(rows, SAMPLE)
        assert np.all(np.diff(chosen) > 0)
        assert SAMPLE * 0.9 < len(chosen) <= SAMPLE
        assert chosen[0] == 0
        assert chosen[-1] == rows - 1
        assert np.diff(chosen).max() < rows / 50
    assert sample_rows(10, SAMPLE).tolist() == list(range(10))
    assert sample_rows(0, SAMPLE).tolist() == []


def test_values_have_words_and_units() -> None:
    """Numbers are told as a person writes them."""
    assert [value_text(DURATION, value) for value in (0, 40_000, 3.2e6, 7.2e9)] == [
        "0 us",
        "40 ms",
        "3.2 s",
        "2 h",
    ]
    assert [value_text(SENT, value) for value in (0, 52, 1460, 999_960, 3.5e9)] == [
        *("0 bytes", "52 bytes", "1.46 kB", "1 MB", "3.5 GB"),
    ]
    assert value_text(PORT, 8080) == "8080"
    assert value_text(SYN, 12_000) == "12,000 packets"
    assert value_text(column_of("fast_detector_triggered"), 1) == "yes"
    assert (name_of(DURATION), comparative(DURATION, 1)) == ("duration", "longer")
    assert comparative(SYN, -1) == "fewer"
    assert len({name_of(column) for column in range(66)}) == 66, "no two features of a flow have one name"


def test_the_scale_keeps_signs_and_zero() -> None:
    """0 stays 0, and what is below it mirrors what is above."""
    assert signed_log(np.array([-3.0, 0.0, 3.0])).tolist() == [-np.log(4), 0.0, np.log(4)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "'event_id' is missing"),
        ({"event_id": "x", "others": []}, "'others' must be 1 to 50 texts"),
        ({"event_id": "x", "others": ["y"] * 51}, "'others' must be 1 to 50 texts"),
        ({"event_id": "x", "others": "y"}, "'others' must be a list of texts"),
        ({"event_id": "x", "k": 51}, "'k' must be a whole number from 1 to 50"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    """One sentence names what is wrong and what is allowed."""
    with pytest.raises(UsageError, match=said):
        OPERATIONS["explain"].read(arguments)


def test_unknown_events_are_named(world: Any, replica: Any) -> None:
    """Whichever of the ids is not there is in the sentence; both orders of the pair are answered."""
    first, second = world.fill(OLD, 2, sealed=False)
    ask = replica(world)["explain"]
    with pytest.raises(NotFound, match="nobody"):
        ask({"event_id": "nobody"}, SOON)
    with pytest.raises(NotFound, match="nobody"):
        ask({"event_id": first.event_id, "others": [second.event_id, "nobody"]}, SOON)
    there, back = (
        ask({"event_id": one.event_id, "others": [other.event_id]}, SOON)["others"][0]
        for one, other in ((first, second), (second, first))
    )
    assert {d["feature"]: d["sigmas"] for d in there["deltas"]} == {
        d["feature"]: -d["sigmas"] for d in back["deltas"]
    }
