"""`appia keys rotate`, `retire`, `revoke`, `list` and `sensor`: the keys that frames are sealed with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made
from services.cli.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from services.common.wire.keys import KeyRing

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the keys. No default.")]
KeyArgument = Annotated[
    int,
    typer.Argument(metavar="KEY", min=0, max=(1 << 32) - 1, help="Key id, as `appia keys list` shows it."),
]
TAKEN_UP = "Who runs on this folder takes it up within two seconds."


def add_to(keys: typer.Typer) -> None:
    """Add the commands."""
    keys.command("list", epilog="Example: appia keys list ~/appia/keys")(show)
    keys.command("rotate", epilog="Example: appia keys rotate ~/appia/keys")(rotate)
    keys.command("retire", epilog="Example: appia keys retire ~/appia/keys 305419896")(retire)
    keys.command("revoke", epilog="Example: appia keys revoke ~/appia/keys 305419896")(revoke)
    keys.command("sensor", epilog="Example: appia keys sensor ~/appia/keys sniffer-1")(sensor)


def show(folder: FolderArgument, *, as_json: JsonOption = False) -> None:
    """List the keys that frames are sealed with.

    Each with what it may do, and when it was made. No secret is shown.
    """
    from services.common.wire.keys import read_key_ring  # noqa: PLC0415 - cryptography loads slowly

    rows = _rows(folder, read_key_ring(folder))
    if as_json:
        print_json({"keys": str(folder), "rows": rows})
    else:
        print_table(["key", "may", "made"], [[row["key"], row["may"], row["made"]] for row in rows])


def rotate(folder: FolderArgument, *, as_json: JsonOption = False) -> None:
    """Make a new key that seals; the others go on opening.

    Do this where the ingester is, then copy DIR/wire to the senders. When all of them have it, `retire` the old key.
    """
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.wire.ring_changes import rotate_ring  # noqa: PLC0415 - cryptography loads slowly

    ring = rotate_ring(folder, Disk())
    before = ", ".join(map(str, ring.opening_ids()[1:]))
    _tell(
        folder,
        ring,
        f"Made key {ring.primary}, which seals from now on; {before} still open.",
        as_json=as_json,
    )


def retire(folder: FolderArgument, key: KeyArgument, *, as_json: JsonOption = False) -> None:
    """Delete a key that no sender uses any more. Its frames are then refused as unknown."""
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.wire.ring_changes import retire_key  # noqa: PLC0415 - cryptography loads slowly

    _tell(folder, retire_key(folder, Disk(), key), f"Deleted key {key}.", as_json=as_json)


def revoke(folder: FolderArgument, key: KeyArgument, *, as_json: JsonOption = False) -> None:
    """Refuse a key from now on: others may have it.

    It is deleted and never taken again. Make a new key with `rotate` first. Do this wherever DIR/wire was copied to,
    first where ingesters are.
    """
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.wire.ring_changes import revoke_key  # noqa: PLC0415 - cryptography loads slowly

    ring = revoke_key(folder, Disk(), key)
    _tell(folder, ring, f"Revoked key {key}: its frames are refused.", as_json=as_json)


def sensor(
    folder: FolderArgument,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Node id that the sensor's events name.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a seed for one sensor of wire version 1.

    The sensor needs a copy of the file that is printed. From then on events that name this node are taken under this
    seed only, and it opens no others.
    """
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.wire.ring_changes import new_node_seed  # noqa: PLC0415 - cryptography loads slowly

    path = new_node_seed(folder, Disk(), node)
    if as_json:
        print_json({"keys": str(folder), "node": node, "file": str(path)})
    else:
        print_lines(f"Made {path}: give the sensor {node} its 32 bytes (64 hex characters). {TAKEN_UP}")


def _tell(folder: Path, ring: KeyRing, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"keys": str(folder), **ring.facts()})
    else:
        print_lines(f"{sentence} {TAKEN_UP}")


def _rows(folder: Path, ring: KeyRing) -> list[dict[str, Any]]:
    from services.common.wire.keys import node_seed_file, seed_file  # noqa: PLC0415 - cryptography loads slowly

    seals = {ring.primary: "seal and open"}
    return [
        *(_row(str(key), seals.get(key, "open"), seed_file(folder, key)) for key in ring.opening_ids()),
        *(_row(str(key), "nothing, it is revoked", None) for key in sorted(ring.revoked)),
        *(
            _row(f"v1/{node}", f"open frames of node {node}", node_seed_file(folder, node))
            for node in sorted(ring.nodes)
        ),
    ]


def _row(key: str, may: str, seed: Path | None) -> dict[str, Any]:
    return {"key": key, "may": may, "made": _made(seed) if seed else ""}


def _made(path: Path) -> str:
    """When a file was made, from the disk, as a UTC date and time."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
