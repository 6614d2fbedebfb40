"""The split by time: what comes later is never in the base, and choosing something never touches the queries."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.training.split import split_by_time, spread

EVENTS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 50)), min_size=1, max_size=80)
SHARES = st.sampled_from([0.1, 0.5, 0.6, 0.99])


@given(EVENTS, SHARES)
def test_the_base_is_the_first_part_of_each_class(events: list[tuple[str, int]], share: float) -> None:
    """Of each class the base has the share rounded down, and nothing in it is later than any query of the class."""
    labels, times = np.array([label for label, _ in events]), np.array([time for _, time in events])
    split = split_by_time(labels, times, share)
    assert (split.base ^ split.queries).all()
    for label in set(labels):
        mine = labels == label
        base, queries = times[mine & split.base], times[mine & split.queries]
        assert len(base) == int(share * mine.sum())
        assert not len(base) or base.max() <= queries.min()


@given(EVENTS)
def test_the_inner_split_divides_the_base_alone(events: list[tuple[str, int]]) -> None:
    """Base and queries of the inner split are the base of the outer one, and divide it by the same rule."""
    labels, times = np.array([label for label, _ in events]), np.array([time for _, time in events])
    outer = split_by_time(labels, times)
    inner = outer.inner(labels, times)
    assert ((inner.base | inner.queries) == outer.base).all()
    assert not (inner.base & inner.queries).any()
    known = np.flatnonzero(outer.base)
    again = split_by_time(labels[known], times[known])
    assert (inner.base[known] == again.base).all()


def test_events_of_one_time_stay_in_their_order() -> None:
    """Where all times are equal, the first ones as they are given are the base."""
    split = split_by_time(["a"] * 5, np.zeros(5, np.int64))
    assert split.base.tolist() == [True, True, True, False, False]


@given(EVENTS, st.integers(0, 100))
def test_spreading_keeps_rare_classes_whole(events: list[tuple[str, int]], most: int) -> None:
    """There are at most so many; a class that gives less than it has gives as many as any other class, within one."""
    labels, times = np.array([label for label, _ in events]), np.array([time for _, time in events])
    chosen = spread(labels, times, most)
    assert len(chosen) == len(set(chosen.tolist())) <= max(most, 0)
    assert (np.diff(chosen) > 0).all()
    if most >= len(events):
        assert len(chosen) == len(events)
    taken = {label: int((labels[chosen] == label).sum()) for label in set(labels)}
    cut = [count for label, count in taken.items() if count < (labels == label).sum()]
    assert all(count == max(taken.values()) for count in cut)


def test_a_class_is_thinned_evenly_over_its_time() -> None:
    """Ten of a hundred events lie ten apart in time, whatever the order in which they are given."""
    times = np.random.default_rng(1).permutation(100)
    chosen = spread(["a"] * 100, times, 10)
    assert sorted(times[chosen].tolist()) == list(range(0, 100, 10))
