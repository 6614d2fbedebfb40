"""Connections that nobody can hold for nothing: requests come in within a time, and there are so many at most."""

from __future__ import annotations

import asyncio
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
        """Take a connection, or close it at once where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._wait()

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
            self._limit = self.loop.call_later(REQUEST_S, self.transport.abort)

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
