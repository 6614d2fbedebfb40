"""The answer of `ask`: who gave it, what it was given from, and what stands beside it where nothing shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import AppiaError, UsageError
from services.common.rpc_client import RpcRefused
from services.rag.assistant.assistant import NO_ENDPOINT, NOTHING_FOUND, ONLY_REMOVED, Assistant
from services.rag.assistant.endpoint import Endpoint, EndpointSettings
from services.rag.assistant.prompt import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]

SEALED, OPEN = "2026-01-20", "2026-01-22"
FIELDS = {
    "question", "answer", "by", "reason", "supported", "summary", "citations", "removed", "unseen", "model", "groups",
    "also", "understood", "receipt",
}  # fmt: skip
HOST = "10.1.2.3"


@pytest.fixture(scope="module")
def replica_of(world_class: Any, serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks a replica over a sealed and an open day."""
    world = world_class(tmp_path_factory.mktemp("assistant"))
    world.fill(SEALED, 80, sealed=True)
    world.fill(OPEN, 60, sealed=False)
    yield serve(world)
    world.close()


@pytest.fixture
def asked() -> list[tuple[str, Mapping[str, Any]]]:
    """What the replica was asked."""
    return []


@pytest.fixture
def ask(replica_of: Ask, asked: list[tuple[str, Mapping[str, Any]]]) -> Ask:
    """Asks the replica, and notes it."""

    def ask_one(op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        asked.append((op, args))
        return replica_of(op, args)

    return ask_one


def assistant(ask: Ask, played: Any = None, timeout_s: float = 20) -> Assistant:
    chat = played and Endpoint(EndpointSettings(played.url, "small", timeout_s=timeout_s))
    return Assistant(ask, chat, lambda: "mark")


def test_a_model_answers_with_citations(ask: Ask, played: Any) -> None:
    """Its labels are ids of events that were found, in the text and beside it."""
    played.says("Somebody scanned [E1]. So it went on [E2, E500].")
    answer = assistant(ask, played).answer("port scan", {"k": 3})
    found = [event["event_id"] for group in answer["groups"] for event in group["examples"]]
    assert set(answer) == FIELDS
    assert (answer["by"], answer["reason"], answer["supported"], answer["model"]) == (
        "model",
        None,
        True,
        "small",
    )
    assert answer["answer"] == f"Somebody scanned [{found[0]}]. So it went on [{found[1]}]."
    assert answer["citations"] == [
        {"label": "E1", "event_id": found[0]},
        {"label": "E2", "event_id": found[1]},
    ]
    assert answer["removed"] == {"labels": 1, "links": 0, "markup": 0}
    assert (answer["summary"], answer["also"], len(answer["groups"])) == (None, [], 3)
    assert answer["receipt"]["rows"] == 140
    json.dumps(answer, allow_nan=False)


def test_without_an_endpoint_there_is_a_summary(ask: Ask) -> None:
    """With the reason, and the same each time but for the time that it took."""
    first, second = (assistant(ask).answer("port scan") for _ in range(2))
    assert set(first) == FIELDS
    assert (first["by"], first["reason"], first["supported"], first["model"]) == (
        "summary",
        NO_ENDPOINT,
        True,
        None,
    )
    assert first["answer"].startswith("What fits the question best:\n1. ")
    assert first["citations"][0]["event_id"] == first["groups"][0]["examples"][0]["event_id"]
    assert first["answer"] == second["answer"]


def test_where_the_endpoint_fails_there_is_a_summary(ask: Ask, played: Any) -> None:
    """With the fault as the reason."""
    played.sends_json({"error": "no"}, 500)
    answer = assistant(ask, played).answer("port scan")
    assert answer["by"] == "summary"
    assert answer["reason"].endswith("has a fault of its own (HTTP 500).")
    assert answer["supported"]
    assert answer["answer"] == assistant(ask).answer("port scan")["answer"]


def test_an_answer_that_cites_nothing_is_unsupported(ask: Ask, played: Any) -> None:
    """It is shown as what it is, with the summary beside it."""
    played.says("All is well [E400].")
    answer = assistant(ask, played).answer("port scan")
    assert (answer["by"], answer["supported"], answer["citations"]) == ("model", False, [])
    assert answer["answer"] == "All is well."
    assert answer["summary"] == assistant(ask).answer("port scan")["answer"]


def test_addresses_that_no_event_has_are_told(ask: Ask, played: Any) -> None:
    """A host that the model made up, or that an attacker wants blocked, stands out; those of events do not."""
    played.says(f"Block 192.0.2.77 and 192.0.2.77:80, 2001:DB8::9 and not {HOST} or 10.0.0.0/8 [E1].")
    answer = assistant(ask, played).answer("port scan", {"filters": {"src": HOST}})
    assert answer["unseen"] == ["192.0.2.77", "2001:db8::9"]


def test_an_answer_of_nothing_but_what_is_removed(ask: Ask, played: Any) -> None:
    """Then nobody said anything."""
    played.says("<think>...</think> [E400]")
    answer = assistant(ask, played).answer("port scan")
    assert (answer["by"], answer["reason"]) == ("summary", ONLY_REMOVED)


def test_where_nothing_was_found_no_model_is_asked(ask: Ask, played: Any) -> None:
    """It could only make something up."""
    answer = assistant(ask, played).answer("port scan", {"filters": {"src": "203.0.113.99"}})
    assert (answer["by"], answer["reason"], answer["supported"]) == ("summary", NOTHING_FOUND, False)
    assert answer["answer"] == "No event was found that answers this."
    assert played.asked == []


def test_arguments_of_search_go_along(ask: Ask, asked: list[Any]) -> None:
    """Filters, how many, and as of when; events are always asked for as patterns."""
    answer = assistant(ask).answer("port scan", {"k": 2, "filters": {"days": SEALED}, "by": "words"})
    assert asked == [
        ("search", {"text": "port scan", "k": 2, "filters": {"days": SEALED}, "by": "words", "flat": False})
    ]
    assert answer["receipt"]["days"] == [SEALED]
    assert assistant(ask).answer("port scan", {"flat": True})["groups"]


def test_a_question_about_a_host_and_what_is_new_asks_more(ask: Ask, asked: list[Any], played: Any) -> None:
    """What it asks for in particular comes before what search found, and can be cited."""
    played.says("It changed [E1].")
    moment = assistant(ask).answer("port scan")["receipt"]["as_of"]
    asked.clear()
    question = f"what did {HOST} do that was never seen before?"
    chat = Endpoint(EndpointSettings(played.url, "small"))
    roomy = Assistant(ask, chat, lambda: "mark", Limits(whole=10**6))
    answer = roomy.answer(question, {"as_of": moment})
    assert [op for op, _ in asked] == ["search", "novel", "timeline"]
    assert all(args["as_of"] == moment for _, args in asked)
    assert asked[1][1]["filters"] == {"host": HOST}
    assert [(one["op"], one["problem"]) for one in answer["also"]] == [("novel", None), ("timeline", None)]
    first = answer["also"][0]["answer"]["groups"][0]["examples"][0]["event_id"]
    assert answer["citations"] == [{"label": "E1", "event_id": first}]
    sent = [json.loads(line) for line in played.asked[0].user.split("\n") if line.startswith('{"found_by"')]
    assert list(dict.fromkeys(record["found_by"] for record in sent)) == ["novel", "timeline", "search"]


def test_what_more_was_asked_may_fail(ask: Ask) -> None:
    """The answer stands without it and says why."""

    def refusing(op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        if op == "novel":
            raise RpcRefused("deadline", "The time was over.")
        return ask(op, args)

    answer = assistant(refusing).answer("what was new?")
    assert answer["also"] == [{"op": "novel", "answer": None, "problem": "The time was over."}]
    assert answer["supported"]


def test_what_search_refuses_is_refused(ask: Ask) -> None:
    """Without what search finds there is nothing to tell."""

    def refusing(*_: Any) -> dict[str, Any]:
        raise AppiaError("No replica answered.")

    with pytest.raises(AppiaError, match="No replica answered"):
        assistant(refusing).answer("port scan")
    with pytest.raises(UsageError, match="since"):
        assistant(ask).answer("port scan", {"filters": {"since": "never"}})


@pytest.mark.parametrize(
    ("question", "arguments", "said"),
    [
        ("", {}, "'text' must be a text that is not empty"),
        ("   ", {}, "'text' must be a text that is not empty"),
        ("a" * 1001, {}, "at most 1000 characters, not 1001"),
        ("a" * 10_000_000, {}, "at most 1000 characters, not 10000000"),
        ("half \ud800", {}, "valid Unicode"),
        ("scan", {"k": 0}, "'k' must be a whole number from 1 to 1000"),
        ("scan", {"k": float("nan")}, "'k' must be a whole number"),
        ("scan", {"colour": "red"}, "There is no argument 'colour'"),
    ],
)
def test_wrong_questions_have_a_sentence(
    question: str, arguments: dict[str, Any], said: str, ask: Ask, asked: Sequence[Any]
) -> None:
    """Before anybody is asked."""
    with pytest.raises(UsageError, match=said):
        assistant(ask).answer(question, arguments)
    assert asked == []
