"""`appia keys signing`: the key that signs what the ingester publishes."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import Annotated

import typer

from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made
from services.cli.output import print_json, print_lines


def add_to(keys_app: typer.Typer) -> None:
    """Add the command to `appia keys`."""
    keys_app.command("signing", epilog="Example: appia keys signing ~/appia/keys --rotate")(signing)


def signing(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of keys; those that sign are in signing/. No default."),
    ],
    *,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make another key, which signs from now on. Default: off.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the key that signs sealed days, or show which there is.

    Only its public half is shown. Give the file ID.public to whoever shall verify, on a way that nobody can change it.
    A running ingester sees another key by itself; the chain hands over from the old to the new. See docs/chain.md.
    """
    from services.common.chain.keys import (  # noqa: PLC0415 - `appia --help` starts quicker without it
        active_public_key,
        new_signing_key,
        public_key_file,
    )
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    public = active_public_key(folder)
    made = public is None or rotate
    if public is None or rotate:
        public = new_signing_key(folder, Disk()).public
    path = public_key_file(folder, public)
    if as_json:
        print_json({"key": public.id, "public_key": public.raw.hex(), "file": str(path), "made": made})
    else:
        print_lines(
            f"{'Made' if made else 'There is'} signing key {public.id}.",
            f"Its public half, for whoever verifies: {path}",
        )
