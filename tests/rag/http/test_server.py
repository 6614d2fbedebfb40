"""Where a server listens, and by which names it may be called."""

from __future__ import annotations

import asyncio
import socket

import pytest

from services.common.errors import AppiaError, UsageError
from services.rag.http.server import Front, hosts_of, listen_http

ANY = "0.0.0.0"  # noqa: S104 - it is what is tested


def test_addresses_off_loopback_have_to_be_guarded() -> None:
    """By TLS together with tokens; what is no address is said as well."""
    with pytest.raises(UsageError, match="not on loopback"):
        listen_http(ANY, 0, guarded=False)
    with pytest.raises(UsageError, match="no IP address"):
        listen_http("localhost", 0, guarded=True)
    with listen_http("127.0.0.1", 0, guarded=False) as first:
        with pytest.raises(AppiaError, match="Nothing can listen at"):
            listen_http("127.0.0.1", first.getsockname()[1], guarded=False)
        assert Front(first, ()).url == f"http://127.0.0.1:{first.getsockname()[1]}"


def test_who_may_call_by_which_name() -> None:
    """Loopback's names always, others where they are given; on all addresses any name, unless some are given."""
    with listen_http("127.0.0.1", 0, guarded=False) as own, listen_http(ANY, 0, guarded=True) as wide:
        assert hosts_of(own, ()) == ("127.0.0.1", "localhost", "[::1]")
        assert hosts_of(own, ("appia.lan",))[0] == "appia.lan"
        assert hosts_of(wide, ()) == ("*",)
        assert "*" not in hosts_of(wide, ("appia.lan",))


def test_small_answers_are_sent_at_once() -> None:
    """A connection that asyncio serves does not wait for the acknowledgement of the head before it sends the body."""

    async def option() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            own = writer.get_extra_info("socket")
            found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen_http("127.0.0.1", 0, guarded=False) as listening:
            async with await asyncio.start_server(connected, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                value = await found
                writer.close()
                await writer.wait_closed()
        return value

    assert asyncio.run(option())
