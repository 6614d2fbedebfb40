"""The course of one alert: pending, firing, over. Pure functions; times are nanoseconds since 1970."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.health.alerts.state import FIRING, OVER, PENDING, Alert

if TYPE_CHECKING:
    from services.health.alerts.rules import Rule
    from services.health.alerts.state import End
    from services.health.readings import Reading

NS: Final = 1_000_000_000


def begin(rule: Rule, reading: Reading, now_ns: int) -> Alert:
    """The alert that the first reading over the limit makes."""
    pending = Alert(
        rule=rule.name,
        signal=rule.signal,
        subject=reading.subject,
        severity=rule.severity,
        since_ns=now_ns,
        value=reading.value,
        limit=rule.condition,
        text=reading.text,
    )
    return _fire_if_due(rule, pending, now_ns)


def follow(rule: Rule, alert: Alert, reading: Reading, now_ns: int) -> Alert | None:
    """The alert after another reading of its subject; None: it had not lasted long enough to be one."""
    changed = {"severity": rule.severity, "limit": rule.condition, "signal": rule.signal}
    seen = alert.model_copy(update={**changed, "value": reading.value, "text": reading.text})
    if seen.phase == PENDING:
        return _fire_if_due(rule, seen, now_ns) if rule.is_over(reading.value) else None
    if seen.phase == OVER:
        fires_again = {"phase": FIRING, "over_ns": 0, "well_since_ns": 0, "why_over": ""}
        return seen.model_copy(update=fires_again) if rule.is_over(reading.value) else alert
    if not rule.is_well(reading.value):
        return seen.model_copy(update={"well_since_ns": 0})
    ended = _end_if_due(rule, seen, "well", now_ns)
    # Until it is over, what was wrong is told, and not what is well for the moment.
    return (
        ended if ended.phase == OVER else ended.model_copy(update={"value": alert.value, "text": alert.text})
    )


def lose(rule: Rule, alert: Alert, now_ns: int) -> Alert | None:
    """The alert when what it is about is gone: a day that was dropped, a sensor that was forgotten."""
    if alert.phase == FIRING:
        return _end_if_due(rule, alert, "gone", now_ns)
    return None if alert.phase == PENDING else alert


def end(alert: Alert, why: End, now_ns: int) -> Alert | None:
    """The alert when nobody asks about it any more."""
    if alert.phase == FIRING:
        return _over(alert, why, now_ns)
    return None if alert.phase == PENDING else alert


def not_after(alert: Alert, now_ns: int) -> Alert:
    """The alert with no time in the future: the clock was set back, and nothing may wait for that."""
    names = ("since_ns", "fired_ns", "well_since_ns", "over_ns", "told_ns")
    late = {name: now_ns for name in names if getattr(alert, name) > now_ns}
    return alert.model_copy(update=late) if late else alert


def _fire_if_due(rule: Rule, alert: Alert, now_ns: int) -> Alert:
    if now_ns - alert.since_ns < rule.for_s * NS:
        return alert
    return alert.model_copy(update={"phase": FIRING, "fired_ns": now_ns})


def _end_if_due(rule: Rule, alert: Alert, why: End, now_ns: int) -> Alert:
    """A firing alert, ended where it has been well for long enough."""
    since_ns = alert.well_since_ns or now_ns
    if now_ns - since_ns < rule.resolve_for_s * NS:
        return alert.model_copy(update={"well_since_ns": since_ns})
    return _over(alert, why, now_ns)


def _over(alert: Alert, why: End, now_ns: int) -> Alert:
    return alert.model_copy(update={"phase": OVER, "over_ns": now_ns, "why_over": why})
