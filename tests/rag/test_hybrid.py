"""`hybrid`: the host and the window decide which events there are, the text in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import UsageError
from services.common.rpc import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.rpc_server import Handler

OLD, OPEN = "2026-01-20", "2026-01-22"
HOST = "10.1.2.3"
SOON = Deadline()


@pytest.fixture
def ask(world: Any, replica: Any) -> Mapping[str, Handler]:
    """The operations of a replica over a sealed and an open day."""
    world.fill(OLD, 120, sealed=True)
    world.fill(OPEN, 80, sealed=False)
    return replica(world)


def of_host(world: Any, day: str) -> set[str]:
    """The ids of the events of the host on a day, by a plain look."""
    return {
        event_id
        for event_id, event in world.events.items()
        if day in event_id
        and HOST in (event.network_features.source_ip, event.network_features.destination_ip)
    }


def test_all_of_the_host_in_the_window_is_found_and_nothing_else(world: Any, ask: Any) -> None:
    """Of one day every event of the host on either side comes, and the answer says how many there are."""
    answer = ask["hybrid"](
        {"entity": HOST, "text": "web traffic", "k": 1000, "flat": True, "filters": {"days": OPEN}}, SOON
    )
    wanted = of_host(world, OPEN)
    assert wanted
    assert {hit["event_id"] for hit in answer["hits"]} <= wanted
    assert answer["entity"] == {"host": HOST, "events": len(wanted)}
    both = ask["hybrid"]({"entity": HOST, "text": "web traffic", "k": 1}, SOON)
    assert both["entity"]["events"] == len(wanted) + len(of_host(world, OLD))


def test_the_text_orders_what_the_host_did(ask: Any) -> None:
    """What an event of the host is in words finds its pattern first; single events come where asked for."""
    every = ask["list"]({"filters": {"host": HOST}, "limit": 1000}, SOON)["events"]
    for event in every[::9]:
        question = {"entity": HOST, "text": event["narrative"], "k": 3}
        assert ask["hybrid"](question, SOON)["groups"][0]["narrative"] == event["narrative"]
        assert ask["hybrid"]({**question, "flat": True}, SOON)["hits"][0]["narrative"] == event["narrative"]


def test_nothing_of_the_text_becomes_a_filter(ask: Any) -> None:
    """Who gave the window and the host means the text as it is."""
    answer = ask["hybrid"]({"entity": HOST, "text": "from 8.8.8.8 yesterday", "k": 5}, SOON)
    assert answer["understood"]["filters"] == {}
    assert answer["groups"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"filters": {"host": "8.8.8.8"}}, "leave the filter 'host' out"),
        ({"entity": "10.0.0.5/8"}, "host bits"),
        ({"entity": "a host"}, "host"),
        ({"entity": " "}, "'entity' must be a text that is not empty"),
        ({"text": ""}, "'text' must be"),
    ],
)
def test_a_wrong_question_is_a_sentence(ask: Any, more: dict[str, Any], said: str) -> None:
    """No host, two hosts, or no text are refused, each by name."""
    with pytest.raises(UsageError, match=said):
        ask["hybrid"]({"entity": HOST, "text": "scan", **more}, SOON)
