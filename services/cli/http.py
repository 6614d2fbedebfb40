"""`appia http`: the questions over HTTP, for programs and for `curl`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.ask import Whom  # noqa: TC001 - read when a command is made
from services.cli.options import JsonOption, grouped
from services.cli.output import print_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.asking import Replicas

DEFAULT_PORT = 8463


@dataclass(frozen=True)
class Reach:
    """Options about who reaches a server."""

    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="IP address to listen at; loopback unless told otherwise.")
    ] = "127.0.0.1"
    allow_plain: Annotated[
        bool,
        typer.Option(
            "--allow-plain",
            help="Listen elsewhere than on loopback, in plain text: everybody who gets there may read everything. "
            "Default: off.",
        ),
    ] = False
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="A name by which clients may call it (header Host); may be given several times.",
            show_default="its address",
        ),
    ] = None


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
    """Answer questions over HTTP, until interrupted.

    /openapi.json describes them.
    """
    # `appia --help` starts quicker without these.
    import zmq  # noqa: PLC0415

    from services.cli.asking import replicas_for  # noqa: PLC0415
    from services.common.access.credentials import Credentials  # noqa: PLC0415
    from services.rag.async_client import AsyncClient  # noqa: PLC0415
    from services.rag.http.app import HttpSettings  # noqa: PLC0415
    from services.rag.http.server import hosts_of, listen_http, serve_http, url_of  # noqa: PLC0415

    socket = listen_http(listening.listen, listening.port, allow_plain=listening.allow_plain)
    settings = HttpSettings(hosts_of(socket, listening.host or ()))
    with contextlib.closing(socket), zmq.Context() as context, followed(replicas_for(whom)) as replicas:
        serve_http(
            AsyncClient(replicas, context, credentials=Credentials.read(whom.key, whom.server_key)),
            socket,
            settings,
            lambda: announce("http", url_of(socket), as_json=as_json),
        )


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
