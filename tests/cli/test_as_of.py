"""What the command line says of the moment of an answer, and sends of another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Self

import pytest

from services.cli import asking as asking_room
from services.cli.answers_as_of import MOST_SHOWN, as_of_lines
from services.cli.ask import Asking


def _answer(as_of: str, *doubts: str) -> dict[str, Any]:
    return {"receipt": {"as_of": as_of, "repeatable": not doubts, "unrepeatable": list(doubts)}}


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ({"name": "rag-1"}, []),
        (_answer("2026-01-20..24:1 #0123456789ab"), ["as of '2026-01-20..24:1 #0123456789ab'"]),
        (
            _answer("2026-01-22+1=5", "it is open", "a model was away"),
            ["as of 2026-01-22+1=5", "may not come again: it is open; a model was away"],
        ),
        (_answer("x" * (MOST_SHOWN + 1)), ["as of: see as_of in the receipt that --json prints"]),
    ],
)
def test_an_answer_says_as_of_what_it_is(answer: dict[str, Any], lines: list[str]) -> None:
    """One line that can be copied into a shell, with why it may not come again; nothing where there is no receipt."""
    assert as_of_lines(answer) == lines


@pytest.mark.parametrize("as_of", [None, "2026-01-20:1"])
def test_every_question_carries_the_moment(monkeypatch: pytest.MonkeyPatch, as_of: str | None) -> None:
    """--as-of is sent with the other arguments of whatever is asked, and nothing where it was not given."""
    sent: list[tuple[str, dict[str, Any]]] = []

    class Recorder(SimpleNamespace):
        """Stands for the client."""

        def __init__(self, *_: Any, **_more: Any) -> None:
            super().__init__()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, op: str, arguments: dict[str, Any]) -> dict[str, Any]:
            sent.append((op, arguments))
            return {}

    monkeypatch.setattr(asking_room, "Client", Recorder)
    asking_room.ask(Asking(endpoint=["tcp://127.0.0.1:1"], as_of=as_of), "list", {"limit": 3})
    assert sent == [("list", {"limit": 3} if as_of is None else {"limit": 3, "as_of": as_of})]
