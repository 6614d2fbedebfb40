"""`appia backup`: copies a state directory to a place from which `appia restore` brings it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, print_table
from services.cli.progress import files_shown
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from services.common.backup.folder_store import FolderStore
    from services.common.backup.snapshot import Snapshot

PlaceArgument = Annotated[
    str, typer.Argument(metavar="URL", help="Folder for backups: a path, or file:///PATH. No default.")
]
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Task:
    """Options of `backup`: what to do."""

    show: Annotated[
        bool, typer.Option("--list", help="List the backups there are, and make none. Default: off.")
    ] = False
    check: Annotated[
        bool,
        typer.Option("--check", help="Read all backups whole, and make none. Default: off."),
    ] = False
    keys: Annotated[
        bool,
        typer.Option("--keys", help="Copy the secrets in DIR/keys too. Default: off."),
    ] = False
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Afterwards remove all but the N newest backups of this state directory.",
            show_default="all are kept",
        ),
    ] = None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia backup /mnt/backup/appia --state ~/appia --keep 30")(grouped(backup))


def backup(
    *, place: PlaceArgument, task: Task, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Copy what the system knows to a folder.

    It may run meanwhile: all that was acknowledged before the command is in the backup. What an earlier one holds
    already is not copied again, and one that is broken off goes on where it was. Secrets are left out unless --keys
    says otherwise, and who has both has everything.
    """
    from services.common.backup.folder_store import FolderStore  # noqa: PLC0415 - `appia --help` starts quicker
    from services.common.backup.places import folder_of  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    if (task.show or task.check) and (task.keys or task.keep or (task.show and task.check)):
        raise UsageError("give --list or --check alone: they make no backup and remove none")
    store = FolderStore(Disk(), folder_of(place))
    if task.show:
        _list(store, as_json=as_json)
    elif task.check:
        _check(store, as_json=as_json)
    else:
        _make(store, task, required_state(state), as_json=as_json)


def _make(store: FolderStore, task: Task, state: Any, *, as_json: bool) -> None:
    from services.common.backup.places import check_apart  # noqa: PLC0415 - as above
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(state.expanduser().resolve())
    check_layout(names)
    check_apart(names.root, store.folder)
    try:
        with store.writing():
            snapshot = _copied(store, names, keys=task.keys)
            removed, freed = _pruned(store, snapshot, task.keep)
    except OSError as error:
        raise AppiaError(
            f"{error.filename or store.folder}: {error.strerror}; what was copied is kept, and the next backup goes on "
            "from there"
        ) from None
    facts = {**facts_of(snapshot), "faults": list(snapshot.faults), "removed": removed, "freed_bytes": freed}
    if as_json:
        print_json(facts)
    else:
        _print_made(store, snapshot, removed)
    if snapshot.faults:
        raise AppiaError(
            f"{counted(len(snapshot.faults), 'fault')} found in {names.root}: the backup is kept, and holds what is "
            "damaged as it is"
        )


def _copied(store: FolderStore, names: Any, *, keys: bool) -> Snapshot:
    from datetime import UTC, datetime  # noqa: PLC0415 - as above
    from importlib.metadata import version  # noqa: PLC0415 - as above

    from services.common.backup.copying import BackupTools, Copying  # noqa: PLC0415 - as above

    with files_shown("copying") as show:
        tools = BackupTools(store, lambda: datetime.now(UTC), show, version("appia"))
        return Copying(names, tools, keys=keys).run()


def _pruned(store: FolderStore, newest: Snapshot, keep: int | None) -> tuple[list[str], int]:
    """Remove the oldest backups of the same state directory; gives their names, and how many bytes that freed."""
    if keep is None:
        return [], 0
    try:
        mine = [name for name in store.names() if store.snapshot(name).source == newest.source]
        old = mine[:-keep]
        return old, store.prune(old)
    except AppiaError as error:
        raise AppiaError(
            f"backup {newest.name} was made, but no older one removed, because what is needed is not known: {error}"
        ) from None


def _print_made(store: FolderStore, snapshot: Snapshot, removed: list[str]) -> None:
    what = f"{counted(len(snapshot.rows), 'day')}, {counted(sum(snapshot.rows.values()), 'event')}"
    print_lines(
        f"Made backup {snapshot.name} in {store.folder}: {what}, {counted(len(snapshot.files), 'file')}, "
        f"{size_shown(snapshot.size)}.",
        *(f"  {fault}" for fault in snapshot.faults),
    )
    if removed:
        print_lines(f"Removed {counted(len(removed), 'older backup')}.")
    if not snapshot.keys:
        print_lines("Secrets are not in it: keep a copy of the folder of keys elsewhere, or use --keys.")


def _list(store: FolderStore, *, as_json: bool) -> None:
    found: list[Snapshot] = []
    faults: list[str] = []
    with store.reading():
        for name in store.names():
            try:
                found.append(store.snapshot(name))
            except AppiaError as error:
                faults.append(str(error))
    if as_json:
        print_json({"backups": [facts_of(snapshot) for snapshot in found], "faults": faults})
    else:
        _print_list(found, faults)
    if faults:
        raise AppiaError(f"{counted(len(faults), 'backup')} cannot be read")


def _print_list(found: list[Snapshot], faults: list[str]) -> None:
    if not found and not faults:
        print_lines("There is no backup yet.")
    if found:
        print_table(
            ["backup", ">days", ">events", ">size", "keys", ">faults", "!of"],
            [
                (
                    one.name,
                    len(one.rows),
                    f"{sum(one.rows.values()):,}",
                    size_shown(one.size),
                    "yes" if one.keys else "no",
                    len(one.faults) or "",
                    one.source,
                )
                for one in found
            ],
        )
    print_lines(*faults)


def _check(store: FolderStore, *, as_json: bool) -> None:
    from services.common.backup.checking import check_store  # noqa: PLC0415 - as above

    with store.writing(make=False), files_shown("reading") as show:
        checked = check_store(store, show)
    if as_json:
        print_json({"backups": checked.backups, "pieces": checked.pieces, "faults": list(checked.faults)})
    else:
        print_lines(
            f"Read {counted(checked.backups, 'backup')}, {counted(checked.pieces, 'piece')}.",
            *(f"  {fault}" for fault in checked.faults),
        )
    if checked.faults:
        raise AppiaError(
            f"{counted(len(checked.faults), 'fault')} found; the next backup copies again what the state directory "
            "still has"
        )


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """What `--json` says of a backup."""
    return {
        "backup": snapshot.name,
        "begun": snapshot.begun,
        "ended": snapshot.ended,
        "of": snapshot.source,
        "appia": snapshot.appia,
        "keys": snapshot.keys,
        "files": len(snapshot.files),
        "bytes": snapshot.size,
        "rows": dict(snapshot.rows),
        "remarks": snapshot.remarks,
    }


def size_shown(size: float) -> str:
    """Bytes in the unit that fits."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
