"""A token bucket for each key: so many requests a second in the long run, and some at once after a pause."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.access.rights import Principal


class Buckets:
    """Counts the requests of each key. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """All full; `clock` gives seconds and never goes back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # by name: how many, and when that was so

    def take(self, principal: Principal) -> float:
        """Take one request of a key: 0 where it may be asked now, else seconds until the next one may be."""
        rate = principal.rights.rate
        if math.isinf(rate.per_s):
            return 0.0
        now = self._clock()
        with self._lock:
            left, then = self._left.get(principal.name, (float(rate.burst), now))
            left = min(left + (now - then) * rate.per_s, float(rate.burst))
            allowed = left >= 1
            self._left[principal.name] = (left - allowed, now)
        return 0.0 if allowed else (1 - left) / rate.per_s
