"""Tells the supervisor that the service works, for as long as it does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from services.common.observing.systemd import Notifier

OFTEN = 3
"""So many times within the time of the watchdog it is said; two that are late do no harm."""


class Watchdog:
    """A thread that asks `stuck` and passes on that there is nothing; where there is, it is silent and says why."""

    def __init__(self, notifier: Notifier, stuck: Callable[[], str], log: FilteringBoundLogger) -> None:
        """Nothing is said before `start`."""
        self._notifier = notifier
        self._stuck = stuck
        self._log = log
        self._told = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog")

    def start(self) -> None:
        """Begin, where somebody watches; does not block."""
        if self._notifier.watchdog_s:
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._look()
            if self._stopping.wait(self._notifier.watchdog_s / OFTEN):
                return

    def _look(self) -> None:
        why = self._stuck()
        if not why:
            self._notifier.works()
        if why != self._told:
            self._notifier.status(why)
            if why:
                self._log.error("stuck", why=why)
        self._told = why
