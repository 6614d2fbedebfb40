"""Keeps a set of child processes running, and stops them in order.

One thread, one loop: it looks at each child ten times a second. A child that ends is started again after
0.2 s, then 0.4 s, ... up to 5 s; one that has lived for 30 s begins anew at 0.2 s.

A child that has said that it is ready (sd_notify(3)) has to say on and on that it works: one that hangs, or was frozen,
is killed and started again. Time in which the supervisor itself did not run counts for nobody.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.cli.child import Child, Service, describe_end
from services.cli.notices import READY, STOPPING, WORKS, Notices
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from services.cli.notices import Notice

TICK_S = 0.1
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
HEALTHY_S = 30.0
TRIES_AT_START = 3
SAY_WAITING_S = 5.0
STOP_S = 20.0
KILLED_S = 5.0
WATCHDOG_S = 30.0
SLEPT_S = 1.0
"""A turn that took so much longer than it should: the supervisor was frozen, or the machine slept."""


@dataclass(frozen=True)
class Surroundings:
    """What a supervisor needs: a monotonic clock in seconds, the event that ends it, and where news goes.

    `stop_s` is how long services may take to end after SIGTERM, in seconds, and `watchdog_s` how long one may be silent
    (0: for ever). `turn` is called as the loop goes round.
    """

    clock: Callable[[], float]
    stop: threading.Event
    say: Callable[[str], None]
    stop_s: float = STOP_S
    watchdog_s: float = WATCHDOG_S
    turn: Callable[[], None] = lambda: None


class Member:
    """One service over all its runs."""

    def __init__(self, service: Service, around: Surroundings, environment: Mapping[str, str]) -> None:
        """`environment` is what each run is started with."""
        self.service = service
        self.facts: dict[str, Any] | None = None
        """What the last run that became ready said; None before the first."""
        self._around = around
        self._environment = environment
        self._heard_at: float | None = None  # None where no word is waited for
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
                self._child = Child(self.service, self._environment)
                self._started_at = self._around.clock()
            return False
        if self._child.listen():
            self.facts = self._child.ready
            return True
        if self._child.status() is not None:
            self._ended(self._child)
        elif self._is_silent():
            self._kill(self._child)
        return False

    def hear(self, notice: Notice) -> None:
        """Take what a process said, where it is the one that runs."""
        if self._child is None or notice.pid != self._child.pid:
            return
        if STOPPING in notice.lines:
            self._heard_at = None
        elif READY in notice.lines or (WORKS in notice.lines and self._heard_at is not None):
            self._heard_at = self._around.clock()

    def slept(self, seconds: float) -> None:
        """Count no time in which nobody could be heard."""
        if self._heard_at is not None:
            self._heard_at += seconds

    def _is_silent(self) -> bool:
        limit_s = self._around.watchdog_s
        return (
            bool(limit_s) and self._heard_at is not None and self._around.clock() - self._heard_at > limit_s
        )

    def _kill(self, child: Child) -> None:
        self._heard_at = None
        self._around.say(
            f"{self.service.name} (process {child.pid}) has not said for {self._around.watchdog_s:g} s that it works, "
            "and is killed"
        )
        child.send(signal.SIGKILL)

    def _ended(self, child: Child) -> None:
        child.close()
        self._child = self._heard_at = None
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
        self._services = services
        self._around = around
        self._members: list[Member] = []

    def run(self, on_ready: Callable[[dict[str, dict[str, Any]]], None]) -> None:
        """Block until the stop event is set; children are gone when this returns or raises.

        `on_ready` is given what each service said when it was ready, by name: once when all are, and again
        whenever one has been started anew.

        Raises:
            AppiaError: a service does not start.
        """
        notices = Notices()
        environment = notices.environment(self._around.watchdog_s)
        self._members = [Member(service, self._around, environment) for service in self._services]
        try:
            self._loop(on_ready, notices)
        finally:
            self._stop_all()
            notices.close()

    def _listen(self, notices: Notices, turn_s: float) -> None:
        """Take what services said; `turn_s` is how long the last turn took."""
        if turn_s > TICK_S + SLEPT_S:
            for member in self._members:
                member.slept(turn_s - TICK_S)
        for notice in notices.read():
            for member in self._members:
                member.hear(notice)

    def _loop(self, on_ready: Callable[[dict[str, dict[str, Any]]], None], notices: Notices) -> None:
        say_next = self._around.clock() + SAY_WAITING_S
        turned = self._around.clock()
        while not self._around.stop.wait(TICK_S):
            now = self._around.clock()
            self._listen(notices, now - turned)
            turned = now
            self._around.turn()
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
