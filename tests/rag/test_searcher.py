"""Answers are the true nearest neighbours, filtered before the search, merged over segments, with their receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.fusion import FusionWeights, common_ranks, fuse, ranks
from services.common.days.open_writer import VectorSpec
from services.common.days.traffic import column_traffic
from services.common.errors import UsageError
from services.common.events.windows import day_windows
from services.common.rpc import Deadline, NotFound, RequestError
from services.rag.arguments import parse_filters
from services.rag.events import Place
from services.rag.models import StoredModels
from services.rag.queries import Queries, window_of
from services.rag.scope import Bounds
from services.rag.searcher import Searcher

if TYPE_CHECKING:
    from services.rag.catalog import Catalog, Snapshot

OLD, NEW, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"
INDICES = ("attack", "semantic", "temporal")
WEIGHTS = FusionWeights(attack=2.0, semantic=1.0, temporal=0.5)


@pytest.fixture
def catalog(world: Any, follow: Any) -> Catalog:
    """Two sealed days and an open one."""
    world.fill(OLD, 80, sealed=True)
    world.fill(NEW, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return follow(world)


@pytest.fixture
def searcher(world: Any, small_queries: Any) -> Searcher:
    return Searcher(small_queries(world), WEIGHTS)


class Truth:
    """Every row of a snapshot with its id, time and vectors, for a search by plain numpy."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.ids: list[str] = []
        self.times: list[int] = []
        self.vectors: dict[str, list[Any]] = {name: [] for name in INDICES}
        for segment in snapshot.segments:
            view = segment.view
            self.ids += [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
            self.times += view.columns["time_ns"].tolist()
            for name, index in view.indices.items():
                self.vectors[name] += [index.vector(row) for row in range(view.rows)]

    def distances(self, index: str, query: np.ndarray) -> np.ndarray:
        vectors = np.array(self.vectors[index], np.float64)
        if index == "attack":
            return np.linalg.norm(vectors - query, axis=1)
        return 1 - vectors @ query.astype(np.float64)

    def order(self, keys: np.ndarray, moment: int, keep: list[bool]) -> list[int]:
        """Numbers of the rows to keep by key, ties by closeness in time."""
        gaps = [abs(time - moment) for time in self.times]
        found = [i for i in range(len(self.ids)) if keep[i]]
        return sorted(found, key=lambda i: (round(float(keys[i]), 5), gaps[i]))


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("raw", [{}, {"class": "ddos"}, {"since": f"{NEW}T06:00:00", "port": ["443-8080"]}])
def test_similar_finds_the_true_neighbours(
    catalog: Catalog, searcher: Searcher, index: str, raw: dict[str, Any]
) -> None:
    """The distances of the hits are the smallest there are among the rows that pass, and ties go by time."""
    filters = parse_filters(raw)
    with catalog.lease() as snapshot:
        truth = Truth(snapshot)
        passing = _passing(snapshot, filters)
        for number in (0, 95, 170):
            answer = searcher.similar(snapshot, truth.ids[number], index, Bounds(15, filters))
            distances = truth.distances(index, truth.vectors[index][number])
            keep = [passing[i] and i != number for i in range(len(truth.ids))]
            wanted = truth.order(distances, truth.times[number], keep)[:15]
            found = [truth.ids.index(hit["event_id"]) for hit in answer["hits"]]
            assert np.allclose(distances[found], distances[wanted], atol=1e-4)
            assert np.allclose([hit["distance"] for hit in answer["hits"]], distances[found], atol=1e-4)
            assert answer["event"]["event_id"] == truth.ids[number]
            assert len(set(found)) == len(found) == len(wanted)


def _passing(snapshot: Snapshot, filters: Any) -> list[bool]:
    found: list[bool] = []
    for segment in snapshot.segments:
        chosen = filters.select(segment)
        rows = None if chosen is None else chosen.rows
        mask = np.ones(segment.view.rows, bool)
        if rows is not None:
            mask[:] = False
            mask[rows] = True
        found += mask.tolist()
    return found


def test_scores_follow_from_distances(catalog: Catalog, searcher: Searcher) -> None:
    """A cosine index shows the cosine, an l2 index 1 / (1 + distance), best first."""
    with catalog.lease() as snapshot:
        event_id = Truth(snapshot).ids[0]
        for index in INDICES:
            hits = searcher.similar(snapshot, event_id, index, Bounds(20))["hits"]
            for hit in hits:
                expected = 1 / (1 + hit["distance"]) if index == "attack" else 1 - hit["distance"]
                assert hit["score"] == pytest.approx(expected)
                assert hit["index"] == index
            scores = [round(hit["score"], 5) for hit in hits]
            assert scores == sorted(scores, reverse=True)


def test_fusion_ranks_candidates_exactly(catalog: Catalog, searcher: Searcher) -> None:
    """The fused order is that of a plain computation over all rows, when every row is a candidate."""
    with catalog.lease() as snapshot:
        truth = Truth(snapshot)
        number = 10
        hits = searcher.similar(snapshot, truth.ids[number], "fused", Bounds(40))["hits"]
        scores = np.zeros(len(truth.ids))
        for name, weight in (("attack", 2.0), ("semantic", 1.0), ("temporal", 0.5)):
            distances = np.delete(truth.distances(name, truth.vectors[name][number]), number)
            _, ranks = np.unique(np.round(distances, 6), return_inverse=True)
            scores += np.insert(weight / (61 + ranks), number, 0)
        keep = [i != number for i in range(len(truth.ids))]
        wanted = truth.order(-scores * 1000, truth.times[number], keep)[:40]
        found = [truth.ids.index(hit["event_id"]) for hit in hits]
        assert np.allclose(scores[found], scores[wanted], rtol=0.02)
        assert np.allclose([hit["score"] for hit in hits], scores[found], rtol=0.02)
        assert all(set(hit["scores"]) == set(INDICES) for hit in hits)


def test_the_same_question_has_the_same_answer(catalog: Catalog, searcher: Searcher) -> None:
    """Asked twice on the same snapshot, the hits are the same in the same order."""
    with catalog.lease() as snapshot:
        event_id = Truth(snapshot).ids[5]
        first, second = (searcher.similar(snapshot, event_id, "fused", Bounds(30)) for _ in range(2))
        assert first["hits"] == second["hits"]


def test_the_receipt_tells_what_was_searched(catalog: Catalog, searcher: Searcher) -> None:
    """Days, rows, generations, models and the newest event are those of the answer."""
    with catalog.lease() as snapshot:
        truth = Truth(snapshot)
        answer = searcher.similar(
            snapshot, truth.ids[0], "attack", Bounds(5, parse_filters({"days": [OLD, OPEN]}))
        )
        receipt = answer["receipt"]
        assert receipt["days"] == [OLD, OPEN]
        assert receipt["rows"] == 120
        assert receipt["generations"] == {OLD: 1}
        assert receipt["models"] == {"attack": ["attack@000000000001"]}
        assert receipt["missing"] == []
        assert receipt["newest_event"] == max(hit["time"] for hit in _all(snapshot))
        assert receipt["took_ms"] > 0


def _all(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [fields for s in snapshot.segments for fields in s.view.events.fetch(range(s.view.rows))]


def test_k_is_kept(catalog: Catalog, searcher: Searcher) -> None:
    """Never more than k hits, and all there are where k is larger."""
    with catalog.lease() as snapshot:
        event_id = Truth(snapshot).ids[0]
        for index in (*INDICES, "fused"):
            assert len(searcher.similar(snapshot, event_id, index, Bounds(1))["hits"]) == 1
            assert len(searcher.similar(snapshot, event_id, index, Bounds(1000))["hits"]) == 179


def test_a_filter_that_nothing_passes_gives_nothing(catalog: Catalog, searcher: Searcher) -> None:
    """No row passes: no hits, and the receipt says that none was searched."""
    with catalog.lease() as snapshot:
        event_id = Truth(snapshot).ids[0]
        for index in ("attack", "fused"):
            answer = searcher.similar(
                snapshot, event_id, index, Bounds(5, parse_filters({"node": "nowhere"}))
            )
            assert answer["hits"] == []
            assert answer["receipt"]["rows"] == 0


def test_an_index_that_lags_is_named(world: Any, follow: Any, searcher: Searcher) -> None:
    """Rows without vectors yet are named in the receipt; an event without one is embedded for the question."""
    events = world.fill(OPEN, 10, sealed=False)
    late = world.make(OPEN, 4, prefix="late")
    world.write(OPEN, late, index=False)
    lags = {"day": OPEN, "index": "attack", "reason": "10 of 14 rows written"}
    with follow(world).lease() as snapshot:
        receipt = searcher.similar(snapshot, events[0].event_id, "attack", Bounds(20))["receipt"]
        assert receipt["missing"] == [lags]
        answer = searcher.similar(snapshot, late[0].event_id, "attack", Bounds(20))
        assert answer["receipt"]["missing"] == [lags]
        assert len(answer["hits"]) == 10
        nobody = Searcher(Queries(StoredModels(world.state.models)), WEIGHTS)
        with pytest.raises(NotFound, match=r"has no vector in attack: .*attack@000000000001 is not in"):
            nobody.similar(snapshot, late[0].event_id, "attack", Bounds(5))
        with pytest.raises(NotFound, match="has no vector in attack or semantic or temporal: "):
            nobody.similar(snapshot, late[0].event_id, "fused", Bounds(5))


def test_a_missing_index_does_not_stop_the_others(world: Any, follow: Any, searcher: Searcher) -> None:
    """A day without one index answers with the others and says so."""
    events = world.fill(OLD, 30, sealed=True)
    world.state.day(OLD).generation(1).index_current("temporal").unlink()
    catalog = follow(world)
    with catalog.lease() as snapshot:
        answer = searcher.similar(snapshot, events[0].event_id, "fused", Bounds(5))
        assert len(answer["hits"]) == 5
        assert set(answer["hits"][0]["scores"]) == {"attack", "semantic"}
        assert {"day": OLD, "index": "temporal", "reason": "not built yet"} in answer["receipt"]["missing"]


@pytest.mark.parametrize("index", INDICES)
def test_days_of_different_models_are_searched_each_by_its_own(
    world: Any, follow: Any, small_queries: Any, mixed: Any, index: str
) -> None:
    """An event finds its twin of another model at distance 0, the hits of both models are merged by their ranks."""
    searcher = Searcher(small_queries(world, *mixed.newer), WEIGHTS)
    with follow(world).lease() as snapshot:
        for asked, twin in ((mixed.old[7], mixed.new[7]), (mixed.new[7], mixed.old[7])):
            answer = searcher.similar(snapshot, asked.event_id, index, Bounds(119))
            hits = answer["hits"]
            assert {hit["event_id"] for hit in hits} == {e.event_id for e in (*mixed.old, *mixed.new)} - {
                asked.event_id
            }
            found = next(hit for hit in hits if hit["event_id"] == twin.event_id)
            assert found["distance"] == pytest.approx(0.0, abs=2e-3)
            assert answer["receipt"]["missing"] == []
            assert answer["receipt"]["models"] == {index: [f"{index}@{n:012x}" for n in (1, 2)]}
            for day, version in ((OLD, 1), (NEW, 2)):
                of_day = [hit for hit in hits if hit["day"] == day]
                assert {hit["model"] for hit in of_day} == {f"{index}@{version:012x}"}
                distances = [round(hit["distance"], 5) for hit in of_day]
                assert distances == sorted(distances)
            short = searcher.similar(snapshot, asked.event_id, index, Bounds(8))["hits"]
            assert {hit["day"] for hit in short} == {OLD, NEW}


def test_fusion_ranks_within_each_model(world: Any, follow: Any, small_queries: Any, mixed: Any) -> None:
    """The twin in the day of other models is first by all three indices; a day without its models is left out."""
    with follow(world).lease() as snapshot:
        searcher = Searcher(small_queries(world, *mixed.newer), WEIGHTS)
        answer = searcher.similar(snapshot, mixed.old[7].event_id, "fused", Bounds(119))
        twin = next(hit for hit in answer["hits"] if hit["event_id"] == mixed.new[7].event_id)
        assert twin["scores"] == pytest.approx({"attack": 1.0, "semantic": 1.0, "temporal": 1.0}, abs=3e-3)
        best_new = next(hit for hit in answer["hits"] if hit["day"] == NEW)
        assert best_new["score"] == pytest.approx(3.5 / 61)
        assert {len(models) for models in answer["receipt"]["models"].values()} == {2}
        alone = Searcher(small_queries(world), WEIGHTS).similar(
            snapshot, mixed.old[7].event_id, "fused", Bounds(119)
        )
        assert {hit["day"] for hit in alone["hits"]} == {OLD}
        assert {(gap["day"], gap["index"]) for gap in alone["receipt"]["missing"]} == {
            (NEW, index) for index in INDICES
        }


def test_the_window_of_an_event_is_that_of_its_day(world: Any, follow: Any) -> None:
    """Made for one event from all segments of the day, it is the window that sealing the day gives it."""
    world.rng = np.random.default_rng(4)
    world.write(OLD, world.make(OLD, 150), 1)
    world.write(OLD, world.make(OLD, 150), 2)
    with follow(world).lease() as snapshot:
        views = [segment.view for segment in snapshot.segments]
        made = {
            fields["event_id"]: window_of(views, Place(view, row))
            for view in views
            for row, fields in enumerate(view.events.fetch(range(view.rows)))
        }
    world.seal(OLD, 2)
    with follow(world).lease() as snapshot:
        view = snapshot.segments[0].view
        whole = _windows_of(view)
        for row, fields in enumerate(view.events.fetch(range(view.rows))):
            assert np.array_equal(made[fields["event_id"]], whole[row])
            assert np.array_equal(window_of([view], Place(view, row)), whole[row])


def _windows_of(view: Any) -> np.ndarray:
    windows = day_windows(column_traffic(view.columns, view.addresses))
    return np.concatenate(list(windows.blocks()))[windows.codes]


def test_what_cannot_be_answered_is_a_sentence(catalog: Catalog, searcher: Searcher) -> None:
    """An unknown event is refused by a sentence."""
    with catalog.lease() as snapshot:
        with pytest.raises(NotFound, match=r"no event 'nothing' on any day here \(3 in all"):
            searcher.similar(snapshot, "nothing", "attack", Bounds(5))
        with pytest.raises(UsageError, match="1 to 256 characters"):
            searcher.similar(snapshot, "", "attack", Bounds(5))


def test_a_deadline_is_kept(catalog: Catalog, searcher: Searcher) -> None:
    """A question whose time is over is refused instead of searched."""
    with catalog.lease() as snapshot:
        event_id = Truth(snapshot).ids[0]
        with pytest.raises(RequestError, match="time for this request is over"):
            searcher.similar(snapshot, event_id, "attack", Bounds(5, deadline=Deadline.after(-1)))


def test_equal_distances_share_a_rank() -> None:
    """A rank counts what is nearer; distances that differ by rounding only are equal; a missing one adds nothing."""
    distances = np.array([0.5, 0.5 + 1e-8, 0.1, np.inf, 0.9], np.float32)
    assert ranks(distances).tolist() == [2, 2, 1, 5, 4]
    scores = fuse({"attack": distances}, FusionWeights(attack=61.0))
    assert scores.tolist() == pytest.approx([61 / 62, 61 / 62, 1.0, 0.0, 61 / 64])


def test_ranks_of_several_models_are_stretched_to_all_rows() -> None:
    """The second among a tenth of the rows is about the twentieth among all; equal vectors are first by any model."""
    distances = np.array([0.1, 0.2, 0.2, 7.0, 9.0, 0.0, np.inf], np.float32)
    groups = np.array([0, 0, 0, 1, 1, 1, 1])
    found = common_ranks(distances, groups, np.array([900, 100]))
    assert found.tolist() == pytest.approx([10 / 9, 20 / 9, 20 / 9, 20.0, 30.0, 1.0, 40.0])
    one = common_ranks(distances, np.zeros(7, np.int64), np.array([5]))
    assert one.tolist() == ranks(distances).tolist()


def test_a_spec_names_its_metric() -> None:
    """The weight and metric of an index are found by its name."""
    assert WEIGHTS.of("temporal") == 0.5
    assert VectorSpec("attack", "m", 2, "l2").metric == "l2"
