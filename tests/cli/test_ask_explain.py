"""`appia similar --explain` asks two questions and gives their answers as one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.cli import asking
from services.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Mapping

RECEIPT = {"rows": 2, "days": ["2026-01-22"], "missing": [], "took_ms": 1.0}
GROUPS = [{"examples": [{"event_id": "e-2"}, {"event_id": "e-3"}]}, {"examples": [{"event_id": "e-4"}]}]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, Any]]]:
    """The questions that were asked; `similar` finds two patterns, or with `flat` one event, or none of class X."""
    questions: list[tuple[str, Mapping[str, Any]]] = []

    def answer(_asking: Any, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        questions.append((op, arguments))
        if op == "explain":
            return {"explained": list(arguments["others"]), "receipt": RECEIPT}
        if arguments["flat"]:
            return {"hits": [{"event_id": "e-9"}], "receipt": RECEIPT}
        return {"groups": [] if arguments["filters"] else GROUPS, "receipt": RECEIPT}

    monkeypatch.setattr(asking, "ask", answer)
    return questions


def test_the_nearest_event_of_each_pattern_is_explained(
    asked: list[tuple[str, Mapping[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The second question names what the first found, and one document has both answers."""
    assert run(["similar", "e-1", "--explain", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["explanation"]["explained"] == ["e-2", "e-4"]
    assert found["groups"] == GROUPS
    assert [op for op, _ in asked] == ["similar", "explain"]
    assert asked[1][1] == {"event_id": "e-1", "filters": {}, "others": ["e-2", "e-4"]}


def test_single_events_are_explained_too(
    asked: list[tuple[str, Mapping[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """With --flat the events themselves are compared; where none was found there is nothing to explain."""
    assert run(["similar", "e-1", "--flat", "--explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["explanation"]["explained"] == ["e-9"]
    assert run(["similar", "e-1", "--class", "X", "--explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["explanation"] is None
    assert len(asked) == 3


def test_hosts_are_not_explained(
    asked: list[tuple[str, Mapping[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The index of hosts has no events to tell apart, and says so before anything is asked."""
    assert run(["similar", "10.0.0.1", "--index", "entity", "--explain"]) == 2
    assert "--explain is about events" in capsys.readouterr().err
    assert asked == []


def test_others_are_asked_for_by_id(
    asked: list[tuple[str, Mapping[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`appia explain` passes its ids, its filters and -k on."""
    assert run(["explain", "e-1", "e-2", "e-3", "--json", "--class", "BENIGN"]) == 0
    assert json.loads(capsys.readouterr().out)["explained"] == ["e-2", "e-3"]
    assert asked[0] == (
        "explain",
        {"event_id": "e-1", "k": 3, "filters": {"class": ["BENIGN"]}, "others": ["e-2", "e-3"]},
    )
