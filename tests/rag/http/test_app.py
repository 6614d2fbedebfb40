"""What the application itself does with answers, without a replica."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from services.rag.http.app import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WHOLE = {"as_of": "nothing", "missing": [], "partial": False, "repeatable": True, "unrepeatable": []}
OLDER = {"day": "2026-01-20", "index": "all", "reason": "not searched: the time for the question was over"}
CUT = {**WHOLE, "missing": [OLDER], "partial": True, "repeatable": False, "unrepeatable": ["no time"]}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "method": "GET",
    "scheme": "http",
    "path": "/v1/events",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
}
"""A request as servers give it to an application."""


class _Pages:
    """A client whose first page of a list was cut short; every further one is whole."""

    async def ask(self, _op: str, args: Mapping[str, Any], *_: object) -> dict[str, Any]:
        if "after" in args:
            return {"events": [{"event_id": "b"}], "next": None, "receipt": WHOLE}
        return {"events": [{"event_id": "a"}], "next": "further", "receipt": CUT}

    def close(self) -> None:
        """Nothing to close."""


class _Broken:
    """A client with a fault in its program."""

    async def ask(self, *_: object) -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    def close(self) -> None:
        """Nothing to close."""


def test_the_receipt_at_the_end_of_a_list_is_that_of_all_pages() -> None:
    """A page that was cut short is not made up for by later ones that were not."""
    lines = _get(_Pages())[0].splitlines()
    assert json.loads(lines[-1]) == {"receipt": CUT, "next": None, "events": 2}


def test_a_fault_is_a_problem_too() -> None:
    """What nobody foresaw is answered in the form of all errors, and without what went wrong inside."""
    body, status = _get(_Broken(), ZeroDivisionError)
    assert (status, json.loads(body)["code"]) == (500, "internal")
    assert "secret" not in body


@pytest.mark.parametrize("sent", [b"{", b"x" * 100_000])
def test_a_client_that_goes_away_is_no_fault(sent: bytes) -> None:
    """A body that breaks off is the client's matter: nothing is raised, so strangers cannot fill the server's log."""
    parts = iter([{"type": "http.request", "body": sent, "more_body": True}])
    asked = SCOPE | {"method": "POST", "path": "/v1/list"}
    body, status = _get(_Pages(), scope=asked, parts=lambda: next(parts, {"type": "http.disconnect"}))
    assert (json.loads(body)["code"], status) in {("usage", 400), ("too_large", 413)}


def _get(
    client: Any,
    fault: type[Exception] | None = None,
    scope: Mapping[str, Any] = SCOPE,
    parts: Callable[[], dict[str, Any]] = lambda: {"type": "http.request", "body": b"", "more_body": False},
) -> tuple[str, int]:
    """The body and status of a list; `fault` is what the application then raises for the log of its server."""
    body, status = bytearray(), 0

    async def receive() -> dict[str, Any]:
        return parts()

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        body.extend(message.get("body", b""))

    with nullcontext() if fault is None else pytest.raises(fault):
        asyncio.run(make_app(client)(dict(scope), receive, send))
    return body.decode(), status
