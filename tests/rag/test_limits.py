"""What a replica refuses, and what it leaves out when the time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.names import NS_PER_DAY, day_start_ns
from services.common.errors import UsageError
from services.common.logs import make_logger
from services.common.rpc import Deadline
from services.rag.arguments import parse_filters
from services.rag.catalog import Catalog
from services.rag.limits import refuse_future

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.rpc_server import Handler

OLD, OPEN = "2026-01-20", "2026-01-22"
SOON = Deadline()


@pytest.fixture
def ask(world: Any, replica: Any) -> Mapping[str, Handler]:
    """The operations of a replica over a sealed and an open day."""
    world.fill(OLD, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return replica(world)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"since": "9999-01-01"}, "'since' begins in the future: 2262-04-11T23:47:16.854775Z is more than"),
        ({"days": ["2400-01-01", "2300-01-01"]}, "'days' begins in the future: 2300-01-01T00:00:00.000000Z"),
    ],
)
def test_the_future_is_refused(ask: Any, filters: dict[str, Any], said: str) -> None:
    """A time or day that nothing can be of yet is named, with what the clock says."""
    with pytest.raises(UsageError) as refused:
        ask["list"]({"filters": filters}, SOON)
    assert said in str(refused.value)


def test_a_day_that_is_over_may_stand_beside_one_to_come(ask: Any) -> None:
    """A week that is not over yet is no mistake, and `until` may lie anywhere after `since`."""
    answer = ask["list"]({"filters": {"days": [OLD, "2400-01-01"], "until": "9999-01-01"}}, SOON)
    assert answer["receipt"]["days"] == [OLD]


def test_events_are_believed_where_the_clock_is_behind(world: Any, follow: Any) -> None:
    """A machine whose clock stands in 1970 answers questions about its events, and about a day more."""
    world.fill(OPEN, 5, sealed=False)
    with follow(world).lease() as snapshot:
        refuse_future(parse_filters({"since": f"{OPEN}T00:00:00Z"}), snapshot, 0)
        late = day_start_ns(OPEN) + 2 * NS_PER_DAY
        with pytest.raises(UsageError, match="after now, 1970-01-01T00:00:00"):
            refuse_future(parse_filters({"since": late}), snapshot, 0)


def test_an_empty_state_knows_the_clock_alone(world: Any) -> None:
    """Without events a day after the clock is the last that may be asked for."""
    catalog = Catalog(world.state, make_logger("test"))
    with catalog.lease() as snapshot:
        refuse_future(parse_filters({"since": NS_PER_DAY}), snapshot, 0)
        with pytest.raises(UsageError, match="'since' begins in the future"):
            refuse_future(parse_filters({"since": NS_PER_DAY + 1}), snapshot, 0)
