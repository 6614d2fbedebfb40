"""`appia keys storage`: the keys that wrap those of encrypted logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made
from services.cli.output import print_json, print_lines, print_table

KeysArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of keys; the storage keys are in rest/. No default.")
]


def add_to(keys_app: typer.Typer) -> None:
    """Add the commands to `appia keys`."""
    storage = typer.Typer(
        help="Keys for encrypted logs: new, rotate, list. See docs/at-rest.md.", no_args_is_help=True
    )
    storage.command("new", epilog="Example: appia keys storage new ~/appia/keys")(new)
    storage.command("rotate", epilog="Example: appia keys storage rotate ~/appia/keys")(rotate)
    storage.command("list", epilog="Example: appia keys storage list ~/appia/keys")(list_keys)
    keys_app.add_typer(storage, name="storage")


def new(folder: KeysArgument, *, as_json: JsonOption = False) -> None:
    """Make a file with one storage key. Nothing is ever overwritten.

    `appia up` takes it by itself from the folder keys of its state directory; one that lies elsewhere is named as
    storage_key in the settings of the ingester and of the replicas. Keep a copy elsewhere: who loses it loses what was
    encrypted with it.
    """
    from services.common.durable import Disk  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.rest.storage_keys import new_storage_keys, storage_keys_file  # noqa: PLC0415 - as above

    path = storage_keys_file(folder)
    key = new_storage_keys(Disk(), path)
    if as_json:
        print_json({"file": str(path), "key": f"{key.key_id:016x}"})
    else:
        print_lines(
            f"Made storage key {key.key_id:016x} in {path}.",
            "`appia up` uses it by itself if this is the folder keys of its state directory. Else name it:",
            f'  storage_key = "{path.absolute()}" under [ingester] and [rag] of the settings.',
            "Keep a copy elsewhere: without it nothing that is encrypted can be read.",
        )


def rotate(folder: KeysArgument, *, as_json: JsonOption = False) -> None:
    """Put a new storage key behind those there are.

    Running services see it by themselves: files that are begun from now on are encrypted with it. The older keys stay,
    to read the files that have them.
    """
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.rest.storage_keys import rotate_storage_keys, storage_keys_file  # noqa: PLC0415 - as above

    path = storage_keys_file(folder)
    key = rotate_storage_keys(Disk(), path)
    if as_json:
        print_json({"file": str(path), "key": f"{key.key_id:016x}"})
    else:
        print_lines(
            f"New files are encrypted with storage key {key.key_id:016x}; copy {path} to a safe place again."
        )


def list_keys(folder: KeysArgument, *, as_json: JsonOption = False) -> None:
    """Show the ids of the storage keys, and never the keys."""
    from services.common.rest.storage_keys import read_storage_keys, storage_keys_file  # noqa: PLC0415 - as above

    keys = read_storage_keys(storage_keys_file(folder))
    ids = [f"{key.key_id:016x}" for key in keys]
    if as_json:
        print_json({"keys": ids})
    else:
        last = len(ids) - 1
        print_table(
            ["key", "~for"],
            [(one, "new files, and reading" if i == last else "reading") for i, one in enumerate(ids)],
        )
