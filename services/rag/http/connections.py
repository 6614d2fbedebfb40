"""Connections that nobody can hold for nothing: requests come in within a time, and there are so many at most."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

MOST_CONNECTIONS = 512
REQUEST_S = 30.0
"""Seconds that a request may take to come in whole, from the connection or its first byte on."""
HANDSHAKE_S = 3.0
_COMING = (h11.IDLE, h11.SEND_BODY)


class BoundedConnection(H11Protocol):
    """One connection. What waits between requests is closed by the server's own, shorter time."""

    _limit: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as the class above has it
        """Take a connection; where there are too many, close the one that has dawdled longest, or else this one."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            self._longest_awaited().cut_off()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Give a request that is still coming its time, counted from when it began."""
        if self.conn.their_state not in _COMING:
            self._wait_no_more()
        elif self._limit is None:
            self._limit = self.loop.call_later(REQUEST_S, self.cut_off)

    def _longest_awaited(self) -> BoundedConnection:
        """Which connection's request should have come first: so whoever opens many of them keeps nobody out."""
        return min(
            (one for one in self.connections if isinstance(one, BoundedConnection)), key=lambda one: one.due
        )

    @property
    def due(self) -> float:
        """When its request has to have come, on the loop's clock; infinite where none is awaited."""
        return math.inf if self._limit is None else self._limit.when()

    def cut_off(self) -> None:
        """Close it at once, whatever is under way."""
        self._wait_no_more()
        self.transport.abort()

    def _wait_no_more(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers give a TLS handshake three seconds; asyncio's own limit is a minute."""

    async def create_server(self, *args: Any, **more: Any) -> asyncio.Server:
        """As asyncio's."""
        if more.get("ssl") is not None:
            more["ssl_handshake_timeout"] = HANDSHAKE_S
        return await super().create_server(*args, **more)
