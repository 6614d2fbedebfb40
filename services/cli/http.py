"""`appia http`: the questions over HTTP, for programs and for `curl`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.ask import Whom  # noqa: TC001 - read when a command is made
from services.cli.options import JsonOption, grouped
from services.cli.output import print_lines
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.asking import Replicas
    from services.rag.http.server import FrontSettings

DEFAULT_PORT = 8463


@dataclass(frozen=True)
class Reach:
    """Options about who reaches a server."""

    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="IP address to listen at; elsewhere than on loopback with --access and TLS only.",
        ),
    ] = "127.0.0.1"
    access: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="APPIA_ACCESS",
            help="The access file: each request has to show a token of it. Replicas need it too.",
            show_default="none: everybody on this machine may ask",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            metavar="FILE",
            help="Answer over HTTPS with this certificate (PEM, with those between it and its root).",
            show_default="none: HTTP",
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key",
            metavar="FILE",
            help="The certificate's key (PEM, mode 0400, no passphrase).",
            show_default="none",
        ),
    ] = None
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-client-ca",
            metavar="FILE",
            help="Let in only clients with a certificate that these roots (PEM) signed; they need a token all the "
            "same.",
            show_default="none",
        ),
    ] = None
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="A name by which clients may call it (header Host); may be given several times.",
            show_default="its address",
        ),
    ] = None

    def at(self, port: int) -> FrontSettings:
        """What a server is built from that listens at a port.

        Raises:
            UsageError: options about TLS are given without one that they need.
        """
        from services.rag.http.server import FrontSettings  # noqa: PLC0415 - `appia --help` starts quicker without it
        from services.rag.http.tls import TlsNames  # noqa: PLC0415 - as above

        tls = None
        if self.tls_cert is not None and self.tls_key is not None:
            tls = TlsNames(self.tls_cert, self.tls_key, self.tls_client_ca)
        elif any(one is not None for one in (self.tls_cert, self.tls_key, self.tls_client_ca)):
            raise UsageError("HTTPS needs both --tls-cert and --tls-key.")
        return FrontSettings(self.listen, port, self.host or (), self.access, tls)


@dataclass(frozen=True)
class Listening(Reach):
    """Options about where a server listens, and who reaches it."""

    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen at; 0 for a free one.")
    ] = DEFAULT_PORT


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "http",
        epilog="Example: appia http --state DIR, then curl http://127.0.0.1:8463/v1/search?text=port+scan",
    )(grouped(http))


def http(*, whom: Whom, listening: Listening, as_json: JsonOption = False) -> None:
    """Answer questions over HTTP or HTTPS, until interrupted.

    /openapi.json describes them. With --access each request shows a token, and may what its key may.
    """
    # `appia --help` starts quicker without these.
    import zmq  # noqa: PLC0415

    from services.cli.asking import replicas_for  # noqa: PLC0415
    from services.common.access.credentials import Credentials  # noqa: PLC0415
    from services.common.logs import make_logger  # noqa: PLC0415
    from services.rag.async_client import AsyncClient  # noqa: PLC0415
    from services.rag.http.server import open_front, serve_http  # noqa: PLC0415

    settings = listening.at(listening.port)
    with (
        open_front(settings, make_logger("http")) as front,
        zmq.Context() as context,
        followed(replicas_for(whom)) as replicas,
    ):
        client = AsyncClient(replicas, context, credentials=Credentials.read(whom.key, whom.server_key))
        serve_http(client, front, lambda: announce("http", front.url, as_json=as_json))


@contextlib.contextmanager
def followed(replicas: Replicas) -> Iterator[Replicas]:
    """Replicas that are looked for anew every second, as long as the block runs."""
    from services.common.registry.known import KnownSet  # noqa: PLC0415 - as above

    if not isinstance(replicas, KnownSet):
        yield replicas
        return
    replicas.start()
    try:
        yield replicas
    finally:
        replicas.stop()


def announce(service: str, url: str, *, as_json: bool) -> None:
    """Say on standard output that a server answers."""
    if as_json:
        ready = {"ready": True, "service": service, "url": url, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
    else:
        print_lines(f"{service} answers at {url}; stop it with Ctrl-C")
    sys.stdout.flush()
