"""What is known of each sensor whose events come as they happen: how many, when the newest, and what its clock says.

Events of the past that are fed say nothing about a sensor that runs, so they are not counted here. Who sends the events
names the sensors, so their number and names are bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_SENSORS = 1024
NAME_CHARS = 128
LIVE_S = 900
"""An event that may be of any age counts when it is at most so old: then it comes as it happens."""


@dataclass(slots=True)
class Seen:
    """What came of one sensor since this process began.

    `newest_ns` is when the newest of its events came in, nanoseconds since 1970; `clock_s` the second that the event
    names less the second in which it came, so above 0 where the sensor's clock is ahead.
    """

    events: int = 0
    newest_ns: int = 0
    clock_s: int = 0


class SensorsSeen:
    """Counts events by the sensor that they name. Safe for several threads."""

    def __init__(self, most: int = MAX_SENSORS) -> None:
        """Keep at most so many sensors; the longest silent go first."""
        self._most = most
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    def note(self, events: Iterable[tuple[str, int]], now_ns: int, *, backfill: bool) -> None:
        """Count events that came together, each by its sensor and its second; `backfill` where any age is allowed."""
        now_s = now_ns // 1_000_000_000
        oldest_s = now_s - LIVE_S if backfill else -(1 << 62)
        with self._lock:
            for name, event_s in events:
                if event_s >= oldest_s:
                    self._count(name[:NAME_CHARS], event_s - now_s, now_ns)

    def _count(self, name: str, clock_s: int, now_ns: int) -> None:
        seen = self._seen.get(name)
        if seen is None:
            if len(self._seen) >= self._most:
                self._seen.popitem(last=False)
            seen = self._seen[name] = Seen()
        elif seen.newest_ns != now_ns:
            self._seen.move_to_end(name)
        seen.events += 1
        seen.newest_ns, seen.clock_s = now_ns, clock_s

    def as_dict(self) -> Mapping[str, Mapping[str, Any]]:
        """By name, as plain values."""
        with self._lock:
            return {name: asdict(seen) for name, seen in self._seen.items()}
