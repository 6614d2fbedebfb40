"""Within a day each vector is compared with those that came before it: exactly where it may matter, never too near."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.open_writer import VectorSpec
from services.common.days.vectors import NO_VECTOR, VectorIndex
from services.rag.novelty import within
from services.rag.novelty.spaces import Space
from services.rag.novelty.within import distances_within, farthest

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIM = 4


def _space(vectors: NDArray[np.float32], metric: Any, rows: int, *, parts: int = 1) -> Space:
    """A day in one or several open segments, whose first rows have the vectors in their order."""
    views: list[Any] = []
    for mine in np.array_split(vectors, parts):
        codes = np.zeros(rows // parts, np.uint32)
        codes[: len(mine)] = np.arange(len(mine))
        index = VectorIndex(VectorSpec("attack", "attack@0", DIM, metric), len(codes), mine, codes)
        times = np.arange(len(codes), dtype=np.int64) * 10
        view: Any = SimpleNamespace(
            day="2026-01-20",
            name=f"open-{len(views) + 1:06}",
            sealed=False,
            indices={"attack": index},
            columns={"time_ns": times},
        )
        views.append(view)
    return Space("2026-01-20", "attack", "attack@0", tuple(views))


def _vectors(count: int, metric: str) -> NDArray[np.float32]:
    found = np.random.default_rng(3).normal(size=(count, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if metric == "cosine" else found


def _truth(metric: str, vectors: NDArray[np.float32], times: NDArray[np.int64]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    apart = np.linalg.norm(wide[:, None] - wide[None], axis=2)
    everything = 1 - wide @ wide.T if metric == "cosine" else apart
    everything[times[:, None] <= times[None]] = np.inf
    found = everything.min(axis=1)
    return np.where(np.isfinite(found), found, 0)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("rows", [700, 7000])
def test_the_farthest_are_exact_and_the_others_not_too_near(
    metric: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many stretches: exact for the farthest tenth, at least the true distance for the others, 0 for the first."""
    monkeypatch.setattr(within, "BLOCK", 64)
    vectors = _vectors(600, metric)
    space = _space(vectors, metric, rows)
    times = np.random.default_rng(4).permutation(600).astype(np.int64)
    found, exact = distances_within(space, times, lambda: None)
    truth = _truth(metric, vectors, times)
    assert len(exact) == min(rows // 10 + 1, 600)
    assert np.allclose(found[exact], truth[exact], atol=2e-6)
    assert (found >= truth - 2e-6).all()
    assert found[np.argmin(times)] == 0
    if len(exact) == len(found):
        assert np.allclose(found, truth, atol=2e-6)


def test_a_day_of_one_vector_is_far_from_nothing() -> None:
    """Alone there is nothing to be far from."""
    space = _space(_vectors(1, "l2"), "l2", 5)
    found, _ = distances_within(space, np.zeros(1, np.int64), lambda: None)
    assert found.tolist() == [0]


def test_segments_of_a_day_are_one_space() -> None:
    """Items go on from one segment to the next; each knows its first row there, and its vector."""
    vectors = _vectors(20, "l2")
    space = _space(vectors, "l2", 60, parts=2)
    assert (space.items, space.rows) == (20, 60)
    assert (space.take(np.arange(20)) == vectors).all()
    first = space.first_seen()
    for number, view in enumerate(space.views):
        assert first.rows_in(view).tolist() == list(range(10))
        assert space.items_of(view)[:10].tolist() == list(range(number * 10, number * 10 + 10))
    assert len(set(first.keys.tolist())) == 20


def test_rows_without_a_vector_have_no_item() -> None:
    """Benign events that sampling left out are never judged, and never the first of a vector."""
    index = VectorIndex(
        VectorSpec("attack", "attack@0", DIM, "l2"),
        4,
        _vectors(2, "l2"),
        np.array([NO_VECTOR, 1, 0, 1], np.uint32),
        left_out=1,
    )
    view: Any = SimpleNamespace(
        name="open-000001",
        sealed=False,
        indices={"attack": index},
        columns={"time_ns": np.array([1, 9, 3, 2], np.int64)},
    )
    space = Space("2026-01-20", "attack", "attack@0", (view,))
    assert space.rows == 3
    assert space.items_of(view).tolist() == [-1, 1, 0, 1]
    first = space.first_seen()
    assert first.rows_in(view).tolist() == [2, 3]
    assert first.times.tolist() == [3, 2]


def test_the_farthest_are_a_tenth_of_the_events() -> None:
    """Their number goes by events, not by vectors; of equally far ones the first."""
    distances = np.array([1, 5, 5, 2, 5], np.float32)
    assert farthest(distances, 10).tolist() == [1, 2]
    assert farthest(distances, 1000).tolist() == [0, 1, 2, 3, 4]
