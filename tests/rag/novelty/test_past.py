"""Shares and thresholds: how many past events were as far."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.rag.novelty.past import FusedPast, Past, PastDay
from services.rag.novelty.spaces import First


def _day(name: str, distances: list[float], rows: int, keys: list[int] | None = None) -> PastDay:
    space: Any = SimpleNamespace(day=name, rows=rows)
    numbers = np.array(range(len(distances)) if keys is None else keys, np.int64)
    return PastDay(space, First(numbers, numbers), np.array(distances, np.float32))


DISTANCES = st.lists(st.floats(0, 10, width=32), min_size=1, max_size=40)


@given(distances=DISTANCES, repeated=st.integers(0, 500), rare=st.floats(0, 0.1))
def test_a_threshold_lets_no_more_pass_than_allowed(
    distances: list[float], repeated: int, rare: float
) -> None:
    """Beyond the threshold is at most the share asked for; at the threshold it is more, unless it is 0."""
    rows = len(distances) + repeated
    past = Past.of([_day("a", distances, rows)])
    threshold = past.threshold(rare)
    beyond = np.nextafter(np.float32(threshold), np.float32(np.inf))
    assert past.shares(np.array([beyond]))[0] <= rare + 1e-9
    if threshold > 0:
        assert past.shares(np.array([threshold], np.float32))[0] > rare


@given(distances=DISTANCES, share=st.floats(0.001, 0.1))
def test_below_a_share_is_below(distances: list[float], share: float) -> None:
    """`below` leaves only distances whose share is smaller than the one given."""
    past = Past.of([_day("a", distances, len(distances))])
    threshold = past.threshold(share, below=True)
    beyond = np.nextafter(np.float32(threshold), np.float32(np.inf))
    assert past.shares(np.array([beyond]))[0] < share


def test_repeated_events_are_near() -> None:
    """Events that have the vector of an earlier one were at no distance: a flood raises no threshold."""
    past = Past.of([_day("a", [0.1, 0.2, 0.9], 1000), _day("b", [5.0], 1000)])
    assert past.threshold(0.001) == np.float32(0.2), (
        "half of all events were the flood, and only its first was far"
    )


def test_several_days_are_one_past() -> None:
    """The share of past events that were as far counts all days."""
    past = Past.of([_day("a", [1, 2], 10), _day("b", [3], 10)])
    assert past.shares(np.array([0.5, 2, 2.5, 4], np.float32)).tolist() == [0.15, 0.1, 0.05, 0]
    assert past.events == 20


def test_fused_takes_the_smallest_share_of_each_event() -> None:
    """An event that is far in two indices counts once, by the index in which it is rarer."""
    one = Past.of([_day("a", [9, 5, 1], 100, [7, 8, 9])])
    two = Past.of([_day("a", [4, 2], 100, [8, 7])])
    fused = FusedPast.of([one, two])
    # Event 7 is the farthest in one, 8 in the other, 9 the third in one.
    assert fused.ascending.tolist() == [0.01, 0.01, 0.03]
    assert fused.events == 100
    assert fused.shares(np.array([0.0, 0.01, 0.02, 0.03])).tolist() == [0, 0.02, 0.02, 0.03]
    assert fused.limit(0.02) == 0.03
    assert fused.limit(0.01) == 0.01


def test_fused_days_are_told_apart() -> None:
    """The same place on two days is two events."""
    fused = FusedPast.of([Past.of([_day("a", [1], 10, [1]), _day("b", [2], 10, [1])])])
    assert len(fused.ascending) == 2
    assert fused.events == 20
