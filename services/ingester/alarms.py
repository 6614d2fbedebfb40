"""Alarms in the log: the first of a kind at once, then at most one a minute with how many there were.

Who is to blame is often named by the senders themselves, so the number of those that are named is bounded too.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN_AFTER_S = 60.0
SUBJECTS_KEPT = 1024
LINES_OF_AN_EVENT = 60
"""So many alarms of one event are told within a minute, however many subjects they have."""


@dataclass(slots=True)
class _Raised:
    told_at: float
    since: int = 0


@dataclass(slots=True)
class _Minute:
    begun: float
    told: int = 0
    untold: int = 0


class Alarms:
    """What senders do can be told a thousand times a second; a log must not be filled by them. For one thread."""

    def __init__(
        self, report: Callable[[str, dict[str, Any]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Tell `report`; `clock` gives seconds that never go back."""
        self._report = report
        self._clock = clock
        self._raised: OrderedDict[tuple[str, str], _Raised] = OrderedDict()
        self._minutes: dict[str, _Minute] = {}  # by event, of which there are few

    def tell(self, event: str, subject: str, facts: dict[str, Any]) -> None:
        """Report an event of one subject, unless it was within the last minute; `times` counts those since then.

        With too many subjects a minute the rest is counted by `others` in the first line of the next one.
        """
        now = self._clock()
        known = self._raised.get((event, subject))
        if known is not None and now - known.told_at < AGAIN_AFTER_S:
            known.since += 1
            return
        minute = self._minutes.get(event)
        others = 0
        if minute is None or now - minute.begun >= AGAIN_AFTER_S:
            others = 0 if minute is None else minute.untold
            minute = self._minutes[event] = _Minute(now)
        if minute.told == LINES_OF_AN_EVENT:
            minute.untold += 1
            return
        minute.told += 1
        times = 1 + (known.since if known is not None else 0)
        self._raised[event, subject] = _Raised(now)
        self._raised.move_to_end((event, subject))
        if len(self._raised) > SUBJECTS_KEPT:
            self._raised.popitem(last=False)
        self._report(event, {**facts, "times": times, **({"others": others} if others else {})})
