"""From rules and readings to alerts and what is told of them: a pure function, with the time as a number."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING

from services.health.alerts.course import begin, end, follow, lose, not_after
from services.health.alerts.state import FIRING, Alert, Ended
from services.health.alerts.telling import tell
from services.health.readings import Reading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from services.health.alerts.rules import Rule, Rules
    from services.health.alerts.telling import Notice
    from services.health.readings import Readings, Signal

MOST_OF_A_RULE = 100
"""Subjects of one rule that are told apart: whoever invents names of sensors drowns no other rule."""
OTHERS = "(others)"
"""The subject of the alert about those beyond: that there are some is told, however many there are before them."""


@dataclass(frozen=True)
class Outcome:
    """What follows from one set of readings.

    Attributes:
        alerts: all there are now, by rule and subject.
        notices: what has to be told now.
        began: those that fire since now.
        ended: those that fired and are over; nothing is left to be told of them.
        untracked: how many subjects are over the limit beyond those that are told apart, by rule.
    """

    alerts: tuple[Alert, ...]
    notices: tuple[Notice, ...] = ()
    began: tuple[Alert, ...] = ()
    ended: tuple[Ended, ...] = ()
    untracked: Mapping[str, int] = field(default_factory=dict)


def step(
    rules: Rules, signals: Mapping[str, Signal], before: Iterable[Alert], readings: Readings, now_ns: int
) -> Outcome:
    """What the alerts are after these readings, and what is told now; `now_ns` is nanoseconds since 1970.

    What is unknown changes nothing. A clock that was set back holds nothing up.
    """
    known = [not_after(alert, now_ns) for alert in before]
    alerts, untracked = _follow_all(rules, known, readings, now_ns)
    fired = {alert.key for alert in known if alert.fired_ns}
    began = tuple(alert for alert in alerts if alert.phase == FIRING and alert.key not in fired)
    told = tell(rules, signals, alerts, now_ns)
    left = tuple(sorted(told.alerts, key=lambda alert: alert.key))
    return Outcome(left, told.notices, began, tuple(map(_ended, told.settled)), untracked)


def _follow_all(
    rules: Rules, known: Sequence[Alert], readings: Readings, now_ns: int
) -> tuple[list[Alert], dict[str, int]]:
    """All alerts after the readings, and how many subjects there is no room for."""
    by_signal: defaultdict[str, dict[str, Reading]] = defaultdict(dict)
    for reading in readings.items:
        if not isnan(reading.value):
            by_signal[reading.signal][reading.subject] = reading
    followed = (
        _follow_one(rules, alert, by_signal, readings, now_ns)
        for alert in known
        if not _is_of_others(rules, alert)
    )
    alerts = [alert for alert in followed if alert is not None]
    others = {alert.rule: alert for alert in known if alert.subject == OTHERS}
    untracked: dict[str, int] = {}
    for rule in rules.rule:
        if not rule.enabled:
            continue
        subjects = {alert.subject for alert in alerts if alert.rule == rule.name}
        fresh = _fresh(rule, by_signal[rule.signal], subjects)
        room = max(0, MOST_OF_A_RULE - len(subjects))
        alerts += [begin(rule, reading, now_ns) for reading in fresh[:room]]
        if fresh[room:]:
            untracked[rule.name] = len(fresh) - room
        before = others.get(rule.name)
        is_unknown = readings.is_unknown(rule.signal, OTHERS)
        told = before if is_unknown else _of_others(rule, before, fresh[room:], now_ns)
        alerts += [] if told is None else [told]
    return alerts, untracked


def _fresh(rule: Rule, readings: Mapping[str, Reading], known: Collection[str]) -> list[Reading]:
    """The readings over the limit of subjects that no alert is about."""
    return [
        reading
        for subject, reading in readings.items()
        if subject not in known
        and subject != OTHERS  # of somebody who calls himself so
        and rule.watches(rule.signal, subject)
        and rule.is_over(reading.value)
    ]


def _is_of_others(rules: Rules, alert: Alert) -> bool:
    return alert.subject == OTHERS and rules.named(alert.rule) is not None


def _of_others(rule: Rule, before: Alert | None, beyond: Sequence[Reading], now_ns: int) -> Alert | None:
    """The alert about subjects that there is no room for, where there are some or were."""
    if not beyond:
        return None if before is None else lose(rule, before, now_ns)
    text = f"{len(beyond):,} more are over the limit and not told apart, one of them: {beyond[0].text}"
    reading = Reading(rule.signal, OTHERS, beyond[0].value, text)
    return begin(rule, reading, now_ns) if before is None else follow(rule, before, reading, now_ns)


def _follow_one(
    rules: Rules,
    alert: Alert,
    by_signal: Mapping[str, Mapping[str, Reading]],
    readings: Readings,
    now_ns: int,
) -> Alert | None:
    rule = rules.named(alert.rule)
    if rule is None or not rule.watches(alert.signal, alert.subject):
        return end(alert, "no rule", now_ns)
    reading = by_signal.get(rule.signal, {}).get(alert.subject)
    if reading is not None:
        return follow(rule, alert, reading, now_ns)
    if readings.is_unknown(rule.signal, alert.subject):
        return alert
    return lose(rule, alert, now_ns)


def _ended(alert: Alert) -> Ended:
    return Ended(**alert.model_dump(include=set(Ended.model_fields)))
