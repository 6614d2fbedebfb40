"""Connections that strangers open: they cannot be held for nothing, and there are so many at most."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from services.rag.http import connections
from services.rag.http.connections import BoundedConnection, BoundedLoop
from services.rag.http.tls import TlsNames
from tests.real_etcd.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT_S = 0.3
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", LIMIT_S)
    monkeypatch.setattr(connections, "ANSWER_S", LIMIT_S)
    monkeypatch.setattr(connections, "HANDSHAKE_S", LIMIT_S)
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 3)


async def _slow(_scope: Any, receive: Any, send: Any) -> None:
    """Read the body, think longer than a request may take to come in, and answer."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(2 * LIMIT_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _long(scope: Any, _receive: Any, send: Any) -> None:
    """Answer as many pieces of a kibibyte as the path says."""
    await send({"type": "http.response.start", "status": 200})
    for _ in range(int(scope["path"][1:])):
        await send({"type": "http.response.body", "body": bytes(1 << 10), "more_body": True})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def _server(app: Any = _slow, state: ServerState | None = None, **more: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(app, http=BoundedConnection, ws="none", log_config=None, lifespan="off")
    config.load()
    state = state or ServerState()
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what is not taken waits in the server
    server = await loop.create_server(lambda: BoundedConnection(config, state, {}), sock=listening, **more)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in list(state.connections):
            one.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def _end(connection: Connection) -> tuple[bytes, float]:
    """What comes until the server closes, and how long that took."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(10):
            found = await connection[0].read()
    except ConnectionResetError:
        found = b""
    connection[1].close()
    return found, time.monotonic() - began


async def _dribble(connection: Connection, first: bytes) -> bytes:
    """Send a beginning and then a byte now and then; returns what the server said when it had enough."""
    connection[1].write(first)
    end = asyncio.ensure_future(_end(connection))
    while not end.done():
        connection[1].write(b"a")
        await asyncio.sleep(LIMIT_S / 10)
    return (await end)[0]


def test_a_request_has_to_come_in_within_its_time() -> None:
    """One that never begins, one whose head is drawn out, and one whose body is, are cut off."""

    async def check() -> None:
        async with _server() as port:
            silent, seconds = await _end(await asyncio.open_connection("127.0.0.1", port))
            assert silent == b""
            assert seconds >= LIMIT_S * 0.9
            for begun in (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", HEAD.replace(b" 4", b" 4000")):
                assert await _dribble(await asyncio.open_connection("127.0.0.1", port), begun) == b""

    asyncio.run(check())


def test_an_answer_may_take_longer_than_a_request() -> None:
    """A request that came whole is answered, also a second one on the same connection that then dawdles no more."""

    async def check() -> None:
        async with _server() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(HEAD)
                await asyncio.sleep(LIMIT_S / 2)
                writer.write(b"body")
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(2) == b"ok"
            assert await _dribble((reader, writer), HEAD[:20]) == b""

    asyncio.run(check())


def test_there_are_so_many_connections_at_most() -> None:
    """One more takes the place of the one that dawdles longest; whose request came whole is answered."""

    async def check() -> None:
        async with _server() as port:
            first, second, third = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            first[1].write(HEAD + b"body")
            third[1].write(HEAD)
            await asyncio.sleep(LIMIT_S / 10)
            fourth = await asyncio.open_connection("127.0.0.1", port)
            found, seconds = await _end(second)
            assert (found, seconds < LIMIT_S * 0.8) == (b"", True)
            third[1].write(b"body")
            fourth[1].write(HEAD + b"body")
            await asyncio.sleep(LIMIT_S / 10)
            found, seconds = await _end(await asyncio.open_connection("127.0.0.1", port))
            assert (found, seconds < LIMIT_S * 0.8) == (b"", True)
            for reader, writer in (first, third, fourth):
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                writer.close()

    asyncio.run(check())


def test_a_request_behind_another_has_its_time_too() -> None:
    """Its beginning came with the one before, so nothing more comes that would start its time."""

    async def check() -> None:
        async with _server() as port:
            connection = await asyncio.open_connection("127.0.0.1", port)
            connection[1].write(HEAD + b"body" + HEAD)
            found, seconds = await _end(connection)
            assert (found.count(b"200 OK"), seconds < 10) == (1, True)

    asyncio.run(check())


def test_who_was_answered_keeps_nobody_out() -> None:
    """Connections that only wait are worth less than a new one: the one that waits longest goes."""

    async def check() -> None:
        async with _server() as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in idle:
                writer.write(HEAD + b"body")
            for reader, _ in idle:
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            fresh = await asyncio.open_connection("127.0.0.1", port)
            fresh[1].write(HEAD + b"body")
            assert b"200 OK" in await fresh[0].readuntil(b"\r\n\r\n")
            for _, writer in (*idle, fresh):
                writer.close()

    asyncio.run(check())


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize("kibibytes", [40, 4000])
def test_an_answer_has_to_be_taken(more: bytes, kibibytes: int) -> None:
    """Who asks and does not read is cut off: where the answer waits to go on, and where its end waits to go out."""

    async def check() -> None:
        state = ServerState()
        async with _server(_long, state) as port:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", port))
                deaf.sendall(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (kibibytes, more))
                await asyncio.sleep(LIMIT_S / 2)
                assert len(state.connections) == 1
                await asyncio.sleep(2 * LIMIT_S)
                assert not state.connections

    asyncio.run(check())


def test_a_handshake_has_its_time(tmp_path: Path) -> None:
    """Who connects for TLS and says nothing is cut off in seconds, not in asyncio's minute."""
    made = make_certificates(tmp_path)

    async def check() -> float:
        async with _server(ssl=TlsNames(*made.server).context()) as port:
            return (await _end(await asyncio.open_connection("127.0.0.1", port)))[1]

    with asyncio.Runner(loop_factory=BoundedLoop) as runner:
        assert LIMIT_S * 0.9 <= runner.run(check()) < 10
