"""Tells the supervisor that a process works, from the loop that has to go round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.observing.watchdog import OFTEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.observing.systemd import Notifier


class Pulse:
    """Says it as often as it is needed, however often the loop goes round. For one thread."""

    def __init__(self, notifier: Notifier, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never go back."""
        self._notifier = notifier
        self._clock = clock
        self._next = 0.0

    def turn(self) -> None:
        """The loop went round once more."""
        if self._notifier.watchdog_s and self._clock() >= self._next:
            self._next = self._clock() + self._notifier.watchdog_s / OFTEN
            self._notifier.works()
