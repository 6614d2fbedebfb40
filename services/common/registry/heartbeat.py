"""Keeps one entry registered for as long as the service runs, whatever happens to the registry."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.registry.port import (
    DEFAULT_TTL_S,
    Entry,
    Info,
    Registration,
    Registry,
    RegistryUnavailable,
    check_ttl,
)
from services.common.registry.repeat import Repeater

if TYPE_CHECKING:
    from collections.abc import Callable


class Heartbeat:
    """Registers an entry and beats every third of its lease, in a thread of its own.

    When the registry is away the service goes on: the thread tries again after ttl/3 and then every 2/3 ttl,
    so the entry is back within one lease of the registry's return. `last_ok` and `last_error` tell how it is
    doing; they may be read from any thread.

    Args:
        registry: Where to register.
        entry: What to register; its `info` is replaced by what `info` returns.
        info: Gives the current facts; called in the thread before each beat. It must not raise: what it
            raises ends the thread, and the entry goes away with its lease. Facts that break the rules of
            Entry are reported in `last_error`.
        ttl_s: The lease in seconds, 3 to 3600.

    Attributes:
        last_ok: `time.monotonic()` of the last beat that the registry took; None before the first.
        last_error: Why the last beat failed; None when it did not.

    Raises:
        UsageError: `ttl_s` is outside its range.
    """

    def __init__(
        self,
        registry: Registry,
        entry: Entry,
        info: Callable[[], Info],
        ttl_s: float = DEFAULT_TTL_S,
    ) -> None:
        check_ttl(ttl_s)
        self._registry = registry
        self._entry = entry
        self._info = info
        self._ttl_s = ttl_s
        self._registration: Registration | None = None
        self._failures = 0
        self._repeater = Repeater(f"heartbeat-{entry.kind}-{entry.name}", self._step)
        self.last_ok: float | None = None
        self.last_error: str | None = None

    def start(self) -> None:
        """Start to beat; does not block and does not wait for the registry.

        Raises:
            RuntimeError: It was started before.
        """
        self._repeater.start()

    def stop(self) -> None:
        """Stop beating and take the entry out; never raises for a registry that is away.

        Blocks for the beat that may be running and the withdrawal.
        """
        self._repeater.stop()
        if self._registration is None:
            return
        try:
            self._registration.withdraw()
        except RegistryUnavailable as error:
            self.last_error = str(error)

    def _step(self) -> float:
        info = self._info()
        try:
            self._beat(info)
        except AppiaError as error:
            self._failures += 1
            self.last_error = str(error)
            return self._ttl_s / 3 * min(self._failures, 2)
        self._failures = 0
        self.last_ok = time.monotonic()
        self.last_error = None
        return self._ttl_s / 3

    def _beat(self, info: Info) -> None:
        if self._registration is None:
            entry = replace(self._entry, info=info)
            self._registration = self._registry.register(entry, self._ttl_s)
        else:
            self._registration.heartbeat(info)
