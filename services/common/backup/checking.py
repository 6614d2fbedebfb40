"""Reads every piece that a backup needs, so that damage is found while the original is still there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.backup.folder_store import FolderStore
    from services.common.backup.snapshot import Piece


@dataclass(frozen=True)
class StoreCheck:
    """How many backups and pieces were read, and what is wrong with them, one sentence each."""

    backups: int
    pieces: int
    faults: tuple[str, ...]


def check_store(store: FolderStore, progress: Callable[[int, int], None]) -> StoreCheck:
    """Read all pieces of all backups; a damaged one is set aside, so that the next backup copies it again.

    Blocks while it reads them; for who holds the store's lock for writing. `progress` takes pieces read, and in all.
    """
    faults: list[str] = []
    needed: dict[Piece, str] = {}  # and the first file that needs it
    backups = 0
    for name in store.names():
        try:
            snapshot = store.snapshot(name)
        except AppiaError as error:
            faults.append(str(error))
            continue
        backups += 1
        for entry in snapshot.files:
            for piece in entry.pieces:
                needed.setdefault(piece, f"{entry.path} of backup {name}")
    for number, (piece, needed_by) in enumerate(needed.items()):
        progress(number, len(needed))
        try:
            for _ in store.read(piece):
                pass
        except AppiaError as error:
            store.set_aside(piece)
            faults.append(f"{needed_by}: {error}")
    return StoreCheck(backups, len(needed), tuple(faults))
