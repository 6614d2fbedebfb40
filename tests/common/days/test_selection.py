"""Filtered search finds the rows that a comparison with every row finds, whichever way the cost chooses."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from services.common.days import expansion, vectors
from services.common.days.expansion import Nearness
from services.common.days.open_writer import VectorSpec
from services.common.days.selection import Postings, Selection
from services.common.days.vector_lists import make_lists
from services.common.days.vectors import NO_VECTOR, VectorIndex

ROWS, ITEMS, DIM = 30_000, 3_000, 8
SHARES = (0.0005, 0.001, 0.01, 0.05, 0.1, 0.33, 0.7, 1.0)
KINDS = ("own", "shared, open", "shared, sealed", "shared, lists", "shared, sampled")


def _index(kind: str) -> VectorIndex:
    """Row i has vector i, or rows share vectors, of which one is that of a third of all rows."""
    rng = np.random.default_rng(3)
    spec = VectorSpec("attack", "attack@0", DIM, "l2")
    found = rng.normal(size=(ITEMS, DIM)).astype(np.float32)
    if kind == "own":
        return VectorIndex(spec, ITEMS, found)
    codes = rng.integers(0, ITEMS, ROWS).astype(np.uint32)
    codes[rng.random(ROWS) < 0.3] = 7
    if kind == "shared, sampled":
        codes[rng.random(ROWS) < 0.2] = NO_VECTOR
    index = VectorIndex(spec, ROWS, found, codes)
    if kind == "shared, open":
        return index
    if kind == "shared, lists":
        lists, order = make_lists(found)
        numbers = np.empty(ITEMS, np.uint32)
        numbers[order] = np.arange(ITEMS)
        codes = numbers[codes]
        index = VectorIndex(spec, ROWS, found[order], codes, accelerator=lists)
    order_of_rows = np.argsort(codes, kind="stable").astype(np.uint32)
    starts = np.searchsorted(codes[order_of_rows], np.arange(ITEMS + 1)).astype(np.uint32)
    return replace(index, postings=Postings(order_of_rows, starts))


def _passing(index: VectorIndex, share: float, way: str) -> np.ndarray:
    """Rows spread evenly, or those of one stretch of time, or those farthest from the query."""
    rng = np.random.default_rng(int(share * 10_000))
    count = max(int(share * index.rows), 1)
    if way == "even":
        return np.sort(rng.choice(index.rows, count, replace=False))
    if way == "stretch":
        first = int(rng.integers(index.rows - count + 1))
        return np.arange(first, first + count)
    distances = index.distances(index.vector(_asked(index)), np.arange(index.rows))
    return np.sort(np.argsort(distances, kind="stable")[index.rows - count :])


def _asked(index: VectorIndex) -> int:
    return next(row for row in range(11, index.rows) if index.has(row))


@pytest.mark.parametrize(("kind", "way"), [*product(KINDS, ("even", "stretch", "far"))])
def test_filtered_search_is_exact_at_any_share(kind: str, way: str) -> None:
    """As many rows as pass, up to k, at the distances of brute force; of equal ones those nearest in time."""
    index = _index(kind)
    query, moment = index.vector(_asked(index)), index.rows // 3
    near = Nearness(np.arange(index.rows, dtype=np.int64), moment, ascending=index.postings is not None)
    for share, k in product(SHARES, (1, 10, 300)):
        rows = _passing(index, share, way)
        distances = index.distances(query, rows)
        rows, distances = rows[np.isfinite(distances)], distances[np.isfinite(distances)]
        wanted = np.lexsort((near.gaps(rows), distances))[:k]
        for selected in (rows, Selection.of_rows(rows, index.rows)):
            found = index.search(query, k, near, selected)
            assert found.distances.tolist() == distances[wanted].tolist(), (share, k)
            assert near.gaps(found.rows).tolist() == near.gaps(rows[wanted]).tolist(), (share, k)
            assert np.isin(found.rows, rows).all()


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (vectors, "GATHER_UP_TO", 0),
        (vectors, "MANY_ROWS", 0),
        (vectors, "MANY_ROWS", ROWS),
        (expansion, "SMALL", 0),
        (expansion, "SMALL", ROWS),
        (expansion, "HEAVY", 2),
        (expansion, "HEAVY", ROWS),
        (expansion, "SORT_UP_TO", 0),
    ],
)
def test_each_way_finds_the_same(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: float
) -> None:
    """What the cost chooses between are ways to one answer: each alone is exact too."""
    monkeypatch.setattr(module, name, value)
    for kind in KINDS[1:]:
        test_filtered_search_is_exact_at_any_share(kind, "even")


def test_a_selection_is_the_same_in_every_form() -> None:
    """Rows, mask and count say the same, also of a stretch, and of the first rows alone."""
    stretch = np.array([True, False, True, True])
    chosen = Selection(10, 3, stretch)
    assert (chosen.rows.tolist(), chosen.count) == ([3, 5, 6], 3)
    assert np.flatnonzero(chosen.mask).tolist() == [3, 5, 6]
    for total, left in ((10, [3, 5, 6]), (6, [3, 5]), (3, []), (0, [])):
        short = chosen.up_to(total)
        assert (short.rows.tolist(), short.count, len(short.mask)) == (left, len(left), total)
    assert Selection.of_rows(np.array([3, 5, 6]), 10).mask.tolist() == chosen.mask.tolist()
