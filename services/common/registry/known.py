"""What a client knows about the services of one kind, usable while the registry is away."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from services.common.registry.port import DEFAULT_TTL_S, Entry, Registry, RegistryUnavailable, check_label
from services.common.registry.repeat import Repeater

if TYPE_CHECKING:
    from collections.abc import Callable

REFRESH_S = 1.0


class KnownSet:
    """The last known entries of one kind, listed anew on a timer or on demand.

    It lists and does not watch: the watches of the etcd clients for Python can hang without a word. It fails
    static: while the registry does not answer, the last known set stays. A registry that comes back with
    empty hands is believed only after one lease, for the services need that long to register anew.

    Args:
        registry: Where to look.
        kind: Which services.
        lease_s: Their lease in seconds: how long an entry reported as dead is left out, and how long an
            empty list is doubted.
        clock: Monotonic seconds.

    Attributes:
        last_ok: `clock()` at the last answer of the registry; None before the first.
        last_error: Why the last refresh failed; None when it did not.

    Raises:
        UsageError: `kind` is not a valid kind.
    """

    def __init__(
        self,
        registry: Registry,
        kind: str,
        lease_s: float = DEFAULT_TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_label("kind", kind)
        self._registry = registry
        self._kind = kind
        self._lease_s = lease_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: list[Entry] = []
        self._empty_since: float | None = None
        self._dead_until: dict[tuple[str, str], float] = {}
        self._repeater = Repeater(f"known-{kind}", self._step)
        self.last_ok: float | None = None
        self.last_error: str | None = None

    def start(self) -> None:
        """Refresh every second in a daemon thread; does not block.

        Raises:
            RuntimeError: It was started before.
        """
        self._repeater.start()

    def stop(self) -> None:
        """End the thread; blocks for the refresh that may be running, at most one registry timeout."""
        self._repeater.stop()

    def entries(self) -> list[Entry]:
        """Return the known entries but those reported dead, sorted by name; never asks the registry."""
        with self._lock:
            now = self._clock()
            self._dead_until = {key: until for key, until in self._dead_until.items() if now < until}
            return [entry for entry in self._known if _key(entry) not in self._dead_until]

    def refresh(self) -> bool:
        """List anew now and say whether the registry answered; blocks at most one registry timeout."""
        try:
            fresh = self._registry.entries(self._kind)
        except RegistryUnavailable as error:
            with self._lock:
                self._empty_since = None
                self.last_error = str(error)
            return False
        with self._lock:
            self._take(fresh, self._clock())
        return True

    def faults(self) -> tuple[str, ...]:
        """Why entries were left out of the last listing that are not sealed as they should be."""
        return self._registry.faults()

    def report_dead(self, entry: Entry) -> None:
        """Leave `entry` out for one lease, because the caller could not reach it.

        The same name at another address is not left out: it is a new process.
        """
        with self._lock:
            self._dead_until[_key(entry)] = self._clock() + self._lease_s

    def _take(self, fresh: list[Entry], now: float) -> None:
        self.last_ok = now
        self.last_error = None
        if fresh:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        if self._empty_since is None or now - self._empty_since >= self._lease_s:
            self._known = fresh

    def _step(self) -> float:
        self.refresh()
        return REFRESH_S


def _key(entry: Entry) -> tuple[str, str]:
    return entry.name, entry.address
