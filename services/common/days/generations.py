"""Generations of a day: what the served one replaces, and when that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.leases import alone_with
from services.common.days.manifest import read_manifest
from services.common.days.names import read_pointer

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.names import DayNames
    from services.common.durable import Disk

KEPT_GENERATIONS = 2
"""The served generation and the one before it, which a replica may still be reading."""


def retire(names: DayNames, disk: Disk) -> None:
    """Remove what the served generation replaces: segments that it holds, and all but the generation before it.

    A replica that still maps a removed file keeps its content; it opens the new generation at its next look.
    The pointer is synced first: who moved it may have been killed before.
    """
    for folder in (names.open_folder, names.sealed_folder):
        disk.clear_going(folder)
    current = read_pointer(names.current)
    if current is None:
        return
    disk.sync_folder(names.sealed_folder)
    through = sealed_through(names, current)
    for number in names.segments():
        if number <= through:
            disk.remove(names.segment(number).folder)
    older = [number for number in names.generations() if number < current]
    for number in older[: len(older) - (KEPT_GENERATIONS - 1)]:
        disk.remove(names.generation(number).folder)


def remove_unread(folder: Path, disk: Disk) -> bool:
    """Remove a generation that is not served any more, unless somebody still reads it; False then. Does not block."""
    try:
        with alone_with(folder) as nobody_reads:
            if nobody_reads:
                disk.remove(folder)
            return nobody_reads
    except OSError:  # a file system without locks: nobody can know
        return False


def sealed_through(names: DayNames, generation: int) -> int:
    """The last open segment whose events are in a generation."""
    return int(read_manifest(names.generation(generation).chunk).facts["through_segment"])
