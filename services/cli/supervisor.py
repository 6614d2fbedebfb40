"""Keeps a set of child processes running, and stops them in order.

One thread, one loop: it looks at each child ten times a second. A child that ends is started again after
0.2 s, then 0.4 s, ... up to 5 s; one that has lived for 30 s begins anew at 0.2 s.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.child import Child, Service, describe_end
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

TICK_S = 0.1
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
HEALTHY_S = 30.0
TRIES_AT_START = 3
SAY_WAITING_S = 5.0
STOP_S = 20.0
KILLED_S = 5.0


@dataclass(frozen=True)
class Surroundings:
    """What a supervisor needs: a monotonic clock in seconds, the event that ends it, and where news goes.

    `stop_s` is how long services may take to end after SIGTERM, in seconds.
    """

    clock: Callable[[], float]
    stop: threading.Event
    say: Callable[[str], None]
    stop_s: float = STOP_S


class Member:
    """One service over all its runs."""

    def __init__(self, service: Service, around: Surroundings) -> None:
        self.service = service
        self.facts: dict[str, Any] | None = None
        """What the last run that became ready said; None before the first."""
        self._around = around
        self._child: Child | None = None
        self._failures = 0
        self._started_at = 0.0
        self._next_start = 0.0

    def step(self) -> bool:
        """Start it if it is time, and see how it is; True when a run became ready just now.

        Raises:
            AppiaError: before it was ready for the first time it has ended several times in a row, or once with the
                status that says that its settings are wrong.
        """
        if self._child is None:
            if self._around.clock() >= self._next_start:
                self._child = Child(self.service)
                self._started_at = self._around.clock()
            return False
        if self._child.listen():
            self.facts = self._child.ready
            return True
        if self._child.status() is not None:
            self._ended(self._child)
        return False

    def _ended(self, child: Child) -> None:
        child.close()
        self._child = None
        lived_s = self._around.clock() - self._started_at
        self._failures = 1 if lived_s >= HEALTHY_S else self._failures + 1
        status = child.status() or 0
        hopeless = self._failures >= TRIES_AT_START or status == UsageError.exit_code
        if self.facts is None and hopeless:
            raise AppiaError(f"{self.service.name} does not start: {child.last_words()}")
        delay_s = min(FIRST_DELAY_S * 2 ** (self._failures - 1), LONGEST_DELAY_S)
        self._next_start = self._around.clock() + delay_s
        self._around.say(
            f"{self.service.name} (process {child.pid}) {describe_end(status)} and is started again in {delay_s:g} s; "
            f"its log is {self.service.log}"
        )

    def ask_to_end(self) -> None:
        """Send SIGTERM if it runs."""
        if self._child is not None:
            self._child.send(signal.SIGTERM)

    def wait_for_end(self, timeout_s: float) -> None:
        """Block until it has ended; after `timeout_s` it is killed."""
        if self._child is None:
            return
        if not self._child.wait(timeout_s):
            self._around.say(f"{self.service.name} (process {self._child.pid}) does not stop and is killed")
            self._child.send(signal.SIGKILL)
            self._child.wait(KILLED_S)
        self._child.close()
        self._child = None


class Supervisor:
    """Runs services until its stop event is set. Use it from the main thread only (see Child)."""

    def __init__(self, services: Sequence[Service], around: Surroundings) -> None:
        """`services` are stopped from the last to the first, those with the same module together."""
        self._members = [Member(service, around) for service in services]
        self._around = around

    def run(self, on_ready: Callable[[dict[str, dict[str, Any]]], None]) -> None:
        """Block until the stop event is set; children are gone when this returns or raises.

        `on_ready` is given what each service said when it was ready, by name: once when all are, and again
        whenever one has been started anew.

        Raises:
            AppiaError: a service does not start.
        """
        try:
            self._loop(on_ready)
        finally:
            self._stop_all()

    def _loop(self, on_ready: Callable[[dict[str, dict[str, Any]]], None]) -> None:
        say_next = self._around.clock() + SAY_WAITING_S
        while not self._around.stop.wait(TICK_S):
            news = [member.step() for member in self._members]
            facts = {m.service.name: m.facts for m in self._members if m.facts is not None}
            waiting = [m.service.name for m in self._members if m.facts is None]
            if any(news) and not waiting:
                on_ready(facts)
            if waiting and self._around.clock() >= say_next:
                say_next += SAY_WAITING_S
                self._around.say(f"waiting for {', '.join(waiting)}")

    def _stop_all(self) -> None:
        left = list(reversed(self._members))
        while left:
            module = left[0].service.module
            batch = [member for member in left if member.service.module == module]
            left = [member for member in left if member.service.module != module]
            for member in batch:
                member.ask_to_end()
            until = self._around.clock() + self._around.stop_s
            for member in batch:
                member.wait_for_end(max(0.0, until - self._around.clock()))
