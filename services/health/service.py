"""The rounds of health: see everything, do what is to be done, tell what is to be told, and again after some seconds.

Nothing is done about an observation before the one before it has been remembered; a kill between any two steps lets the
next start go on from what is on disk.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import UsageError
from services.health.read_off import Silence, read_off
from services.health.readings import Readings
from services.health.reconciler import Desired, reconcile

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from services.common.config.tree import HealthLive
    from services.common.observing.beats import Beats
    from services.health.alerts.alerts import Alerts
    from services.health.children import Children
    from services.health.executor import Executor
    from services.health.memory import Memory
    from services.health.observation import Observation
    from services.health.observer import Observer
    from services.health.probes.days import Days

LOOP = "the rounds"
"""The loop that has to move (`Beats`)."""
_SLACK_S = 30.0
"""How long a round may take before what was seen in the last one counts as old."""
LEAST_S = 1.0
"""From the begin of one round to that of the next, however often anybody asks for a look."""
_TICK_S = 0.25
"""How often children are heard between two rounds."""


@dataclass(frozen=True)
class Parts:
    """What the rounds are made of."""

    observer: Observer
    executor: Executor
    alerts: Alerts
    children: Children
    days: Days
    memory: Memory


class Rounds:
    """`run` is for one thread; `seen`, `late`, `hurry` and `forget` are for any."""

    def __init__(
        self,
        parts: Parts,
        live: Callable[[], HealthLive],
        beats: Beats,
        log: FilteringBoundLogger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """See nothing yet; `live` gives the values in use, `monotonic` seconds that never go back."""
        self._parts = parts
        self._live = live
        self._beats = beats
        self._log = log
        self._monotonic = monotonic
        self._wake = threading.Event()
        self._hurried = threading.Event()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._fault = ""
        self._looked_s = 0.0
        self.seen: Observation | None = None
        """The last observation; None before the first."""
        self.readings = Readings()
        """What was read off it."""

    def run(self, stop: threading.Event) -> None:
        """Go round until `stop` is set; a round that is under way is finished."""
        try:
            while not stop.is_set():
                began_s = time.monotonic()
                self.round()
                self._rest(began_s, began_s + self._live().interval_s, stop)
        finally:
            self._beats.ended(LOOP)
            self._parts.children.stop()
            self._written(lambda: self._parts.memory.keep(at_once=True))

    def round(self) -> None:
        """See, do, tell. Blocks for some seconds at most, however many services hang."""
        self._beats.beat(LOOP)
        parts, live = self._parts, self._live()
        self._obey()
        parts.children.step()
        seen = parts.observer.observe(live)
        self._written(lambda: self._act(seen, desired_of(live)))
        readings = read_off(seen, silence_of(live))
        parts.alerts.step(readings, seen.time_ns)
        self._looked_s = self._monotonic()
        self.seen, self.readings = seen, readings

    def _act(self, seen: Observation, wanted: Desired) -> None:
        """Remember what was seen, and do what is to be done. Raises OSError where it cannot be remembered."""
        self._parts.memory.keep()
        ingester = self._parts.observer.ingester()
        self._parts.executor.follow(seen, ingester)
        if ingester is not None:
            self._parts.executor.do(reconcile(wanted, seen), ingester)

    def _written(self, act: Callable[[], None]) -> None:
        """Do what has to be on disk first. Where it cannot be, as on a full disk, nothing is done, and people are told.

        To end would not help: an alert about that disk has to get out.
        """
        try:
            act()
        except OSError as error:
            fault = str(error)
            if fault != self._fault:
                self._log.warning("memory_not_kept", error=fault)
            self._fault = fault
        else:
            self._fault = ""

    def late(self) -> str:
        """Why what was seen is not of now; empty where it is. For any thread."""
        if self.seen is None:
            return "Nothing was looked at yet."
        ago_s = self._monotonic() - self._looked_s
        is_old = ago_s > self._live().interval_s + _SLACK_S
        return f"The last look at everything ended {ago_s:.0f} s ago." if is_old else ""

    def hurry(self) -> None:
        """Look at everything now, and let all days be looked at. Does not block."""
        self._hurried.set()
        self._wake.set()

    def forget(self, sensor: str) -> None:
        """Watch a sensor no more, until it sends again. Does not block.

        Raises:
            UsageError: there is none of that name.
        """
        known = () if self.seen is None else (self.seen.sensors or ())
        if sensor not in {one.name for one in known}:
            raise UsageError(
                f"There is no sensor {sensor[:80]!r}; `appia status` shows those that there are."
            )
        self._orders.put(lambda: self._drop(sensor))
        self._wake.set()

    def _drop(self, sensor: str) -> None:
        memory = self._parts.memory.now
        known = memory.sensors.pop(sensor, None)
        if known is not None:
            memory.forgotten[sensor] = known.newest_ns
        self._parts.memory.urgent()
        self._log.info("sensor_forgotten", sensor=sensor)

    def _obey(self) -> None:
        """Do in this thread what others asked for."""
        if self._hurried.is_set():
            self._hurried.clear()
            self._parts.days.check_all()
        while True:
            try:
                self._orders.get_nowait()()
            except queue.Empty:
                return

    def _rest(self, began_s: float, until_s: float, stop: threading.Event) -> None:
        """Wait for the next round, and hear the children meanwhile."""
        has_news = False  # somebody has something to say that was waited for, or asked for a look
        while not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
            self._beats.beat(LOOP)
            before = self._parts.children.awaited
            self._parts.children.step()
            has_news |= bool(before - self._parts.children.awaited)
            if has_news and time.monotonic() - began_s >= LEAST_S:
                return
            if has_news:
                stop.wait(min(_TICK_S, left_s))
            elif self._wake.wait(min(_TICK_S, left_s)):
                self._wake.clear()
                has_news = True


def desired_of(live: HealthLive) -> Desired:
    """What the live values say about repairs."""
    every = {
        "attack": live.repair_every_attack_s,
        "semantic": live.repair_every_semantic_s,
        "temporal": live.repair_every_temporal_s,
        "entity": live.repair_every_entity_s,
    }
    return Desired(
        parts=frozenset(part for part, seconds in every.items() if seconds),
        first_retry_s=live.repair_retry_s,
        tries=live.repair_tries,
        stop_percent=live.repair_stop_percent,
    )


def silence_of(live: HealthLive) -> Silence:
    """When a sensor counts as silent."""
    return Silence(live.sensor_silent_s, live.sensor_silent_times, live.sensor_silent_most_s)
