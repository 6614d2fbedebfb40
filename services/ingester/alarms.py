"""Alarms in the log: the first of a kind at once, then at most one a minute with how many there were."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN_AFTER_S = 60.0
SUBJECTS_KEPT = 1024


@dataclass(slots=True)
class _Raised:
    told_at: float
    since: int = 0


class Alarms:
    """What senders do can be told a thousand times a second; a log must not be filled by them. For one thread."""

    def __init__(
        self, report: Callable[[str, dict[str, Any]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Tell `report`; `clock` gives seconds that never go back."""
        self._report = report
        self._clock = clock
        self._raised: OrderedDict[tuple[str, str], _Raised] = OrderedDict()

    def tell(self, event: str, subject: str, facts: dict[str, Any]) -> None:
        """Report an event of one subject, unless it was within the last minute; `times` counts those since then."""
        now = self._clock()
        known = self._raised.get((event, subject))
        if known is not None and now - known.told_at < AGAIN_AFTER_S:
            known.since += 1
            return
        times = 1 + (known.since if known is not None else 0)
        self._raised[event, subject] = _Raised(now)
        self._raised.move_to_end((event, subject))
        if len(self._raised) > SUBJECTS_KEPT:
            self._raised.popitem(last=False)
        self._report(event, {**facts, "times": times})
