"""Whether working loops move: each beats as it goes round, and one that is silent for too long is stuck."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SILENT_S = 120.0
"""So long one step of a loop may take: a disk that is slow is no reason to start a service again, one that hangs is."""


class Beats:
    """Remembers when each loop beat last. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, silent_s: float = SILENT_S) -> None:
        """Know no loop yet; `clock` gives seconds that never go back."""
        self._clock = clock
        self._silent_s = silent_s
        self._last: dict[str, float] = {}  # replaced whole values only, which needs no lock

    def beat(self, loop: str) -> None:
        """Say that a loop moves. It is expected to go on doing so until `ended`."""
        self._last[loop] = self._clock()

    def ended(self, loop: str) -> None:
        """Expect no more of a loop that has ended as it should."""
        self._last.pop(loop, None)

    def has_begun(self, loop: str) -> bool:
        """Whether a loop has beaten and not ended."""
        return loop in self._last

    def stuck(self) -> str:
        """Which loops are silent for too long, in one sentence; empty where all move."""
        now = self._clock()
        silent = [
            (name, now - last)
            for name, last in sorted(dict(self._last).items())
            if now - last > self._silent_s
        ]
        told = ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in silent)
        return told and f"No step was made by: {told}."
