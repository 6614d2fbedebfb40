"""Attackers write events, the model obeys them: what is sent is fenced and clean, what comes through harms nobody.

Each text of tests/data/injections.toml stands in a real event on disk, is found by a real search, and goes to a real
server that plays the model.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.rag.assistant.assistant import ONLY_REMOVED, Assistant
from services.rag.assistant.endpoint import Endpoint, EndpointSettings
from services.rag.assistant.prompt import RULES, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]

FILE = Path(__file__).parents[2] / "data" / "injections.toml"
INJECTIONS = tomllib.loads(FILE.read_text("utf-8"))["injection"]
BY_NAME = pytest.mark.parametrize("injection", INJECTIONS, ids=[one["name"] for one in INJECTIONS])
DAY = "2026-01-22"
MARK = "6d61726b206f6620746865206675747572"
LINE = re.compile(r"BEGIN DATA (\S+)\n(.*)\nEND DATA (\S+)\n", re.DOTALL)
ALIVE = re.compile(
    r"""://|:\\\\|\]\(|!\[|<[a-z/!?]|\bwww\.|\b(?:javascript|data|mailto):\S|(?<!\S)//
    |[\w-][.\u3002](?:example|com)\b|&(?:lt|amp|\#x?\d)""",
    re.IGNORECASE | re.VERBOSE,
)
# What no text for people or models may hold, apart from how the program under test decides it.
HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)


def address(injection: Mapping[str, Any]) -> str:
    """The host that only this attacker has."""
    return f"198.51.100.{INJECTIONS.index(injection) + 1}"


def written(world: Any, injection: Mapping[str, Any], event_id: str) -> Any:
    """An event with the attacker's text in its place."""
    event, text = world._event(DAY, event_id), injection["text"]
    event.network_features.source_ip = address(injection)
    event.fast_detector_triggered = True
    match injection["field"]:
        case "class":
            event.final_classification = text
        case "category":
            event.threat_category = text
        case "reason":
            event.fast_detector_reason = text
        case "tag":
            event.event_tags.append(text)
        case "node":
            event.originating_node_id = text
        case "label":
            event.custom_metadata["label"] = text
        case "event_id":
            event.event_id = text
    return event


@pytest.fixture(scope="module")
def world(world_class: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Every attack on one day, each from a host of its own, among other events."""
    made = world_class(tmp_path_factory.mktemp("injections"))
    attacks = [written(made, injection, f"attack-{n}") for n, injection in enumerate(INJECTIONS)]
    made.write(DAY, [*attacks, *made.make(DAY, 50)])
    yield made
    made.close()


@pytest.fixture(scope="module")
def ask(world: Any, serve: Any) -> Ask:
    """Asks a replica over the world."""
    found: Ask = serve(world)
    return found


def question(injection: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What an analyst asks, so that the attacker's event is found."""
    return "what did this host attack", {"filters": {"src": address(injection)}}


def assistant(ask: Ask, played: Any) -> Assistant:
    return Assistant(ask, Endpoint(EndpointSettings(played.url, "obedient")), lambda: MARK)


def assert_harmless(answer: Mapping[str, Any], world: Any, injection: Mapping[str, Any]) -> None:
    """Nothing alive or hidden is in the texts of an answer, and every bracket is a citation of a found event."""
    found = {event["event_id"] for group in answer["groups"] for event in group["examples"]}
    cited = {one["event_id"] for one in answer["citations"]}
    assert cited <= found <= set(world.events)
    names = cited | {one["label"] for one in answer["citations"]}
    for text in (answer["answer"], answer["summary"] or ""):
        assert not ALIVE.search(text), text
        assert not HIDDEN.search(text), text
        assert not [never for never in injection["never"] if never in text], text
        assert set(re.findall(r"\[([^\[\]]*)\]", text)) <= (names if text is answer["answer"] else found)


def test_there_are_enough_of_them() -> None:
    """At least thirty, in every field that a sender chooses."""
    assert len(INJECTIONS) >= 30
    assert len({one["name"] for one in INJECTIONS}) == len(INJECTIONS)
    fields = {"class", "category", "reason", "tag", "node", "label", "event_id"}
    assert {one["field"] for one in INJECTIONS} == fields


@BY_NAME
def test_what_is_sent(injection: Any, world: Any, ask: Ask, played: Any) -> None:
    """Rules and data stay apart, the fence is whole, every line is JSON, nothing is hidden, no id is there."""
    played.says("nothing [E1]")
    assistant(ask, played).answer(*question(injection))
    (asked,) = played.asked
    rules, user = asked.document["messages"]
    assert rules == {"role": "system", "content": RULES}
    assert user["role"] == "user"
    text = user["content"]
    begun, block, ended = LINE.findall(text)[0]
    assert begun == ended == MARK
    assert text.count(f"BEGIN DATA {MARK}\n") == text.count(f"\nEND DATA {MARK}\n") == 1
    records = [json.loads(line) for line in block.split("\n")]
    assert records
    assert all(isinstance(record, dict) for record in records)
    assert not HIDDEN.search(text)
    assert len(block) <= Limits().whole
    if injection["field"] != "event_id":
        assert (
            re.findall("[A-Za-z]{3,}|x|z", injection["text"])[0] in block
        )  # what can be seen of it is there
    else:
        assert injection["text"] not in {
            value for record in records for value in record["examples"][0].values()
        }
    assert not [event_id for event_id in world.events if len(event_id) > 2 and event_id in text]


@BY_NAME
def test_the_model_obeys(injection: Any, world: Any, ask: Ask, played: Any) -> None:
    """It says what the attacker wants: what comes through has no link, no escape and no citation that is none."""
    played.says(injection["obeyed"])
    answer = assistant(ask, played).answer(*question(injection))
    assert_harmless(answer, world, injection)
    if "think>" in injection["obeyed"]:
        assert (answer["by"], answer["reason"]) == ("summary", ONLY_REMOVED)
        return
    supported = "[E1" in injection["obeyed"]
    assert (answer["by"], answer["supported"]) == ("model", supported)
    assert (answer["summary"] is None) == supported


@BY_NAME
def test_the_model_repeats_everything(injection: Any, world: Any, ask: Ask, played: Any) -> None:
    """It answers with all that it was sent."""
    played.echoes()
    answer = assistant(ask, played).answer(*question(injection))
    assert answer["by"] == "model"
    assert_harmless(answer, world, injection)


@BY_NAME
def test_without_a_model(injection: Any, world: Any, ask: Ask) -> None:
    """The summary holds to the same, for it has the attacker's words in it."""
    answer = Assistant(ask, None, lambda: MARK).answer(*question(injection))
    assert answer["by"] == "summary"
    assert answer["supported"]
    assert_harmless(answer, world, injection)


def test_a_mark_that_stands_in_the_data_is_drawn_again(ask: Ask, played: Any) -> None:
    """Even who guessed it gains nothing."""
    guessed = next(one for one in INJECTIONS if "0123456789abcdef" in one["text"])
    played.says("fine [E1]")
    marks = itertools.chain(["0123456789abcdef"] * 3, itertools.repeat(MARK))
    Assistant(ask, Endpoint(EndpointSettings(played.url, "m")), lambda: next(marks)).answer(
        *question(guessed)
    )
    assert f"BEGIN DATA {MARK}\n" in played.asked[0].user
