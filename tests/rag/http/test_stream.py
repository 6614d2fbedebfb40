"""A list of many pages tells at its end what any of them lacks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from services.rag.http.app import make_app

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    async def ask(self, _op: str, args: Mapping[str, Any], _patience: object) -> dict[str, Any]:
        if "after" in args:
            return {"events": [{"event_id": "b"}], "next": None, "receipt": WHOLE}
        return {"events": [{"event_id": "a"}], "next": "further", "receipt": CUT}

    def close(self) -> None:
        """Nothing to close."""


def test_the_receipt_at_the_end_is_that_of_all_pages() -> None:
    """A page that was cut short is not made up for by later ones that were not."""
    assert _streamed()[-1] == {"receipt": CUT, "next": None, "events": 2}


def _streamed() -> list[dict[str, Any]]:
    client: Any = _Pages()
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        body.extend(message.get("body", b""))

    asyncio.run(make_app(client)(SCOPE, receive, send))
    return [json.loads(line) for line in body.decode().splitlines()]
