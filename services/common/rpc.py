"""Requests and replies over ZeroMQ: one bounded msgpack map each way.

    request := {"v": 1, "id": str | int, "op": str, "args": map, "deadline_ms": int (optional),
                "on_behalf": str (optional)}
    reply   := {"id", "ok": true, "result"} | {"id", "ok": false, "error": {"code", "message"}}

A DEALER or REQ client sends a request as one message part; a ROUTER answers every one of them, whatever
it holds. Elsewhere than on loopback it is encrypted, and only known keys may ask (docs/access.md). A gateway such as
`appia http` says in `on_behalf` for which of the keys it asks.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgpack

from services.common.errors import AppiaError, UsageError

VERSION = 1
MAX_REQUEST = 64 * 1024
MAX_REPLY = 8 << 20
MAX_DEADLINE_MS = 600_000
DEFAULT_DEADLINE_MS = 10_000
FORBIDDEN = "forbidden"
CODES = (
    "usage",
    "not_found",
    "busy",
    "unavailable",
    "internal",
    "too_large",
    "deadline",
    FORBIDDEN,
    "too_many",
)

_MAX_ID = 64
_MAX_OP = 64
_MAX_NAME = 64
_RESERVE, _LEAST_RESERVE_S, _MOST_RESERVE_S = 0.1, 0.02, 0.5
_ENDPOINT = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+):(\*|\d{1,5})")
_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|\[::1\]|localhost")

RequestId = str | int


class RequestError(AppiaError):
    """A request that cannot be answered; `code` is one of `CODES`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFound(RequestError):  # noqa: N818 - it names a state of the world, not a fault
    """What was asked for is not here."""

    def __init__(self, message: str) -> None:
        super().__init__("not_found", message)


@dataclass(frozen=True)
class Deadline:
    """The moment on the monotonic clock at which nobody waits for an answer any more."""

    at: float = math.inf
    reserve_s: float = 0.0  # what bringing an answer together and sending it may take

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment `seconds` from now, with a tenth of it in reserve."""
        reserve_s = min(max(seconds * _RESERVE, _LEAST_RESERVE_S), _MOST_RESERVE_S)
        return cls(time.monotonic() + seconds, reserve_s)

    @property
    def is_near(self) -> bool:
        """Whether only the reserve is left: time to answer with what there is."""
        return time.monotonic() >= self.at - self.reserve_s

    def check(self) -> None:
        """Do nothing while there is time.

        Raises:
            RequestError: the moment has passed (code "deadline").
        """
        if time.monotonic() >= self.at:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Say that the time is over.

        Raises:
            RequestError: always (code "deadline").
        """
        raise RequestError("deadline", "The time for this request is over; allow more or narrow it.")


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    id: RequestId
    op: str
    args: dict[str, Any] = field(default_factory=dict)
    deadline_ms: int = DEFAULT_DEADLINE_MS
    on_behalf: str | None = None  # the name of the key that a gateway asks for


def pack_request(request: Request) -> bytes:
    """The bytes of a request.

    Raises:
        UsageError: an argument is of a type msgpack has no form for, or the request is too large.
    """
    body: dict[str, Any] = {
        "v": VERSION,
        "id": request.id,
        "op": request.op,
        "args": request.args,
        "deadline_ms": request.deadline_ms,
    }
    if request.on_behalf is not None:
        body["on_behalf"] = request.on_behalf
    try:
        raw = bytes(msgpack.packb(body))
    except UnicodeEncodeError:
        raise UsageError(f"The request {request.op!r} has a text that is not valid Unicode.") from None
    except OverflowError:
        raise UsageError(f"The request {request.op!r} has a number of more than 64 bits.") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"The request {request.op!r} cannot be written as msgpack: {error}.") from None
    if len(raw) > MAX_REQUEST:
        raise UsageError(
            f"The request {request.op!r} has {len(raw)} bytes, at most {MAX_REQUEST} are allowed; make it "
            "smaller."
        )
    return raw


