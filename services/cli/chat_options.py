"""Options about a language model that answers: which endpoint, and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.common.errors import UsageError

if TYPE_CHECKING:
    from services.rag.assistant.endpoint import Endpoint


@dataclass(frozen=True)
class ChatOptions:
    """Which chat endpoint answers, if any."""

    chat_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="APPIA_ASK_URL",
            help="A chat endpoint as OpenAI's API has it, such as http://127.0.0.1:8080.",
            show_default="none: a summary without a model",
        ),
    ] = None
    chat_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            envvar="APPIA_ASK_MODEL",
            help="The model that the endpoint is asked for; needed with a URL.",
            show_default="none",
        ),
    ] = None
    chat_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="APPIA_ASK_KEY_FILE",
            help="File with the endpoint's key in one line, which nobody else can read.",
            show_default="no key",
        ),
    ] = None
    chat_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            envvar="APPIA_ASK_TIMEOUT",
            min=0.1,
            max=3600,
            help="Longest wait for the model's whole answer.",
        ),
    ] = 60.0
    chat_allow_plain: Annotated[
        bool,
        typer.Option(
            "--chat-allow-plain",
            help="Send events by plain http elsewhere than to this machine and private networks. Default: off.",
        ),
    ] = False
    no_chat: Annotated[
        bool, typer.Option("--no-chat", help="Ask no model even where an endpoint is set. Default: off.")
    ] = False

    def endpoint(self) -> Endpoint | None:
        """The endpoint that was chosen.

        Raises:
            UsageError: the URL is wrong, or no model is named.
        """
        from services.rag.assistant.endpoint import Endpoint, EndpointSettings  # noqa: PLC0415 - only `ask` needs it

        if self.no_chat or not self.chat_url:
            return None
        if not self.chat_model:
            raise UsageError("which model? Give --chat-model NAME, or set APPIA_ASK_MODEL")
        return Endpoint(
            EndpointSettings(
                self.chat_url,
                self.chat_model,
                self.chat_key_file,
                self.chat_timeout,
                self.chat_allow_plain,
            )
        )
