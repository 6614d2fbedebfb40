"""How many bytes may be sent: a token bucket for each client, which together have the rate of all.

Whoever read within the last seconds has an equal share, so one client with a long pull does not starve another that
follows an open day. Nobody waits in the server: a client that has nothing left is told for how long to wait.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIVE_S = 2.0
"""For so long after a read a client has a share."""
SAVED_S = 1.0
"""So many seconds of its share a client can have saved at most."""
LEAST_BYTES = 4096
"""Not fewer are given at once, where more are wanted: each request costs more than its bytes."""


@dataclass(frozen=True)
class Grant:
    """So many bytes may be sent now; where none, in `wait_s` seconds."""

    size: int
    wait_s: float = 0.0


@dataclass
class _Bucket:
    left: float
    then: float
    asked: float


class FairRate:
    """Safe for several threads; does not block."""

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        """For all clients together; 0 is without a limit. `clock` gives seconds that never go back."""
        self._per_s = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def allow(self, client: str, wanted: int) -> Grant:
        """How many of `wanted` bytes a client may be sent now; what it was sent then is said by `spent`."""
        if not self._per_s:
            return Grant(wanted)
        with self._lock:
            bucket, share = self._filled(client)
            least = min(wanted, LEAST_BYTES, max(int(share * SAVED_S), 1))
            if bucket.left < least:
                return Grant(0, (least - bucket.left) / share)
            return Grant(min(wanted, int(bucket.left)))

    def spent(self, client: str, size: int) -> None:
        """A client was sent so many bytes."""
        if self._per_s:
            with self._lock:
                self._filled(client)[0].left -= size

    def _filled(self, client: str) -> tuple[_Bucket, float]:
        """The bucket of a client as of now, and its share in bytes a second."""
        now = self._clock()
        for name in [name for name, one in self._buckets.items() if now - one.asked > ACTIVE_S]:
            if name != client:
                del self._buckets[name]
        share = self._per_s / (len(self._buckets) + (client not in self._buckets))
        bucket = self._buckets.setdefault(client, _Bucket(share * SAVED_S, now, now))
        bucket.left = min(bucket.left + (now - bucket.then) * share, share * SAVED_S)
        bucket.then = bucket.asked = now
        return bucket, share
