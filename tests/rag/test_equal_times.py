"""Events of the same moment have one order: that in which they lie, on every machine and in every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.days.expansion import Nearness
from services.common.rpc import Deadline

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAYS = ("2026-01-20", "2026-01-21")
SOON = Deadline()


@pytest.fixture
def ask(world: Any, replica: Any) -> Any:
    """The operations over a sealed and an open day, each with 40 events in two seconds."""
    for day in DAYS:
        events = world.make(day, 40)
        for number, event in enumerate(events):
            event.event_timestamp.seconds += number % 2 - event.event_timestamp.seconds % 86_400
        world.write(day, events)
    world.seal(DAYS[0])
    return replica(world)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_shorter_lists_are_the_beginning_of_longer_ones(ask: Any, order: str) -> None:
    """However many events are listed, they are the first of all; those of one moment by the rows where they lie."""

    def listed(limit: int) -> list[tuple[str, str, int]]:
        events = ask["list"]({"limit": limit, "order": order}, SOON)["events"]
        return [(event["time"], event["day"], event["row"]) for event in events]

    everything = listed(1000)
    assert len(everything) == 80
    assert everything == sorted(everything, reverse=order == "newest")
    for limit in range(1, 80):
        assert listed(limit) == everything[:limit]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 5), st.integers(1, 20))
def test_of_equal_gaps_the_first_rows_are_taken(times: list[int], moment: int, k: int) -> None:
    """The rows nearest in time are those that sorting all of them gives, equal ones by their number."""
    rows = np.arange(len(times), dtype=np.int64)
    time_ns: NDArray[np.int64] = np.array(times, np.int64)
    near = Nearness(time_ns, moment)
    assert near.pick(rows, k).tolist() == np.lexsort((rows, np.abs(time_ns - moment)))[:k].tolist()
