"""Follows one value while a service runs: a change is taken whole or not at all, and the last good one stays."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic

from services.common.errors import AppiaError
from services.common.registry.repeat import Repeater
from services.common.values.checked import CheckedValues, Held, Model
from services.common.values.port import ValuesUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 5.0


class Follower(Generic[Model]):
    """Reads a value every few seconds in a thread of its own; the store's own watches can hang without a word.

    Args:
        values: Where to read; used by the thread alone from `start` on.
        name: The value.
        changed: Called in the thread with each new revision; what it raises ends the thread.
        told: Called in the thread once with each new sentence that says why the value cannot be used.
        poll_s: Seconds between two readings.
    """

    def __init__(
        self,
        values: CheckedValues[Model],
        name: str,
        changed: Callable[[Held[Model]], None],
        told: Callable[[str], None],
        poll_s: float = POLL_S,
    ) -> None:
        self._values = values
        self._name = name
        self._changed = changed
        self._told = told
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._current: Held[Model] | None = None
        self._fault: str | None = None
        self._away = False
        self._repeater = Repeater(f"follow-{name}", self._step)

    def start(self) -> None:
        """Begin to follow; does not block. Raises RuntimeError where it was started before."""
        self._repeater.start()

    def stop(self) -> None:
        """End the thread; blocks for the reading that may be under way."""
        self._repeater.stop()

    def current(self) -> Held[Model] | None:
        """The last good value; None before the first. Never blocks."""
        with self._lock:
            return self._current

    def fault(self) -> str | None:
        """Why the last reading failed; None where it did not."""
        with self._lock:
            return self._fault

    def is_away(self) -> bool:
        """Whether the last reading failed because the store does not answer: nothing is said about the value then."""
        with self._lock:
            return self._away

    def look(self) -> None:
        """Read now; for the thread, and for who follows without one. Blocks as the store does."""
        try:
            held, fault, away = self._values.get(self._name), None, False
        except AppiaError as error:
            held, fault, away = None, str(error), isinstance(error, ValuesUnavailable)
        with self._lock:
            self._away = away
            news = fault if fault != self._fault else None
            self._fault = fault
            fresh = held is not None and (self._current is None or held.revision != self._current.revision)
            if fresh:
                self._current = held
        if news is not None:
            self._told(news)
        if fresh and held is not None:
            self._changed(held)

    def _step(self) -> float:
        self.look()
        return self._poll_s
