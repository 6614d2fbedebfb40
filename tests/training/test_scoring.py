"""Neighbours by plain sorting, and scores worked out by hand; that replicas answer alike is tested with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.days.fusion import FusionWeights, fuse
from services.training.scoring import FUSED_DEPTH, K, Rows, Searches, Space, confusion, score

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(1, 3), st.integers(0, 10_000))


def world(sizes: tuple[int, int, int, int]) -> tuple[Rows, np.ndarray, np.ndarray, np.random.Generator]:
    """Random events at few moments: numbers of base, queries and days, and a seed."""
    base, queries, days, seed = sizes
    rng = np.random.default_rng(seed)
    count = base + queries
    rows = Rows(rng.choice(list("abc"), count), rng.integers(0, 30, count), rng.integers(0, days, count))
    is_base = np.zeros(count, bool)
    is_base[rng.choice(count, base, replace=False)] = True
    return rows, is_base, np.flatnonzero(~is_base), rng


def places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Vectors of events that share a few places, no two of them equally far from a third."""
    return rng.normal(size=(6, 8)).astype(np.float32)[rng.integers(0, 6, count)]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def distance(metric: str, one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(1 - one @ other) if metric == "cosine" else float(np.linalg.norm(one - other))


@given(SIZES, st.sampled_from(["l2", "cosine"]))
@settings(max_examples=60, deadline=None)
def test_neighbours_are_the_nearest_and_then_the_nearest_in_time(
    sizes: tuple[int, int, int, int], metric: str
) -> None:
    """Distances and gaps in time of the neighbours are those that sorting all events of the base gives."""
    rows, is_base, queries, rng = world(sizes)
    vectors = places(rng, len(is_base))
    vectors = unit(vectors) if metric == "cosine" else vectors
    found = Searches(rows, is_base).nearest(Space.of_rows(metric, vectors), queries)
    for query, near in zip(queries.tolist(), found.tolist(), strict=True):

        def key(row: int, query: int = query) -> tuple[float, int]:
            far = distance(metric, vectors[query], vectors[row])
            return round(far, 4), abs(int(rows.time_ns[row] - rows.time_ns[query]))

        expected = sorted(map(key, np.flatnonzero(is_base).tolist()))[:K]
        there = [row for row in near if row >= 0]
        assert len(set(there)) == len(there) == len(expected)
        assert [key(row) for row in there] == expected


@given(SIZES)
@settings(max_examples=40, deadline=None)
def test_fused_neighbours_are_the_best_of_what_any_index_names(sizes: tuple[int, int, int, int]) -> None:
    """With so few events every index names all, and the fused answer is that of `fuse` over the whole base."""
    rows, is_base, queries, rng = world(sizes)
    attack, semantic = places(rng, len(is_base)), unit(places(rng, len(is_base)))
    spaces = {"attack": Space.of_rows("l2", attack), "semantic": Space.of_rows("cosine", semantic)}
    weights = FusionWeights(attack=2.0)
    base = np.flatnonzero(is_base)
    found = Searches(rows, is_base).fused(spaces, queries, weights)
    if len(base) > FUSED_DEPTH:
        return
    for query, near in zip(queries.tolist(), found.tolist(), strict=True):
        distances = {
            "attack": np.array([distance("l2", attack[query], attack[row]) for row in base], np.float32),
            "semantic": np.array(
                [distance("cosine", semantic[query], semantic[row]) for row in base], np.float32
            ),
        }
        scores = dict(zip(base.tolist(), fuse(distances, weights).tolist(), strict=True))
        gaps = {row: abs(int(rows.time_ns[row] - rows.time_ns[query])) for row in scores}
        expected = sorted((-round(value, 10), gaps[row]) for row, value in scores.items())[:K]
        there = [row for row in near if row >= 0]
        assert [(-round(scores[row], 10), gaps[row]) for row in there] == expected


def test_an_event_without_a_vector_is_found_by_none_and_finds_none() -> None:
    """Sampled rows have no vector: they are no neighbours, and a query among them has no neighbours in that index."""
    rows = Rows.of_one_day(["a"] * 4, np.arange(4))
    space = Space("l2", np.zeros((1, 2), np.float32), np.array([0, -1, 0, -1]))
    searches = Searches(rows, np.array([True, True, False, False]))
    assert searches.nearest(space, np.array([2, 3])).tolist() == [[0, *[-1] * 4], [-1] * 5]
    other = Space("l2", np.zeros((1, 2), np.float32), np.zeros(4, np.int64))
    fused = searches.fused({"attack": space, "temporal": other}, np.array([2, 3]))
    assert fused.tolist() == [[0, 1, -1, -1, -1], [1, 0, -1, -1, -1]]


def test_many_rows_of_one_vector_are_cut_by_nearness_in_time() -> None:
    """Among 10,000 events that are all the same, the five around the query's own moment are its neighbours."""
    times = np.arange(10_001)
    is_base = np.ones(10_001, bool)
    is_base[7000] = False
    space = Space.of_rows("l2", np.ones((10_001, 3), np.float32))
    found = Searches(Rows.of_one_day(["a"] * 10_001, times), is_base).nearest(space, np.array([7000]))
    assert set(found[0].tolist()) < {6997, 6998, 6999, 7001, 7002, 7003}
    assert {6998, 6999, 7001, 7002} < set(found[0].tolist())


def test_scores_are_means_over_events_and_over_classes() -> None:
    """Two queries of one class and one of another, with what is missing counted as wrong."""
    labels = np.array(["a", "a", "a", "b", "b"])
    found = np.array([[0, 0, 0, 0, 3], [0, 0, 0, 0, 0], [3, -1, -1, -1, -1]])
    scores = score(labels, np.array([1, 2, 4]), found)
    assert scores.classes == pytest.approx({"a": 0.9, "b": 0.2})
    assert (scores.overall, scores.macro) == pytest.approx(((0.8 + 1.0 + 0.2) / 3, 0.55))
    assert scores.counts == {"a": 2, "b": 1}
    weighted = score(labels, np.array([1, 2, 4]), found, {"a": 1, "b": 3})
    assert weighted.overall == pytest.approx((0.9 + 3 * 0.2) / 4)


def test_confusion_tells_of_which_classes_neighbours_are() -> None:
    """Shares of the neighbours there are, the most frequent class first."""
    labels = np.array(["a", "a", "b", "c"])
    table = confusion(labels, np.array([1, 3]), np.array([[2, 2, 2, 0, -1], [-1] * 5]))
    assert table == {"a": {"b": 0.75, "a": 0.25}, "c": {}}
    assert list(table["a"]) == ["b", "a"]


def test_equal_vectors_are_kept_once() -> None:
    """A space of rows has each vector once, and every row its own."""
    vectors = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    space: Any = Space.of_rows("l2", vectors)
    assert len(space.vectors) == 2
    assert (space.vectors[space.codes] == vectors).all()
