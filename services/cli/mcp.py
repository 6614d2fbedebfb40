"""`appia mcp`: the questions as tools for an analyst's assistant, by the Model Context Protocol."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.ask import Whom  # noqa: TC001 - read when a command is made
from services.cli.http import Reach, announce, followed
from services.cli.options import JsonOption, grouped
from services.cli.output import say

if TYPE_CHECKING:
    from services.rag.async_client import AsyncClient


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "mcp",
        epilog="Example: appia mcp --state DIR as the command of a server in an assistant's settings; "
        "or appia mcp --state DIR --http 8464, and http://127.0.0.1:8464/mcp as its address",
    )(grouped(mcp))


def mcp(
    *,
    whom: Whom,
    http: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Answer over HTTP at this port, 0 for a free one; --listen, --access, --tls-cert and the like are "
            "about it.",
            show_default="standard input and output",
        ),
    ] = None,
    reach: Reach,
    as_json: JsonOption = False,
) -> None:
    """Let an assistant ask, by tools that only read.

    Every question is such a tool. The assistant starts this command itself and speaks with it over standard input and
    output, until it closes them; with --http any number of assistants may speak with it over HTTP, until it is
    interrupted.
    """
    # `appia --help` starts quicker without these.
    import zmq  # noqa: PLC0415

    from services.cli.asking import replicas_for  # noqa: PLC0415
    from services.common.access.credentials import Credentials  # noqa: PLC0415
    from services.rag.async_client import AsyncClient  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, handlers=[_Said()])
    with zmq.Context() as context, followed(replicas_for(whom)) as replicas:
        client = AsyncClient(replicas, context, credentials=Credentials.read(whom.key, whom.server_key))
        if http is None:
            _over_stdio(client)
        else:
            _over_http(client, http, reach, as_json=as_json)


class _Said(logging.Handler):
    """What libraries report, on standard error, where no text of theirs can steer the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it in one line."""
        say(self.format(record))


def _over_stdio(client: AsyncClient) -> None:
    from services.rag.mcp.server import make_server, serve_stdio  # noqa: PLC0415 - as above

    # It waits in reads that nothing interrupts, and has nothing to finish.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.stdin.isatty():
        say("an assistant is expected on standard input, see docs/mcp.md; Ctrl-C stops it")
    try:
        asyncio.run(serve_stdio(make_server(client)))
    except* BrokenPipeError:
        pass  # an assistant that ends closes its pipes: what was under way has nobody left to go to


def _over_http(client: AsyncClient, port: int, reach: Reach, *, as_json: bool) -> None:
    from services.common.logs import make_logger  # noqa: PLC0415 - as above
    from services.rag.http.server import open_front, serve_app  # noqa: PLC0415 - as above
    from services.rag.mcp.server import PATH, http_app  # noqa: PLC0415 - as above

    with open_front(reach.at(port), make_logger("mcp")) as front:
        serve_app(
            http_app(client, front), front, lambda: announce("mcp", f"{front.url}{PATH}", as_json=as_json)
        )
