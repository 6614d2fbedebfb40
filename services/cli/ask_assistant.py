"""`appia ask`: an answer in words, with the events that show it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.answers_assistant import show_answer
from services.cli.ask import MOST_EVENTS, LongAsking, tell
from services.cli.ask_search import Reading
from services.cli.chat_options import ChatOptions  # noqa: TC001 - read when a command is made
from services.cli.filters import FilterOptions  # noqa: TC001 - as above
from services.cli.options import grouped

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK_BYTES = 16


@dataclass(frozen=True)
class Looking(Reading):
    """Options about what is looked for."""

    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, max=MOST_EVENTS, help="Patterns to look at, at most.")
    ] = 8


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ask", epilog='Example: appia ask "who scanned us from outside yesterday?"')(grouped(ask))


def ask(
    *,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="A question in English or Spanish, read as `appia search` reads it. No default.",
        ),
    ],
    looking: Looking,
    chat: ChatOptions,
    asking: LongAsking,
    only: FilterOptions,
) -> None:
    """Answer a question in words, with the events that show it.

    What `search` finds is told by a language model where a chat endpoint is set, and summed up without one. Where the
    question asks for it, what `novel` finds is told too, and the `timeline` of the host that it names. Every citation
    is an event that was found; what an attacker wrote into events is neither obeyed nor passed on as a link.

    With --chat-url, facts of the events that were found are sent to that endpoint: times, addresses, classes, words.
    """
    # `appia --help` starts quicker without these.
    from services.cli.asking import ask as ask_replicas  # noqa: PLC0415
    from services.rag.assistant.assistant import Assistant  # noqa: PLC0415

    def ask_one(op: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return ask_replicas(asking, op, arguments)

    assistant = Assistant(ask_one, chat.endpoint(), lambda: secrets.token_hex(MARK_BYTES))
    answer = assistant.answer(text, {"k": looking.k, **looking.request(), "filters": only.request()})
    tell(asking, show_answer, answer)
