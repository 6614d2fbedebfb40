"""A chat endpoint as OpenAI's API has it: llama.cpp's server, Ollama, vLLM and many others.

POST /v1/chat/completions with `model`, `messages`, `stream` false, `temperature` 0 and `max_tokens`; the answer is the
text in `choices[0].message.content` (OpenAI API reference, "Create chat completion").
"""

from __future__ import annotations

import http.client
import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError, UsageError
from services.rag.assistant.place import far, parse_place
from services.rag.assistant.post import Reply, TooFar, TooLarge, TooSlow, post

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.rag.assistant.place import Place

MAX_BYTES = 1 << 20
MAX_TOKENS = 2048
MAX_KEY = 4096
DEFAULT_TIMEOUT_S = 60.0
_SHARED = stat.S_IRWXG | stat.S_IRWXO
_STATUS = {
    401: "refuses the key (HTTP 401): is the key file the right one?",
    403: "does not allow it (HTTP 403): is the key file the right one?",
    404: "has no chat there, or no such model (HTTP 404): check the URL and the model's name",
    429: "has too much to do (HTTP 429): ask again later",
}


class EndpointFault(AppiaError):  # noqa: N818 - it names what happened, as the caller sees it
    """The endpoint gave no answer that can be used; the message is one sentence that says why."""


@dataclass(frozen=True)
class EndpointSettings:
    """Which endpoint answers.

    Raises `UsageError` when made: the URL is none, or may not be used, or no model is named.
    """

    url: str
    model: str
    key_file: Path | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S  # for the whole of one question
    allow_plain: bool = False  # plain http elsewhere than to this machine and private networks

    def __post_init__(self) -> None:
        self.place()
        if not self.model.strip() or not self.model.isprintable():
            raise UsageError("Which model? The endpoint has to be told a name.")

    def place(self) -> Place:
        """Where it is."""
        return parse_place(self.url, allow_plain=self.allow_plain)


class Endpoint:
    """Asks one chat endpoint. Safe for several threads; each question has a connection of its own."""

    def __init__(self, settings: EndpointSettings) -> None:
        """Connect to nobody yet."""
        self._settings = settings
        self._place = settings.place()
        self.model = settings.model

    def reply(self, messages: Sequence[Mapping[str, str]]) -> str:
        """What the model says to some messages; blocks for at most `EndpointSettings.timeout_s`.

        The key file is read each time, so that a new key needs no restart.

        Raises:
            EndpointFault: there is no answer, or none that can be used.
            AppiaError: the key file cannot be used.
        """
        request = {
            "model": self.model,
            "messages": list(messages),
            "stream": False,
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        if self._settings.key_file is not None:
            headers["Authorization"] = f"Bearer {read_key(self._settings.key_file)}"
        return self._text(self._post(json.dumps(request).encode(), headers))

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            return post(self._place, body, headers, (self._settings.timeout_s, MAX_BYTES))
        except TooSlow:
            raise self._fault(f"did not answer within {self._settings.timeout_s:g} s") from None
        except TooLarge:
            raise self._fault(f"answered with more than {MAX_BYTES // 1024} KiB") from None
        except TooFar as refused:
            raise EndpointFault(far(self._place, str(refused))) from None
        except ConnectionRefusedError:
            raise self._fault("refuses the connection: does it run?") from None
        except (http.client.HTTPException, ConnectionError):
            raise self._fault("broke the connection off, or does not speak HTTP") from None
        except OSError as error:
            raise self._fault(f"cannot be reached ({error.strerror or type(error).__name__})") from None

    def _text(self, reply: Reply) -> str:
        """What the model said."""
        if reply.status != http.HTTPStatus.OK:
            raise self._fault(_status_words(reply.status))
        if reply.kind == "text/html":
            raise self._fault("answered with a web page: is the URL the right one?")
        try:
            document = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise self._fault("answered with something that is not JSON") from None
        return self._content(document)

    def _content(self, document: Any) -> str:
        choices = document.get("choices") if isinstance(document, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self._fault("answered with JSON that is no chat: it has no 'choices'")
        message, finish = choices[0].get("message"), choices[0].get("finish_reason")
        content = message.get("content") if isinstance(message, dict) else None
        if finish == "length":
            raise self._fault("cut its answer off because it was too long")
        if finish == "content_filter":
            raise self._fault("held its answer back (content filter)")
        if content is not None and not isinstance(content, str):
            raise self._fault("answered with JSON that is no chat: its content is no text")
        if not content or not content.strip():
            raise self._fault("answered with an empty text")
        return content

    def _fault(self, what: str) -> EndpointFault:
        return EndpointFault(f"The endpoint at {self._place.shown} {what}.")


def read_key(path: Path) -> str:
    """The key in a file: one line of ASCII without spaces. Its text is in no message.

    Raises:
        AppiaError: the file cannot be read, is no plain file, others may read it, or it holds something else.
    """
    try:
        # Not blocking: a pipe that nobody writes into must not hold the question up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - a descriptor
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise AppiaError(f"The key file {path} is not a plain file.")
            content = file.read(MAX_KEY + 1)
    except OSError as error:
        raise AppiaError(f"The key file {path} could not be read ({error.strerror}).") from None
    if status.st_mode & _SHARED:
        mode = stat.S_IMODE(status.st_mode)
        raise AppiaError(
            f"The key file {path} has mode {mode:04o}, so others can read it: run `chmod 0600 {path}`."
        )
    key = content.decode("latin-1").strip()
    if not key or len(content) > MAX_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise AppiaError(f"The key file {path} does not hold a key: one line without spaces is expected.")
    return key


def _status_words(status: int) -> str:
    if status in _STATUS:
        return _STATUS[status]
    if 300 <= status < 400:
        return f"sends elsewhere (HTTP {status}), which is not followed: give the URL that it sends to"
    if 400 <= status < 500:
        return (
            f"refuses the question (HTTP {status}): is the model's name right, and its context large enough?"
        )
    return f"has a fault of its own (HTTP {status})"
