"""`appia restore`: brings a backup back, and checks it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.backup import PlaceArgument, size_shown
from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, say
from services.cli.progress import files_shown
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.backup.folder_store import FolderStore
    from services.common.backup.restoring import Restored


@dataclass(frozen=True)
class Choice:
    """Options of `restore`: which backup, and what of it."""

    backup: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which one; `appia backup URL --list` shows them.", show_default="the newest"
        ),
    ] = None
    despite_damage: Annotated[
        bool,
        typer.Option(
            "--despite-damage",
            help="Restore what is whole where the backup itself is damaged. Default: off.",
        ),
    ] = False


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia restore /mnt/backup/appia --state ~/appia-restored")(grouped(restore))


def restore(
    *, place: PlaceArgument, choice: Choice, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Put a backup into a new or empty state directory.

    Everything is checked while it is written and read again afterwards; only then can the directory be used. A restore
    that was broken off goes on where it was. Indices of days that were open are made anew by the first start.
    """
    from services.common.backup.folder_store import FolderStore  # noqa: PLC0415 - `appia --help` starts quicker
    from services.common.backup.places import check_apart, folder_of  # noqa: PLC0415 - as above
    from services.common.backup.restoring import is_begun  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    root = required_state(state).expanduser().resolve()
    store = FolderStore(Disk(), folder_of(place))
    check_apart(root, store.folder)
    try:
        with store.reading():
            restored = _restored(store, root, choice)
    except KeyboardInterrupt:
        if is_begun(root):
            say("the restore is not finished; give the same command again, and it goes on from there")
        raise
    except OSError as error:
        raise AppiaError(
            f"{error.filename or root}: {error.strerror}; give the same command again, and it goes on from there"
        ) from None
    if as_json:
        print_json(asdict(restored))
    else:
        _print(restored, root)
    faults = len(restored.missing) + len(restored.faults)
    if faults:
        raise AppiaError(f"{counted(faults, 'fault')} found; all else is restored and can be used")


def _restored(store: FolderStore, root: Path, choice: Choice) -> Restored:
    from services.common.backup.restoring import RestoreTools, Restoring  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    names = store.names()
    if not names:
        raise AppiaError(f"{store.folder} holds no backup yet")
    snapshot = store.snapshot(choice.backup or names[-1])
    with files_shown("restoring") as show:
        tools = RestoreTools(store, Disk(), show)
        return Restoring(snapshot, root, tools, despite_damage=choice.despite_damage).run()


def _print(restored: Restored, root: Path) -> None:
    days = f"{counted(len(restored.rows), 'day')}, {counted(sum(restored.rows.values()), 'event')}"
    print_lines(
        f"Restored backup {restored.name} into {root}: {days}, {counted(restored.files, 'file')}, "
        f"{size_shown(restored.bytes)}.",
        *(f"  {fault}" for fault in (*restored.missing, *restored.faults)),
    )
    if not restored.keys:
        print_lines(
            f"Secrets are not in it: put the folder of keys back to {root / 'keys'} first; otherwise "
            "new ones are made, which no sender knows."
        )
    print_lines(f"Start it: appia up --state {root}")
