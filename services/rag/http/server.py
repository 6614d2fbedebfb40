"""Serves the HTTP API until a signal ends it."""

from __future__ import annotations

import ipaddress
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from services.common.errors import AppiaError, UsageError
from services.rag.http.app import LOOPBACK_HOSTS, HttpSettings, make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp

    from services.rag.async_client import AsyncClient

BACKLOG = 128
_GRACE_S = 10


def listen_http(address: str, port: int, *, allow_plain: bool) -> socket.socket:
    """A socket that listens at an IP address; port 0 takes a free one.

    Raises:
        UsageError: it is no address, or not on loopback while `allow_plain` is false.
        AppiaError: it cannot be bound, for example because another process has the port.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise UsageError(
            f"{address[:80]!r} is no IP address to listen at, such as 127.0.0.1 or ::1."
        ) from None
    if not found.is_loopback and not allow_plain:
        raise UsageError(
            f"{address} is not on loopback, and everybody who reaches it may read everything in plain text: listen "
            "at 127.0.0.1, or allow plain text on a network where everybody may."
        )
    family = socket.AF_INET6 if found.version == 6 else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named; else each waits for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise AppiaError(f"Nothing can listen at {address}, port {port}: {error.strerror}.") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a socket is reached, http://ADDRESS:PORT."""
    address, port = listening.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def hosts_of(listening: socket.socket, names: Sequence[str]) -> tuple[str, ...]:
    """By which names (header Host) a server may be called: those given, loopback's, and its own address.

    A server that listens on all addresses may be called by any name, unless some are given.
    """
    address = listening.getsockname()[0]
    if ipaddress.ip_address(address).is_unspecified and not names:
        return ("*",)
    own = f"[{address}]" if ":" in address else address
    return tuple(dict.fromkeys((*names, *LOOPBACK_HOSTS, own)))


def serve_http(
    client: AsyncClient, listening: socket.socket, settings: HttpSettings, ready: Callable[[], None]
) -> None:
    """Answer the HTTP API as `serve_app` does; closes the client too."""
    serve_app(make_app(client, settings), listening, ready)


def serve_app(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or SIGINT, then finish what was taken; blocks. `ready` is called when it answers.

    Closes the socket.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_S
    )
    # The server gives a signal on to whoever handled it before, when it has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with listening:
        ready()
        uvicorn.Server(config).run(sockets=[listening])
