"""Messages: what is wrong, since when, the value and its limit, what it means and what to do."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

from services.health.alerts.state import Letter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from services.health.alerts.rules import Rules
    from services.health.alerts.state import Alert
    from services.health.alerts.telling import Notice
    from services.health.readings import Signal

TRIAL = "test"
"""The group of messages that only show that a channel works."""
SHOWN = 20
"""Alerts of a kind that one message has in full; it says how many more there are."""
_NS = 1_000_000_000
_LONGEST = 300
_STEERS = str.maketrans(dict.fromkeys("<>[]{}@`*_|\\&#~\u3002\uff0e\uff61", "·"))
"""What HTML, Markdown, Slack and others take for a tag, a link, a mention or a style; full stops of other scripts."""
_DOT_OF_NAME = re.compile(r"\.(?=[^\W\d_])")
"""The dot in evil.example, which mail and chat programs make a link of without being asked; not that of an address."""
_UNITS = {"condition": "", "count": "", "ratio": "", "percent": " %", "s": " s", "1/min": " a minute"}
_ENDS = {
    "well": "it is well again",
    "gone": "what it was about is gone",
    "no rule": "no rule asks about it any more",
}


@dataclass(frozen=True)
class Wording:
    """Writes messages.

    Attributes:
        rules: what is to be done, and where the runbook is.
        signals: what the numbers mean.
        host: the machine, named in every message.
        untracked: subjects over the limit that are not told apart, by rule.
    """

    rules: Rules
    signals: Mapping[str, Signal]
    host: str
    untracked: Mapping[str, int]

    def letter(self, notice: Notice, letter_id: str, now_ns: int) -> Letter:
        """The message for a notice."""
        return Letter(
            id=letter_id,
            channel=notice.channel,
            group=notice.group,
            severity=notice.severity,
            title=self._title(notice),
            body="\n".join(self._lines(notice, letter_id)),
            made_ns=now_ns,
            ends=not notice.new and not notice.still,
            reminds=notice.reminds,
        )

    def _title(self, notice: Notice) -> str:
        firing = (*notice.new, *notice.still)
        about = firing or notice.over
        head = notice.severity.upper() if firing else "RESOLVED"
        if len(about) == 1:
            return f"appia {head}: {about[0].rule}: {tame(about[0].subject)} on {self.host}"
        rules = sorted({alert.rule for alert in about})
        what = rules[0] if len(rules) == 1 else f"{len(rules)} rules"
        return f"appia {head}: {what}: {len(about)} alerts on {self.host}"

    def _lines(self, notice: Notice, letter_id: str) -> Iterator[str]:
        for head, alerts in (("NEW", notice.new), ("STILL", notice.still), ("OVER", notice.over)):
            for alert in alerts[:SHOWN]:
                yield from self._alert(head, alert)
                yield ""
            if alerts[SHOWN:]:
                yield f"... and {len(alerts) - SHOWN:,} more: `appia alerts list` shows all."
                yield ""
        for rule in sorted({alert.rule for alert in notice.alerts} & set(self.untracked)):
            yield f"{self.untracked[rule]:,} more subjects of {rule} are over the limit and not told apart."
        yield from self._meaning(sorted({(a.rule, a.signal) for a in (*notice.new, *notice.still)}))
        yield f"Message {letter_id} of appia on {self.host}; one with the same number is the same message."

    def _alert(self, head: str, alert: Alert) -> Iterator[str]:
        signal = self.signals.get(alert.signal)
        yield f"{head} {alert.severity}: {alert.rule}: {tame(alert.subject)}"
        if alert.text:
            yield f"  {tame(alert.text)}"
        if head == "OVER":
            why = _ENDS[alert.why_over or "well"]
            yield f"  over since {moment(alert.over_ns)}: {why}; it began {moment(alert.since_ns)}"
            return
        if signal is None or signal.unit != "condition":
            yield f"  {alert.signal} is {shown(alert.value, signal)}; an alert is {alert.limit}"
        yield f"  since {moment(alert.since_ns)}"
        if alert.well_since_ns:
            yield f"  well again since {moment(alert.well_since_ns)}; it is over when that lasts"

    def _meaning(self, rules: Sequence[tuple[str, str]]) -> Iterator[str]:
        for rule_name, signal_name in rules[:SHOWN]:
            signal, rule = self.signals.get(signal_name), self.rules.named(rule_name)
            if signal is not None:
                yield f"What it means: {signal.name}: {signal.description.partition(' (subject')[0]}."
            if rule is not None and rule.do:
                yield f"What to do: {rule.do}"
            yield f"More: {self.rules.runbook}#{signal_name}"
            yield ""


def shown(value: float, signal: Signal | None) -> str:
    """A value with its unit, as a person writes it."""
    unit = "" if signal is None else _UNITS.get(signal.unit, f" {signal.unit}")
    if signal is not None and signal.unit == "condition":
        return "yes" if value else "no"
    if not isfinite(value):
        return "without end"
    number = f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{number}{unit}"


def moment(time_ns: int) -> str:
    """A time for people, in UTC."""
    return f"{datetime.fromtimestamp(time_ns // _NS, UTC):%Y-%m-%d %H:%M:%S} UTC"


def tame(text: str) -> str:
    """A text that others wrote, for a message: short, on one line, and nothing that a mail or chat program obeys."""
    printable = "".join(
        " " if char.isspace() else char for char in text[:_LONGEST] if unicodedata.category(char)[0] != "C"
    )
    return _DOT_OF_NAME.sub("·", printable.translate(_STEERS).replace("://", ":/ /"))


def counted(messages: int) -> str:
    """A number of messages."""
    return f"{messages:,} message{'' if messages == 1 else 's'}"


def trial_letter(letter_id: str, channel: str, host: str, now_ns: int) -> Letter:
    """A message that shows that a channel works."""
    return Letter(
        id=letter_id,
        channel=channel,
        group=TRIAL,
        severity="info",
        title=f"appia TEST: this channel works: {channel} on {host}",
        body=f"Somebody asked for this message with `appia alerts test`. Nothing is wrong.\n\nMessage {letter_id}.",
        made_ns=now_ns,
    )


def given_up_letter(
    letter_id: str, channel: str, lost: Iterable[tuple[str, int]], host: str, now_ns: int
) -> Letter:
    """What the other channels are told when messages of one were given up."""
    lines = [f"Given up after seven days: {counted(number)} for the channel {name}." for name, number in lost]
    do = "See why with `appia alerts list`, then send a message with `appia alerts test`."
    return Letter(
        id=letter_id,
        channel=channel,
        group="undelivered",
        severity="critical",
        title=f"appia CRITICAL: messages were not delivered on {host}",
        body="\n".join([*lines, do, "", f"Message {letter_id}."]),
        made_ns=now_ns,
    )
