"""One POST over HTTP/1.1 with a limit on its whole time and on the answer's bytes.

`http.client` and not `requests`: it follows no redirect, reads no proxy, password or cookie from the surroundings, and
shows its socket, which is needed for two things. The address is checked that was really connected to, whatever the name
resolves to at another time. And a limit on the whole time can be kept against a server that sends a byte a second, for
timeouts of libraries count from the last byte: the exchange runs in a thread, and when its time is over its socket is
shut down, which ends the thread.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.rag.assistant.place import Place

_CHUNK = 65_536


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    kind: str  # its media type, in lower case
    body: bytes


class TooSlow(Exception):  # noqa: N818 - it names what happened
    """The time was over before the answer had come."""


class TooLarge(Exception):  # noqa: N818 - as above
    """The answer has more bytes than may be."""


class TooFar(Exception):  # noqa: N818 - as above
    """The host has an address that nothing may be sent to; nothing was sent."""


def post(place: Place, body: bytes, headers: Mapping[str, str], bounds: tuple[float, int]) -> Reply:
    """Send `body` and wait for the answer; blocks for at most `bounds[0]` seconds.

    Raises:
        TooSlow: the time was over.
        TooLarge: the answer has more than `bounds[1]` bytes.
        TooFar: the host is where events may not be sent.
        OSError: it cannot be reached, or the connection broke.
        http.client.HTTPException: it does not speak HTTP.
    """
    exchange = _Exchange(place, body, headers, bounds)
    thread = threading.Thread(target=exchange.run, name="ask-endpoint", daemon=True)
    thread.start()
    try:
        outcome = exchange.outcome.get(timeout=bounds[0])
    except queue.Empty:
        raise TooSlow from None
    finally:
        exchange.end()
    if isinstance(outcome, Reply):
        return outcome
    raise outcome


@dataclass
class _Exchange:
    place: Place
    body: bytes
    headers: Mapping[str, str]
    bounds: tuple[float, int]
    outcome: queue.SimpleQueue[Reply | Exception] = field(default_factory=queue.SimpleQueue)
    _over: threading.Event = field(default_factory=threading.Event)
    _socket: socket.socket | None = None

    def run(self) -> None:
        """Put what happened into `outcome`."""
        connection = _connection(self.place, self.bounds[0])
        try:
            self.outcome.put(self._exchanged(connection))
        except TimeoutError:
            self.outcome.put(TooSlow())
        except (OSError, http.client.HTTPException, TooLarge, TooFar) as failed:
            self.outcome.put(failed)
        finally:
            connection.close()

    def _exchanged(self, connection: http.client.HTTPConnection) -> Reply:
        until = time.monotonic() + self.bounds[0]
        connection.connect()
        # The two are in this order here and the other way round in `end`, so that one of them sees the other.
        self._socket = connection.sock
        if self._over.is_set():
            raise TimeoutError
        address = connection.sock.getpeername()[0]
        if not self.place.may_be_at(address):
            raise TooFar(address)
        connection.sock.settimeout(max(until - time.monotonic(), 0.001))
        connection.request("POST", self.place.path, self.body, dict(self.headers))
        with connection.getresponse() as response:
            body = _read(response, self.bounds[1])
            kind = (response.headers.get_content_type() or "").lower()
            return Reply(response.status, kind, body)

    def end(self) -> None:
        """Let the thread end: what it waits for from now on never comes."""
        self._over.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                self._socket.shutdown(socket.SHUT_RDWR)


def _connection(place: Place, seconds: float) -> http.client.HTTPConnection:
    """Not yet connected; HTTPS with the certificates that the system trusts."""
    if place.scheme == "http":
        return http.client.HTTPConnection(place.host, place.port, timeout=seconds)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(place.host, place.port, timeout=seconds, context=context)


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    """The body, as far as it may go."""
    parts: list[bytes] = []
    size = 0
    while part := response.read(_CHUNK):
        size += len(part)
        if size > most:
            raise TooLarge
        parts.append(part)
    if response.length:  # of what Content-Length promised: `read` with a size takes an early end for the end
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)
