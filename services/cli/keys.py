"""`appia keys`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import Annotated

import typer

from services.cli import keys_access, keys_registry, keys_signing, keys_site, keys_storage, keys_wire
from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made
from services.cli.output import print_json, print_lines


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Make and change keys, and what else is secret.", no_args_is_help=True)
    keys.command("new", epilog="Example: appia keys new ~/appia/keys")(new)
    keys_wire.add_to(keys)
    keys_signing.add_to(keys)
    keys_storage.add_to(keys)
    keys_registry.add_to(keys)
    keys_access.add_to(keys)
    keys_site.add_to(keys)
    app.add_typer(keys, name="keys")


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the keys; made if missing. No default.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a wire key ring, and a key that signs sealed days. Nothing is ever overwritten; half a run is finished.

    Copy DIR/wire, and nothing else of DIR, to each machine that runs `appia feed --to`; whoever has it can send
    events, and read them on their way.
    """
    from services.common.chain.keys import (  # noqa: PLC0415 - cryptography loads slowly
        active_public_key,
        new_signing_key,
        public_key_file,
    )
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.wire.keys import new_key_ring, read_key_ring, ring_folder  # noqa: PLC0415 - as above

    public = active_public_key(folder)
    # A ring alone was left by a run that was broken off: the key that signs is made after it, and named last.
    is_half = public is None and ring_folder(folder).exists()
    ring = read_key_ring(folder) if is_half else new_key_ring(folder)
    public = public or new_signing_key(folder, Disk()).public
    if as_json:
        print_json({"keys": str(folder), "primary": ring.primary, "signing": public.id})
    else:
        print_lines(
            f"Made key {ring.primary} in {ring_folder(folder)}; keep a copy where nobody else can read it.",
            f"Days are signed with {public.id}; who verifies them needs {public_key_file(folder, public)}.",
        )
