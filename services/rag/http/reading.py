"""Reads what comes in over HTTP: bodies that are bounded and strict JSON, query strings as arguments."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from starlette.requests import ClientDisconnect

from services.common.rpc import MAX_DEADLINE_MS, MAX_REQUEST, RequestError
from services.rag.protocol import Kind
from services.rag.schemas import FILTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.datastructures import QueryParams
    from starlette.requests import Request

    from services.rag.protocol import Operation

TIMEOUT = "timeout_s"
DEFAULT_TIMEOUT_S, SLOW_TIMEOUT_S = 10.0, 120.0
"""Seconds that an answer is waited for where the request does not say; longer for the questions that are slow."""
_PASSED_OVER, _PASSED_OVER_S = 32 << 20, 2.0  # bytes and seconds of a body that is too large
_LEAST_TIMEOUT_S, _MOST_TIMEOUT_S = 0.05, MAX_DEADLINE_MS / 1000


async def read_body(request: Request) -> dict[str, Any]:
    """The JSON object in a body of at most 64 KiB; an empty body is an empty object.

    Raises:
        RequestError: it is too large, or no such object.
    """
    raw = await _whole(request.stream())
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and kind != "application/json":
        raise RequestError("media_type", "The header Content-Type must be application/json.")
    return _object(raw) if raw.strip() else {}


async def _whole(chunks: AsyncIterator[bytes]) -> bytes:
    raw = bytearray()
    try:
        async for chunk in chunks:
            raw += chunk
            if len(raw) > MAX_REQUEST:
                await pass_over(chunks)
                raise RequestError("too_large", f"The body is over the limit of {MAX_REQUEST} bytes.")
    except ClientDisconnect:
        raise RequestError("usage", "The body did not come to its end.") from None
    return bytes(raw)


async def pass_over(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left, and forget it: many clients see why they are refused only when they have sent all of it."""
    left = _PASSED_OVER
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_PASSED_OVER_S):
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    return


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise RequestError("usage", "The body is not valid UTF-8.") from None
    except RecursionError:
        raise RequestError("usage", "The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise RequestError("usage", f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except ValueError:
        raise RequestError("usage", "The body has a number of too many digits.") from None
    if not isinstance(body, dict):
        raise RequestError("usage", "The body must be a JSON object with the arguments of the operation.")
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError("usage", f"The body is not JSON: {name} is no number there.")


def read_timeout(request: Request, operation: Operation) -> float:
    """Seconds that the answer is waited for: the parameter `timeout_s`, else the default.

    Raises:
        RequestError: it is no number in the bounds.
    """
    default = SLOW_TIMEOUT_S if operation.slow else DEFAULT_TIMEOUT_S
    text = request.query_params.get(TIMEOUT)
    seconds = default if text is None else _number(text)
    if seconds is None or not _LEAST_TIMEOUT_S <= seconds <= _MOST_TIMEOUT_S:
        raise RequestError(
            "usage",
            f"The parameter {TIMEOUT!r} must be from {_LEAST_TIMEOUT_S:g} to {_MOST_TIMEOUT_S:g} seconds.",
        )
    return seconds


def read_query(query: QueryParams, operation: Operation) -> dict[str, Any]:
    """The arguments of an operation in a query string; filters stand beside them by their own names.

    A parameter that is given several times is a list of values. What is no argument and no filter is passed on, so that
    the replica refuses it by its name.

    Raises:
        RequestError: a number or a flag is none.
    """
    kinds = {argument.name: argument.kind for argument in operation.arguments}
    args: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    for name in query:
        values = query.getlist(name)
        if name == TIMEOUT:
            continue
        if name in kinds:
            args[name] = _typed(name, values[-1], kinds[name])
        elif Kind.FILTERS in kinds.values() and name in FILTERS:
            filters[name] = _filter(name, values)
        else:
            args[name] = values[-1]
    return {**args, "filters": filters} if filters else args


def _typed(name: str, text: str, kind: Kind) -> Any:
    if kind is Kind.FLAG:
        return _flag(name, text)
    if kind in {Kind.WHOLE, Kind.NUMBER}:
        number = _number(text)
        if number is None:
            raise RequestError("usage", f"The parameter {name!r} must be a number, not {text[:80]!r}.")
        return int(number) if kind is Kind.WHOLE and number.is_integer() else number
    return text


def _filter(name: str, values: list[str]) -> Any:
    schema, _ = FILTERS[name]
    if schema.get("type") == "boolean":
        return _flag(name, values[-1])
    if schema.get("type") == "number":
        return _typed(name, values[-1], Kind.NUMBER)
    return values if "anyOf" in schema else values[-1]


def _flag(name: str, text: str) -> bool:
    flags: Mapping[str, bool] = {"true": True, "false": False}
    if text not in flags:
        raise RequestError("usage", f"The parameter {name!r} must be true or false, not {text[:80]!r}.")
    return flags[text]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
