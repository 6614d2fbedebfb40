"""What takes long says so on a terminal, and only there; what options share goes with every question."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING, Any, Self

import pytest

from services.cli import asking as asking_room
from services.cli.ask import Asking, AskingEvents, LongAsking

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = ["tcp://127.0.0.1:1"]


class Terminal(StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, Any]]]:
    """What a client was asked; it answers nothing."""
    questions: list[tuple[str, Mapping[str, Any]]] = []

    class Recorder:
        """Stands for the client."""

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
            questions.append((op, arguments))
            return {}

    monkeypatch.setattr(asking_room, "Client", Recorder)
    return questions


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize(("op", "told"), [("novel", True), ("campaigns", True), ("list", False)])
def test_long_questions_show_that_they_are_asked(
    monkeypatch: pytest.MonkeyPatch, op: str, *, told: bool
) -> None:
    """On a terminal the operation, and how long it may take; nothing for what is answered at once."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    asking_room.ask(LongAsking(endpoint=HERE, timeout=42), op, {})
    assert (f"{op}: looking through the days, at most 42 s" in terminal.getvalue()) is told


@pytest.mark.usefixtures("sent")
def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """A script's standard error stays empty."""
    asking_room.ask(LongAsking(endpoint=HERE), "novel", {})
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_more_about_events_is_asked_for_where_there_are_events(
    sent: list[tuple[str, Mapping[str, Any]]],
) -> None:
    """--enrich goes with every operation that takes it; of a command that asks several, not all do."""
    asking_room.ask(AskingEvents(endpoint=HERE, enrich=True, as_of="x"), "get", {"event_id": "e-1"})
    asking_room.ask(LongAsking(endpoint=HERE, enrich=True), "timeline", {"host": "10.0.0.1"})
    asking_room.ask(AskingEvents(endpoint=HERE), "list", {})
    asking_room.ask(Asking(endpoint=HERE), "days", {})
    assert sent == [
        ("get", {"event_id": "e-1", "as_of": "x", "enrich": True}),
        ("timeline", {"host": "10.0.0.1"}),
        ("list", {}),
        ("days", {}),
    ]
