"""Lists page by page: every event once, in one order, whatever happens between the pages."""

from __future__ import annotations

from typing import Any

import pytest

from services.common.errors import UsageError
from services.common.rpc import Deadline, NotFound

OLD, OPEN = "2026-01-20", "2026-01-22"
SOON = Deadline()


def pages(ask: Any, limit: int, **more: Any) -> list[list[str]]:
    """The ids on each page."""
    answer = ask["list"]({"limit": limit, **more}, SOON)
    as_of = answer["receipt"]["as_of"]
    found = [answer]
    while answer["next"] is not None:
        answer = ask["list"]({"limit": limit, "after": answer["next"], "as_of": as_of, **more}, SOON)
        found.append(answer)
    return [[event["event_id"] for event in one["events"]] for one in found]


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
def test_pages_are_the_whole_list(world: Any, replica: Any, order: str, limit: int) -> None:
    """Pages of any size, one after the other, are the list in one piece, though many events have the same time."""
    world.fill(OLD, 30, sealed=True)
    for day, segment in ((OLD, 2), (OPEN, 1), (OPEN, 2)):
        events = world.make(day, 20)
        for number, event in enumerate(events):
            event.event_timestamp.seconds = events[0].event_timestamp.seconds + number % 3
        world.write(day, events, segment=segment)
    ask = replica(world)
    whole = [event["event_id"] for event in ask["list"]({"limit": 1000, "order": order}, SOON)["events"]]
    assert len(whole) == len(set(whole)) == 90
    found = pages(ask, limit, order=order)
    assert [event_id for page in found for event_id in page] == whole
    assert all(len(page) == limit for page in found[:-1])


def test_filters_hold_on_every_page(world: Any, replica: Any) -> None:
    """What the filters leave out is on no page."""
    world.fill(OLD, 60, sealed=True)
    ask = replica(world)
    wanted = [i for i, e in world.events.items() if e.final_classification == "DDoS"]
    found = pages(ask, 4, filters={"class": "DDoS"})
    assert sorted(event_id for page in found for event_id in page) == sorted(wanted)


def test_events_that_come_between_pages_are_not_on_them(world: Any, replica: Any, until: Any) -> None:
    """With the `as_of` of the first page, the others are of the same moment."""
    world.fill(OPEN, 20, sealed=False)
    ask = replica(world)
    before = set(world.events)
    first = ask["list"]({"limit": 5, "order": "oldest"}, SOON)
    world.write(OPEN, world.make(OPEN, 30, "late"))
    until(lambda: ask["stats"]({}, SOON)["rows"] == 50)
    more = {"after": first["next"], "as_of": first["receipt"]["as_of"], "limit": 1000, "order": "oldest"}
    rest = ask["list"](more, SOON)
    listed = [event["event_id"] for answer in (first, rest) for event in answer["events"]]
    assert (set(listed), len(listed), rest["next"]) == (before, 20, None)


def test_a_list_that_cannot_go_on_says_so(world: Any, replica: Any, until: Any) -> None:
    """A cursor that is none is refused by its name; one of a segment that is sealed now says what to do."""
    world.fill(OPEN, 20, sealed=False)
    ask = replica(world)
    for wrong in ("x", "1/2026-01-22/open-000001", "1/2026-01-22/open-000001/-1"):
        with pytest.raises(UsageError, match="'after' must be the 'next' of a list"):
            ask["list"]({"after": wrong}, SOON)
    after = ask["list"]({"limit": 5}, SOON)["next"]
    world.seal(OPEN)
    until(lambda: ask["days"]({}, SOON)["days"][0]["state"] == "sealed")
    with pytest.raises(NotFound, match=r"2026-01-22 was sealed meanwhile\. Begin it anew"):
        ask["list"]({"after": after}, SOON)
