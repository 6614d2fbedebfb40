"""Whether the clock of this machine can be believed: days are dropped by their age, and a clock may be wrong.

A clock that stands months ahead, by a battery that is empty or a server of time that is wrong, would make every day too
old. So after a step nothing is dropped for a day: long enough for people, who hear of sensors whose clocks are off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.health.memory import KnownClock

STEP_NS = 6 * 3600 * 1_000_000_000
"""Rounds are an hour apart at most. Health that was away for longer cannot tell that from a step."""
DOUBT_NS = 24 * 3600 * 1_000_000_000


def is_believed(known: KnownClock, now_ns: int) -> bool:
    """Whether the clock made no step ahead within a day; `known` takes in what it says now, nanoseconds since 1970."""
    if known.seen_ns and now_ns - known.seen_ns > STEP_NS:
        known.stepped_ns = now_ns
    known.seen_ns = now_ns
    return not 0 <= now_ns - known.stepped_ns < DOUBT_NS
