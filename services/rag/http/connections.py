"""Connections that nobody can hold for nothing: requests come in and answers are taken within a time.

There are so many at most. What waits for its client has to go before what the server works for.
"""

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
"""Seconds that a request may take to come in whole, from the connection or the answer before it on."""
ANSWER_S = 300.0
"""Seconds that a client may leave an answer alone that waits for it to read."""
HANDSHAKE_S = 3.0
_COMING = (h11.IDLE, h11.SEND_BODY)


class BoundedConnection(H11Protocol):
    """One connection. What waits between requests is closed by the server's own, shorter time."""

    _limit: TimerHandle | None = None
    _since = math.inf
    _is_full = False  # of an answer that the client does not read

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

    def on_response_complete(self) -> None:
        """Wait for the next request, of which the beginning may be here already, or for the answer to be taken."""
        super().on_response_complete()
        self._wait()

    def pause_writing(self) -> None:
        """Wait until the client reads."""
        super().pause_writing()
        self._wait_no_more()
        self._is_full = True
        self._wait()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._wait_no_more()
        self._is_full = False
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        """Give what the client has to do its time, counted from when it began to be waited for."""
        if not (self._is_full or self.transport.is_closing() or self.conn.their_state in _COMING):
            self._wait_no_more()
        elif self._limit is None:
            self._since = self.loop.time()
            self._limit = self.loop.call_later(ANSWER_S if self._is_full else REQUEST_S, self.cut_off)

    def _longest_awaited(self) -> BoundedConnection:
        """Which client has let itself be waited for longest: so whoever opens many connections keeps nobody out."""
        return min(
            (one for one in self.connections if isinstance(one, BoundedConnection)), key=lambda one: one.since
        )

    @property
    def since(self) -> float:
        """Since when its client is waited for, on the loop's clock; infinite where it is not."""
        return self._since

    def cut_off(self) -> None:
        """Close it at once, whatever is under way."""
        self._wait_no_more()
        self.transport.abort()

    def _wait_no_more(self) -> None:
        self._since = math.inf
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
