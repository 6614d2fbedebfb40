"""From vectors to rows: every way of doing it gives the same rows in the same order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.common.days import expansion
from services.common.days.expansion import Nearness
from services.common.days.open_writer import VectorSpec
from services.common.days.selection import Postings
from services.common.days.vectors import VectorIndex

if TYPE_CHECKING:
    import pytest


def _index(codes: list[int], items: int, *, sealed: bool) -> VectorIndex:
    """An index of one-dimensional vectors 0, 1, 2 ...; row i has vector `codes[i]`."""
    values = np.array(codes, np.uint32)
    postings = None
    if sealed:
        order = np.argsort(values, kind="stable").astype(np.uint32)
        starts = np.searchsorted(values[order], np.arange(items + 1)).astype(np.uint32)
        postings = Postings(order, starts)
    table = np.arange(items, dtype=np.float32)[:, None]
    return VectorIndex(VectorSpec("attack", "attack@0", 1, "l2"), len(codes), table, values, postings)


@given(
    codes=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    k=st.integers(1, 70),
    moment=st.integers(0, 60),
    chosen=st.one_of(st.none(), st.sets(st.integers(0, 59), min_size=1)),
    query=st.floats(-1, 6, width=32),
)
def test_sealed_and_open_days_expand_alike(
    codes: list[int], k: int, moment: int, chosen: set[int] | None, query: float
) -> None:
    """Sorting all rows at once, or vector by vector, or without postings: the same rows, by distance, then by time."""
    codes = np.unique(codes, return_inverse=True)[1].tolist()  # as on disk, where every vector has a row
    items = max(codes) + 1
    times = np.arange(len(codes), dtype=np.int64) * 3
    near = Nearness(times, moment)
    selected = (
        None if chosen is None else np.array(sorted(row for row in chosen if row < len(codes)), np.int64)
    )
    vector = np.array([query], np.float32)
    rows = range(len(codes)) if selected is None else selected.tolist()
    wanted = sorted(
        rows, key=lambda row: (abs(np.float32(codes[row]) - vector[0]), codes[row], abs(3 * row - moment))
    )
    wanted_distances = [abs(np.float32(codes[row]) - vector[0]) for row in wanted[:k]]
    for index in (_index(codes, items, sealed=True), _index(codes, items, sealed=False)):
        found = index.search(vector, k, near, selected)
        assert np.allclose(found.distances, wanted_distances)
        assert len(set(found.rows.tolist())) == min(k, len(wanted))
        for distance in set(found.distances.tolist()):
            gaps = near.gaps(found.rows[found.distances == distance])
            same_vector = np.array(codes)[found.rows[found.distances == distance]]
            assert all(np.all(np.diff(gaps[same_vector == code]) >= 0) for code in set(same_vector.tolist()))


@given(
    times=st.lists(st.integers(0, 40), min_size=1, max_size=80).map(sorted),
    chosen=st.sets(st.integers(0, 79), min_size=1),
    k=st.integers(1, 12),
    moment=st.integers(-5, 45),
)
def test_where_times_ascend_the_nearest_are_found_without_looking_at_all(
    times: list[int], chosen: set[int], k: int, moment: int
) -> None:
    """The gaps are those of a look at every row, also where many rows have one time."""
    rows = np.array(sorted(row for row in chosen if row < len(times)) or [0], np.int64)
    plain = Nearness(np.array(times, np.int64), moment)
    found = replace(plain, ascending=True).pick(rows, k)
    assert plain.gaps(found).tolist() == sorted(plain.gaps(rows).tolist())[:k]
    assert set(found.tolist()) <= set(rows.tolist())


def test_a_vector_of_very_many_rows_gives_those_nearest_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of sorting at once, the answer is the same."""
    codes = [0] * 300 + [1] * 300
    index = _index(codes, 2, sealed=True)
    near = Nearness(np.arange(600, dtype=np.int64), 450)
    query = np.array([1.0], np.float32)
    at_once = index.search(query, 320, near)
    monkeypatch.setattr(expansion, "HEAVY", 10)
    one_by_one = index.search(query, 320, near)
    assert at_once.distances.tolist() == one_by_one.distances.tolist()
    assert near.gaps(at_once.rows).tolist() == near.gaps(one_by_one.rows).tolist()
    assert set(at_once.rows[:300].tolist()) == set(range(300, 600))