def unpack_request(raw: bytes) -> Request:
    """Read a request.

    Raises:
        RequestError: it is too large (code "too_large") or malformed (code "usage").
    """
    if len(raw) > MAX_REQUEST:
        raise RequestError(
            "too_large", f"A request of {len(raw)} bytes is over the limit of {MAX_REQUEST} bytes."
        )
    body = _unpack_map(raw)
    version, request_id, op = body.get("v"), _sound_id(body.get("id")), body.get("op")
    args, deadline_ms = body.get("args", {}), body.get("deadline_ms", DEFAULT_DEADLINE_MS)
    if version != VERSION or isinstance(version, bool):
        raise _usage(f"The request must have v = {VERSION}.")
    if request_id is None:
        raise _usage(f"The request's id must be a whole number or a text of at most {_MAX_ID} characters.")
    if not isinstance(op, str) or not 0 < len(op) <= _MAX_OP:
        raise _usage(f"The request's op must be a text of 1 to {_MAX_OP} characters.")
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise _usage("The request's args must be a map with text keys.")
    if type(deadline_ms) is not int or not 0 < deadline_ms <= MAX_DEADLINE_MS:
        raise _usage(f"The request's deadline_ms must be a whole number from 1 to {MAX_DEADLINE_MS}.")
    return Request(request_id, op, args, deadline_ms, _read_on_behalf(body))


def _read_on_behalf(body: dict[Any, Any]) -> str | None:
    """Null is refused: a gateway that lost the name must not ask with its own rights."""
    if "on_behalf" not in body:
        return None
    name = body["on_behalf"]
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise _usage(f"The request's on_behalf must be a text of 1 to {_MAX_NAME} characters.")
    return name


def request_id_of(raw: bytes) -> RequestId | None:
    """The id of a request that may be malformed otherwise, so that its refusal finds its way; or None."""
    if len(raw) > MAX_REQUEST:
        return None
    try:
        return _sound_id(_unpack_map(raw, errors="replace").get("id"))
    except RequestError:
        return None


def _sound_id(value: object) -> RequestId | None:
    if isinstance(value, str) and len(value) <= _MAX_ID:
        return value
    return value if type(value) is int else None


def _unpack_map(raw: bytes, errors: str = "strict") -> dict[Any, Any]:
    try:
        body = msgpack.unpackb(raw, strict_map_key=False, unicode_errors=errors)
    except UnicodeDecodeError:
        raise _usage("A text in the request is not valid UTF-8.") from None
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError):
        raise _usage("The request is not msgpack.") from None
    if not isinstance(body, dict):
        raise _usage("The request must be a map.")
    return body


def _usage(message: str) -> RequestError:
    return RequestError("usage", message)


def pack_result(request_id: RequestId, result: object) -> bytes:
    """The bytes of an answer; one that is over `MAX_REPLY` becomes the error "too_large"."""
    raw = bytes(msgpack.packb({"id": request_id, "ok": True, "result": result}))
    if len(raw) > MAX_REPLY:
        message = f"The answer has {len(raw)} bytes, at most {MAX_REPLY} are allowed; ask for fewer events."
        return pack_error(request_id, "too_large", message)
    return raw


def pack_error(request_id: RequestId | None, code: str, message: str) -> bytes:
    """The bytes of a refusal; `code` is one of `CODES`."""
    return bytes(msgpack.packb({"id": request_id, "ok": False, "error": {"code": code, "message": message}}))


def check_endpoint(endpoint: str, *, encrypted: bool) -> None:
    """Check where a server is to listen.

    Raises:
        UsageError: it is no `tcp://HOST:PORT`, or not on loopback while requests are not `encrypted`.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or (match[2] != "*" and int(match[2]) > 65_535):
        raise UsageError(
            f"{endpoint!r} is no endpoint; write it as tcp://HOST:PORT, for example tcp://127.0.0.1:5560."
        )
    if not encrypted and not _LOOPBACK.fullmatch(match[1]):
        raise UsageError(
            f"{endpoint} is not on loopback, where requests need keys: set server_key (`appia keys server`) and access "
            "(`appia access new`), or bind to 127.0.0.1."
        )


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint names this machine alone, so that plain text may be sent to it."""
    match = _ENDPOINT.fullmatch(endpoint)
    return match is not None and _LOOPBACK.fullmatch(match[1]) is not None
