"""Serves an application over HTTP or HTTPS until a signal ends it."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import signal
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from services.common.access.book import AccessBook
from services.common.access.refusals import Refusals
from services.common.errors import AppiaError, UsageError
from services.rag.http.app import LOOPBACK_HOSTS, HttpSettings, make_app
from services.rag.http.connections import BoundedConnection, BoundedLoop
from services.rag.http.tls import TlsFiles, TlsNames
from services.rag.http.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp
    from structlog.typing import FilteringBoundLogger

    from services.rag.async_client import AsyncClient

BACKLOG = 128
_GRACE_S = 10


@dataclass(frozen=True)
class FrontSettings:
    """Where a server is to listen, and who gets in.

    Attributes:
        address: an IP address.
        port: 0 takes a free one.
        hosts: names by which clients may call it, beside its address and those of loopback.
        access: the access file whose tokens let in; None for everybody who is on this machine.
        tls: the files for HTTPS; None for HTTP, on this machine only.
    """

    address: str = "127.0.0.1"
    port: int = 0
    hosts: Sequence[str] = ()
    access: Path | None = None
    tls: TlsNames | None = None


@dataclass(frozen=True)
class Front:
    """What a server listens with, and who gets in."""

    socket: socket.socket
    hosts: tuple[str, ...]
    tokens: Tokens | None = None
    tls: TlsFiles | None = None

    @property
    def url(self) -> str:
        """Where it is reached, http://ADDRESS:PORT or https://ADDRESS:PORT."""
        address, port = self.socket.getsockname()[:2]
        return (
            f"{self.scheme}://[{address}]:{port}" if ":" in address else f"{self.scheme}://{address}:{port}"
        )

    @property
    def scheme(self) -> str:
        """Http or https."""
        return "http" if self.tls is None else "https"


@contextmanager
def open_front(settings: FrontSettings, log: FilteringBoundLogger) -> Iterator[Front]:
    """Read the files and listen as long as the block runs; blocks on the disk.

    Raises:
        UsageError: it is no address, or elsewhere than on loopback without TLS and tokens.
        AppiaError: a file cannot be used, or the address not be bound.
    """
    tls = None if settings.tls is None else TlsFiles(settings.tls, log)
    tokens = None if settings.access is None else Tokens(AccessBook(settings.access, log), Refusals(log))
    guarded = tls is not None and tokens is not None
    with listen_http(settings.address, settings.port, guarded=guarded) as listening:
        yield Front(listening, hosts_of(listening, settings.hosts), tokens, tls)


def listen_http(address: str, port: int, *, guarded: bool) -> socket.socket:
    """A socket that listens at an IP address; port 0 takes a free one. `guarded` is TLS together with tokens.

    Raises:
        UsageError: it is no address, or not on loopback while it is not `guarded`.
        AppiaError: it cannot be bound, for example because another process has the port.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise UsageError(
            f"{address[:80]!r} is no IP address to listen at, such as 127.0.0.1 or ::1."
        ) from None
    if not found.is_loopback and not guarded:
        raise UsageError(
            f"{address} is not on loopback, where nobody asks without a token or in plain text: give --access, "
            "--tls-cert and --tls-key, or listen at 127.0.0.1."
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


def hosts_of(listening: socket.socket, names: Sequence[str]) -> tuple[str, ...]:
    """By which names (header Host) a server may be called: those given, loopback's, and its own address.

    A server that listens on all addresses may be called by any name, unless some are given.
    """
    address = listening.getsockname()[0]
    if ipaddress.ip_address(address).is_unspecified and not names:
        return ("*",)
    own = f"[{address}]" if ":" in address else address
    return tuple(dict.fromkeys((*names, *LOOPBACK_HOSTS, own)))


def serve_http(client: AsyncClient, front: Front, ready: Callable[[], None]) -> None:
    """Answer the HTTP API as `serve_app` does; closes the client too."""
    serve_app(make_app(client, HttpSettings(front.hosts, tokens=front.tokens)), front, ready)


def serve_app(app: ASGIApp, front: Front, ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or SIGINT, then finish what was taken; blocks. `ready` is called when it answers.

    Who gets in is decided by the application: it has to stand behind `front.tokens` where there are some.
    """
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        # Whoever sends nonsense is told so; a line for each would let strangers fill the log.
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # No browser takes an answer, which attackers wrote parts of, for a script or picture of another page.
        headers=[("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")],
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    _allow_many_files()
    config.ssl = None if front.tls is None else front.tls.context
    # The server gives a signal on to whoever handled it before, when it has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    ready()
    with asyncio.Runner(loop_factory=BoundedLoop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[front.socket]))


def _allow_many_files() -> None:
    """Raise the limit of open files to the highest allowed: connections take one each, and questions some more."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
