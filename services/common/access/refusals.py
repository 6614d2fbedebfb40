"""Counts what was refused, and logs it: each reason once a second at most, so that nobody can flood the log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

EVERY_S = 1.0


class Refused(StrEnum):
    """Why."""

    HANDSHAKE = "handshake"  # no key, another mechanism, the wrong server key, or too slow
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    UNKNOWN_BEARER = "unknown_token"  # no HTTP token, or none of the access file
    REVOKED_BEARER = "revoked_token"
    OPERATION = "operation"
    CONTENT = "content"  # an index, or a day that was named
    ON_BEHALF = "on_behalf"
    RATE = "rate"


class Refusals:
    """Safe for several threads."""

    def __init__(self, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        """None yet."""
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[Refused] = Counter()
        self._told: dict[
            Refused, tuple[float, int]
        ] = {}  # by reason: when last, and how many there were then

    def note(self, reason: Refused, **facts: str) -> None:
        """Count one; `facts` are names and addresses, never a secret."""
        with self._lock:
            self._counts[reason] += 1
            count, now = self._counts[reason], self._clock()
            last, before = self._told.get(reason, (-EVERY_S, 0))
            if now - last < EVERY_S:
                return
            self._told[reason] = now, count
        self._log.warning("refused", reason=reason.value, count=count, since_last=count - before, **facts)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many there were for each reason that occurred."""
        with self._lock:
            return {reason.value: count for reason, count in self._counts.items()}
