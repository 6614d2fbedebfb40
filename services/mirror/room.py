"""Which days fit: the newest win, the oldest go. And how a day goes without taking it from who reads it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from services.common.days.leases import alone_with
from services.common.days.stored import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.common.days.names import DayNames, StateNames
    from services.common.durable import Disk

RESERVE = 64 << 20
"""Bytes that a sealed day leaves free on the disk, for open days."""


def left_out(days: Sequence[str], size_of_day: Callable[[str], int], budget: int) -> frozenset[str]:
    """The days that do not fit into `budget` bytes (0: no bound). Pure.

    Once one does not fit, none that is older is taken: what is held are the newest days without a gap.

    Args:
        days: the newest first.
        size_of_day: what a day takes here, bytes; not asked for days after the first that does not fit.
        budget: bytes.
    """
    used = 0
    for place, day in enumerate(days if budget else ()):
        used += size_of_day(day)
        if used > budget:
            return frozenset(days[place:])
    return frozenset()


class Room:
    """The disk below a state directory that a mirror keeps. For one thread."""

    def __init__(self, state: StateNames, disk: Disk, budget: int) -> None:
        """`budget` bytes for all days together; 0 for what the disk has."""
        self._state, self._disk, self.budget = state, disk, budget

    def used(self) -> int:
        """Bytes of all days. Blocks for some microseconds a file."""
        return size_of(self._state.root / "days")

    def lacks(self, needed: int) -> int:
        """How many bytes there are too few for `needed` more; 0 where it fits."""
        over = self.used() + needed - self.budget if self.budget else 0
        free = shutil.disk_usage(self._state.root).free
        return max(over, needed + RESERVE - free, 0)

    def remove(self, names: DayNames) -> bool:
        """Take a day away; False while a replica still reads it, which has to let go first: call it again then."""
        if names.current.exists():
            self._disk.remove(names.current)
            self._disk.sync_folder(names.sealed_folder)
        try:
            with alone_with(names.folder) as is_alone:
                if is_alone and names.folder.exists():
                    self._disk.remove(names.folder)
                return is_alone
        except OSError:  # a file system without locks: nobody can know
            return False
