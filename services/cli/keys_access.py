"""`appia keys server`: the key by which clients know a server, and which encrypts what they ask."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import Annotated

import typer

from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made
from services.cli.output import print_json, print_lines


def add_to(keys_app: typer.Typer) -> None:
    """Add the command to `appia keys`."""
    keys_app.command("server", epilog="Example: appia keys server ~/appia/keys")(server)


def server(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of keys; it gets access/server.secret. No default.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make the key of a server that answers known keys only. Nothing is ever overwritten.

    Replicas and the ingester of one machine may share it. See docs/access.md.
    """
    from services.common.access.curve import make_server_key  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    path, public = make_server_key(Disk(), folder)
    if as_json:
        print_json({"file": str(path), "public_key": public})
        return
    print_lines(
        f"Made {path}.",
        f"Its public key, by which clients know the server (--server-key): {public}",
        f'Use it: server_key = "{path.absolute()}" and access = FILE in the settings; `appia access new` makes FILE.',
    )
