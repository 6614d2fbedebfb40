"""Follows what a mirror says of the state directory that it keeps: which days of its source are not held here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.common.days.held import read_held
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from services.common.days.names import StateNames

NOT_REACHED = "mirror"
"""Stands for a day where the source of a copy was never read: nobody knows which days there are."""
LOOK_S = 1.0
_Seen = tuple[int, int] | None


class FollowedHeld:
    """The days that are not held. `poll` is for one thread at a time; `not_held` for any."""

    def __init__(self, state: StateNames, log: FilteringBoundLogger) -> None:
        """Know of none yet."""
        self._path, self._log = state.mirror, log
        self._seen: _Seen = None
        self._next = 0.0
        self._told = ""
        self.not_held: tuple[tuple[str, str], ...] = ()
        """Each day with the reason, as a clause."""

    def poll(self) -> bool:
        """Look at the file, once a second at most; whether there are others now. Blocks on the disk."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOOK_S
        seen = self._stamp()
        if seen == self._seen:
            return False
        before = self.not_held
        try:
            self.not_held = self._read()
        except AppiaError as error:  # what was known before stays
            if str(error) != self._told:
                self._log.warning("mirror", what=str(error))
            self._told = str(error)
        self._seen = seen
        return self.not_held != before

    def _stamp(self) -> _Seen:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _read(self) -> tuple[tuple[str, str], ...]:
        held = read_held(self._path)
        if held is None:
            return ()
        found = tuple(sorted(held.not_held.items()))
        return found if held.reached else ((NOT_REACHED, "its source was never read"), *found)
