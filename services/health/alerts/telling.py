"""What is told of alerts, when, and to whom: groups, quiet hours, reminders. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.health.alerts.course import NS
from services.health.alerts.quiet import held_back
from services.health.alerts.severity import worst
from services.health.alerts.state import FIRING, OVER, Alert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.health.alerts.rules import Grouping, Rules
    from services.health.alerts.severity import Severity
    from services.health.readings import Signal


@dataclass(frozen=True)
class Told:
    """What follows from telling.

    Attributes:
        alerts: all of them, as they are once the notices are made.
        notices: what is told, by group and channel.
        settled: those that are over, of which nothing is left to be told.
    """

    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notice, ...] = ()
    settled: tuple[Alert, ...] = ()

    def __add__(self, other: Told) -> Told:
        """Both together."""
        return Told(self.alerts + other.alerts, self.notices + other.notices, self.settled + other.settled)


@dataclass(frozen=True)
class Notice:
    """What one group of alerts tells one channel.

    Attributes:
        group: the values that its alerts have in common.
        new: alerts that fire and were not told of.
        still: alerts that fire as told before.
        over: alerts that ended.
    """

    channel: str
    group: str
    new: tuple[Alert, ...] = ()
    still: tuple[Alert, ...] = ()
    over: tuple[Alert, ...] = ()

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """All that is in it."""
        return (*self.new, *self.still, *self.over)

    @property
    def reminds(self) -> bool:
        """Whether it says nothing new."""
        return not self.new and not self.over

    @property
    def severity(self) -> Severity:
        """The worst of what is in it."""
        return worst(alert.severity for alert in self.alerts)


def tell(rules: Rules, signals: Mapping[str, Signal], alerts: Iterable[Alert], now_ns: int) -> Told:
    """What is told now, and what becomes of the alerts by that."""
    teller = _Teller(rules, signals, now_ns)
    groups: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        groups[_group_of(rules.group, alert)].append(alert)
    return sum((teller.tell(group, members) for group, members in sorted(groups.items())), Told())


def _group_of(grouping: Grouping, alert: Alert) -> str:
    return ", ".join(str(getattr(alert, key)) for key in grouping.by)


@dataclass(frozen=True)
class _Teller:
    """Decides for one moment."""

    rules: Rules
    signals: Mapping[str, Signal]
    now_ns: int

    def tell(self, group: str, members: Sequence[Alert]) -> Told:
        """What becomes of a group's alerts, and what its channels are told."""
        heard = [self._without_lost_channels(alert) for alert in members]
        new = [alert for alert in heard if self._is_new(alert)]
        over = [
            alert for alert in heard if alert.phase == OVER and alert.told_to and not self._is_held(alert)
        ]
        if not self._is_time(new, over):
            new, over = [], []
        still = self._reminded([alert for alert in heard if alert.phase == FIRING and alert.told_ns])
        notices = self._notices(group, new, still, over)
        changed = {alert.key: self._told(alert) for alert in (*new, *still)}
        settled = tuple(x for x in heard if x.phase == OVER and (not x.told_to or x in over))
        left = tuple(changed.get(alert.key, alert) for alert in heard if alert not in settled)
        return Told(left, tuple(notices), settled)

    def _notices(
        self, group: str, new: Sequence[Alert], still: Sequence[Alert], over: Sequence[Alert]
    ) -> list[Notice]:
        made = [
            Notice(
                channel,
                group,
                tuple(alert for alert in new if channel in self._channels(alert)),
                tuple(alert for alert in still if channel in self._channels(alert)),
                tuple(alert for alert in over if channel in alert.told_to),
            )
            for channel in sorted(self.rules.channel)
        ]
        return [notice for notice in made if notice.alerts]

    def _told(self, alert: Alert) -> Alert:
        channels = tuple(sorted({*alert.told_to, *self._channels(alert)}))
        return alert.model_copy(update={"told_ns": self.now_ns, "told_to": channels})

    def _is_new(self, alert: Alert) -> bool:
        firing = alert.phase == FIRING and not alert.told_ns
        return firing and bool(self._channels(alert)) and not self._is_held(alert)

    def _is_time(self, new: Sequence[Alert], over: Sequence[Alert]) -> bool:
        """Whether the first of them has waited long enough for others; what is about attacks does not wait."""
        if any(self._is_security(alert) for alert in new):
            return True
        times = [*(alert.fired_ns for alert in new), *(alert.over_ns for alert in over)]
        return bool(times) and self.now_ns - min(times) >= self.rules.group.wait_s * NS

    def _reminded(self, firing: Sequence[Alert]) -> list[Alert]:
        """All that may be said again, once one of them is due: a group reminds in one message."""
        may = [alert for alert in firing if self._repeat_ns(alert) and not self._is_held(alert)]
        due = any(self.now_ns - alert.told_ns >= self._repeat_ns(alert) for alert in may)
        return may if due else []

    def _repeat_ns(self, alert: Alert) -> int:
        rule = self.rules.named(alert.rule)
        return rule.repeat_s * NS if rule and self._channels(alert) else 0

    def _channels(self, alert: Alert) -> tuple[str, ...]:
        rule = self.rules.named(alert.rule)
        return self.rules.channels_of(rule) if rule else ()

    def _without_lost_channels(self, alert: Alert) -> Alert:
        """The alert without those who cannot be told any more; one that nobody of heard is told as new."""
        left = tuple(name for name in alert.told_to if name in self.rules.channel)
        if left == alert.told_to:
            return alert
        return alert.model_copy(update={"told_to": left, "told_ns": alert.told_ns if left else 0})

    def _is_held(self, alert: Alert) -> bool:
        return not self._is_security(alert) and held_back(self.rules.quiet, alert.severity, self.now_ns)

    def _is_security(self, alert: Alert) -> bool:
        signal = self.signals.get(alert.signal)
        return signal is not None and signal.security
