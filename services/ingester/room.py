"""Whether the disk has room for the intake, which pauses above a limit or when a write finds the disk full."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRY_AGAIN_S = 1.0
"""How long nothing is read after a write found the disk full."""


@dataclass(frozen=True)
class Room:
    """How full a disk may be: from `warn_percent` on it is said, intake pauses at `stop_percent` and goes on below."""

    folder: Path
    stop_percent: float
    warn_percent: float = 100.0

    def used_percent(self) -> float:
        """Look at the file system now. What is kept for root counts as used."""
        usage = shutil.disk_usage(self.folder)
        return 100.0 * (usage.total - usage.free) / usage.total


class Gauge:
    """Watches the room and reports each change. The fields are for any thread, the methods for one."""

    def __init__(
        self,
        room: Room,
        report: Callable[[str, dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at nothing yet; `clock` gives seconds that never go back."""
        self._room = room
        self._report = report
        self._clock = clock
        self._try_again_at: float | None = None  # since a write found the disk full
        self.used_percent = 0.0
        self.is_filling = False
        self.is_paused = False

    def use(self, room: Room) -> None:
        """Hold to other limits from the next look on."""
        self._room = room

    def as_dict(self) -> dict[str, Any]:
        """What a status says about the disk."""
        return {
            "paused": self.is_paused,
            "disk_percent": round(self.used_percent, 1),
            "disk_filling": self.is_filling,
        }

    def is_shut(self) -> bool:
        """Whether nothing is to be taken now: above the limit, and for a while after the disk was found full."""
        self.used_percent = self._room.used_percent()
        filling = self.used_percent >= self._room.warn_percent
        if filling != self.is_filling:
            self.is_filling = filling
            self._tell("disk_filling" if filling else "disk_has_room")
        above = self.used_percent >= self._room.stop_percent
        self._set_paused(above or self._try_again_at is not None)
        return above or (self._try_again_at is not None and self._clock() < self._try_again_at)

    def found_full(self) -> None:
        """A write found no room, whatever the file system says: another process fills it, or there is a quota."""
        self._try_again_at = self._clock() + TRY_AGAIN_S

    def has_written(self) -> None:
        """Something went on the disk."""
        self._try_again_at = None

    def _set_paused(self, paused: bool) -> None:  # noqa: FBT001 - the state itself
        if paused != self.is_paused:
            self.is_paused = paused
            self._tell("intake_paused" if paused else "intake_resumed")

    def _tell(self, event: str) -> None:
        facts = {"used_percent": round(self.used_percent, 1), "limit_percent": self._room.stop_percent}
        self._report(event, facts)
