"""What alerts are now, as plain data for `appia alerts` and `appia status`."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from services.health.alerts.quiet import held_back
from services.health.alerts.severity import LEVELS
from services.health.alerts.state import FIRING, OVER, PENDING, Line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.health.alerts.rules import Rules
    from services.health.alerts.state import Alert, Kept

SHOWN = 500
"""Alerts of each kind in a description, the oldest first; `counts` has all."""


def describe(kept: Kept, rules: Rules | None, faults: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """Everything as plain values that msgpack and JSON take; times are nanoseconds since 1970, 0 for never.

    Args:
        kept: what is remembered.
        rules: those in use; None where only the file of what is remembered could be read.
        faults: what is wrong with alerting itself, by what it is about; empty sentences are left out.
        now_ns: the time.
    """
    firing = [alert for alert in kept.alerts if alert.phase == FIRING]
    return {
        "firing": _alerts(firing),
        "pending": _alerts([alert for alert in kept.alerts if alert.phase == PENDING]),
        "ending": _alerts([alert for alert in kept.alerts if alert.phase == OVER]),
        "counts": {level: sum(alert.severity == level for alert in firing) for level in LEVELS},
        "untracked": dict(kept.untracked),
        "recent": [_finite(one.model_dump()) for one in kept.ended],
        "messages": [one.model_dump() for one in kept.sent],
        "channels": _channels(kept, rules),
        "quiet": bool(rules and held_back(rules.quiet, "info", now_ns)),
        "faults": {about: fault for about, fault in faults.items() if fault},
        "as_of_ns": now_ns,
    }


def _alerts(alerts: list[Alert]) -> list[dict[str, Any]]:
    first = sorted(alerts, key=lambda alert: (alert.since_ns, alert.key))[:SHOWN]
    return [_finite(alert.model_dump()) for alert in first]


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """A value without an end is None: JSON has no number for it."""
    return {**values, "value": values["value"] if isfinite(values["value"]) else None}


def _channels(kept: Kept, rules: Rules | None) -> dict[str, Any]:
    waiting = [letter.channel for letter in kept.letters]
    names = sorted({*waiting, *(kept.lines if rules is None else rules.channel)})
    return {
        name: {
            "known": rules is None or name in rules.channel,
            "waiting": waiting.count(name),
            **kept.lines.get(name, Line()).model_dump(
                include={"failing_since_ns", "failed_ns", "why", "delivered_ns", "lost"}
            ),
        }
        for name in names
    }
