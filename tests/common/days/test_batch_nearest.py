"""The nearest vector to each of many is that of a comparison with all, in every form in which vectors are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import faiss
import numpy as np
import pytest

from services.common.days.batch_nearest import nearest_distances
from services.common.days.encodings import EncodedVectors, train_encoding
from services.common.days.open_writer import VectorSpec
from services.common.days.vector_lists import FaissLists, make_lists
from services.common.days.vectors import VectorIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIM, ITEMS, QUERIES = 8, 6000, 5000
METRICS: tuple[Literal["l2", "cosine"], ...] = ("l2", "cosine")


def never() -> None:
    """Do not end the search."""


def _vectors(seed: int, count: int, metric: str) -> NDArray[np.float32]:
    """Several clouds of points; of length 1 for cosines."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(40, DIM)) * 4
    found = (centers[rng.integers(40, size=count)] + rng.normal(size=(count, DIM))).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if metric == "cosine" else found


def _exact(metric: str, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """By plain numpy in double precision, block by block."""
    found = []
    for query in queries.astype(np.float64):
        wide = vectors.astype(np.float64)
        found.append(
            1 - (wide @ query).max()
            if metric == "cosine"
            else np.sqrt(((wide - query) ** 2).sum(axis=1).min())
        )
    return np.array(found)


def _index(metric: Any, vectors: Any, accelerator: Any = None) -> VectorIndex:
    spec = VectorSpec("attack", "attack@0", DIM, metric)
    return VectorIndex(spec, len(vectors), vectors, accelerator=accelerator)


@pytest.mark.parametrize("metric", METRICS)
def test_without_lists_it_is_exact(metric: Any) -> None:
    """An open day has no lists: all vectors are compared, over the edges of the pieces too."""
    vectors, queries = _vectors(1, ITEMS, metric), _vectors(2, QUERIES, metric)
    found = nearest_distances(_index(metric, vectors), queries, never)
    some = np.r_[0:50, 4090:4102, QUERIES - 50 : QUERIES]
    assert np.allclose(found[some], _exact(metric, queries[some], vectors), atol=2e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["lists", "encoded", "faiss"])
def test_lists_find_what_a_question_would_find(metric: Any, kind: str) -> None:
    """With lists the same vectors are found as by a search for each query alone, and all when all lists are visited."""
    vectors, queries = _vectors(1, ITEMS, metric), _vectors(2, 300, metric)
    lists, order = make_lists(vectors)
    stored: Any = vectors[order]
    if kind == "encoded":
        differences = stored - lists.centers[lists.of(np.arange(ITEMS))]
        encoding = train_encoding("sq8", differences)
        assert encoding is not None
        stored = EncodedVectors(encoding.encode(differences), encoding, lists, metric == "cosine")
    accelerator: Any = lists if kind != "faiss" else _faiss(stored, metric)
    whole = _index(metric, stored, accelerator)
    assert np.allclose(
        nearest_distances(whole, queries, never), _exact(metric, queries, np.asarray(stored)), atol=1e-4
    )
    few = replace(whole, accelerator=replace(accelerator, nprobe=2))
    alone = np.concatenate([few.distinct(query, 1)[1] for query in queries])
    found = nearest_distances(few, queries, never)
    assert (found >= alone - 2e-6).all(), "a question widens its search, never narrows it"
    assert np.mean(np.abs(found - alone) < 2e-6) > 0.97


def _faiss(vectors: NDArray[np.float32], metric: str) -> FaissLists:
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    index: Any = faiss.IndexIVFFlat(faiss.IndexFlat(DIM, kind), DIM, 16, kind)
    index.train(vectors)
    index.add(vectors)
    return FaissLists(index, 16)


def test_equal_vectors_are_at_distance_zero() -> None:
    """What faiss rounds to a little more than nothing is measured again."""
    vectors = _vectors(1, 500, "l2") * 1000
    assert (nearest_distances(_index("l2", vectors), vectors, never) == 0).all()


def test_nothing_is_infinitely_far() -> None:
    """An index without vectors is near to nothing, and no question has no answer."""
    empty = _index("l2", np.empty((0, DIM), np.float32))
    assert np.isinf(nearest_distances(empty, _vectors(1, 3, "l2"), never)).all()
    assert not len(
        nearest_distances(_index("l2", _vectors(1, 9, "l2")), np.empty((0, DIM), np.float32), never)
    )


def test_vectors_behind_the_committed_rows_are_not_seen() -> None:
    """The files of an open day may be written further than its rows: what is there is not compared yet."""
    vectors = _vectors(1, 10, "l2")
    codes = np.array([0, 1, 1, 2, 0], np.uint32)
    index = VectorIndex(VectorSpec("attack", "attack@0", DIM, "l2"), 5, vectors, codes, hidden=7)
    found = nearest_distances(index, vectors, never)
    assert (found[:3] == 0).all()
    assert (found[3:] > 0).all()


def test_a_search_can_be_ended() -> None:
    """What the caller raises between two pieces comes through."""

    class EnoughError(Exception):
        pass

    def enough() -> None:
        raise EnoughError

    vectors = _vectors(1, ITEMS, "l2")
    lists, order = make_lists(vectors)
    for index in (_index("l2", vectors), _index("l2", vectors[order], lists)):
        with pytest.raises(EnoughError):
            nearest_distances(index, vectors[:10], enough)
