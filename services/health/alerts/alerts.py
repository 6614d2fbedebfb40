"""Alerts as the health service has them: readings go in, messages come out, and anybody may ask how things are."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.ending import end_if_it_fails
from services.common.errors import UsageError
from services.health.alerts import outbox
from services.health.alerts.courier import Courier
from services.health.alerts.describing import describe
from services.health.alerts.engine import step
from services.health.alerts.ledger import Ledger
from services.health.alerts.rules_in_use import DefaultRules, FollowedRules
from services.health.alerts.state import MOST_PAST, Line
from services.health.alerts.wording import TRIAL, Wording, trial_letter
from services.health.readings import SIGNALS, Reading, Readings

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk
    from services.health.alerts.courier import Outside
    from services.health.alerts.engine import Outcome
    from services.health.alerts.state import Alert, Kept

MOST_TRIALS = 10
"""Messages that somebody asked for and that wait: whoever asks for very many holds up no alert."""
LEDGER, GOOD_RULES = "alerts.json", "alerts-good.toml"
RULES_SUBJECT = "health/alerts"
"""Under this subject of `config_refused`, a file of rules that cannot be used is an alert itself."""


@dataclass(frozen=True)
class Files:
    """Where alerts have their files.

    Attributes:
        folder: health's own, which has to be there.
        rules: the file of rules; None: those that come with the product, and no channel.
    """

    folder: Path
    rules: Path | None = None


class Alerts:
    """All of it. `step` is for one thread, `run` is the body of another; the other methods are for any."""

    def __init__(self, disk: Disk, files: Files, outside: Outside) -> None:
        """Read the rules and what was remembered; nothing is sent before `run`. Blocks on the disk.

        Raises:
            UsageError: the file of rules cannot be used, and none before it either.
            AppiaError: what was remembered cannot be read, or is of a later version.
        """
        self._outside = outside
        self._rules = (
            DefaultRules(SIGNALS)
            if files.rules is None
            else FollowedRules(
                disk, (files.rules, files.folder / GOOD_RULES), SIGNALS, self._tell("rules_refused")
            )
        )
        self._follows = files.rules is not None
        self._ledger = Ledger(
            disk, files.folder / LEDGER, lambda: secrets.token_hex(3), self._tell("alerts_not_kept")
        )
        self._courier = Courier(self._ledger, lambda: self._rules.rules, outside)

    def step(self, readings: Readings, now_ns: int) -> None:
        """Take readings of `now_ns`, nanoseconds since 1970. What follows is on disk when this returns; blocks."""
        self._rules.look()
        rules, seen = self._rules.rules, self._with_own(readings)
        outcomes: list[Outcome] = []

        def change(kept: Kept) -> Kept:
            outcome = step(rules, SIGNALS, kept.alerts, seen, now_ns)
            outcomes.append(outcome)
            wording = Wording(rules, SIGNALS, self._outside.host, outcome.untracked)
            letters = [
                wording.letter(notice, f"{kept.origin}-{number}", now_ns)
                for number, notice in enumerate(outcome.notices, kept.number + 1)
            ]
            after = {
                "alerts": outcome.alerts,
                "untracked": dict(outcome.untracked),
                "number": kept.number + len(letters),
                "ended": (*kept.ended, *outcome.ended)[-MOST_PAST:],
            }
            return outbox.post(kept.model_copy(update=after), letters)

        self._ledger.change(change)
        self._log(outcomes[0])
        if outcomes[0].notices:
            self._courier.wake()

    def describe(self) -> dict[str, Any]:
        """What is firing, pending and past, and how the channels do, as plain data; see `describing.describe`."""
        faults = {"rules": self._rules.fault, "ledger": self._ledger.fault}
        return describe(self._ledger.kept, self._rules.rules, faults, self._outside.clock())

    def test(self, channel: str | None = None) -> dict[str, Any]:
        """Send a message to a channel, or to each; gives `{"messages": [{"id", "channel", "made_ns"}]}`.

        It is tried at once, also where the channel failed just now: whoever asks may have mended it. `describe` tells
        what became of it.

        Raises:
            UsageError: there is no such channel, or none at all; or so many messages of this kind wait already that
                what matters would come late.
        """
        names = channels_asked(tuple(self._rules.rules.channel), channel)
        made: list[dict[str, Any]] = []

        def change(kept: Kept) -> Kept:
            if sum(one.group == TRIAL and one.channel in names for one in kept.letters) >= MOST_TRIALS:
                raise UsageError(
                    f"{MOST_TRIALS} messages of that kind wait already: wait until they are through."
                )
            ids = [f"{kept.origin}-{kept.number + 1 + index}" for index in range(len(names))]
            now_ns = self._outside.clock()
            made[:] = [
                {"id": one, "channel": name, "made_ns": now_ns} for one, name in zip(ids, names, strict=True)
            ]
            letters = [trial_letter(one["id"], one["channel"], self._outside.host, now_ns) for one in made]
            kept = outbox.without_pause(kept, names)
            return outbox.post(kept.model_copy(update={"number": kept.number + len(names)}), letters)

        self._ledger.change(change)
        self._courier.wake()
        return {"messages": made}

    def run(self) -> None:
        """Deliver messages, until stopped. A failure that nobody foresaw ends the process, which is noticed."""
        end_if_it_fails(self._courier.run)

    def stop(self) -> None:
        """End `run`, also while a message is being sent: it is sent again at the next start."""
        self._courier.stop()

    def _with_own(self, readings: Readings) -> Readings:
        if not self._follows:
            return readings
        fault = self._rules.fault
        own = Reading.of("config_refused", RULES_SUBJECT, bool(fault), fault or "the file of rules is in use")
        channels = (
            _of_channel(name, self._ledger.kept.lines.get(name, Line())) for name in self._rules.rules.channel
        )
        return Readings((*readings.items, own, *channels), readings.unknown)

    def _log(self, outcome: Outcome) -> None:
        for alert in outcome.began:
            self._outside.report("alert_began", _facts(alert))
        for ended in outcome.ended:
            facts = {"rule": ended.rule, "subject": ended.subject, "why": ended.why_over}
            self._outside.report("alert_ended", facts)

    def _tell(self, event: str) -> Any:
        return lambda fault: self._outside.report(event, {"error": fault})


def channels_asked(known: tuple[str, ...], wanted: str | None) -> tuple[str, ...]:
    """The channels that a message for `wanted` goes to; None is all.

    Raises:
        UsageError: there is no such channel, or none at all.
    """
    if not known:
        raise UsageError(
            "There are no channels: name some in a file of rules, and that file as the setting `alerts`."
        )
    if wanted is None:
        return tuple(sorted(known))
    if wanted not in known:
        raise UsageError(f"There is no channel {wanted[:60]!r}; there are: {', '.join(sorted(known))}.")
    return (wanted,)


def _of_channel(name: str, line: Line) -> Reading:
    text = f"the channel {name} delivers nothing: {line.why}" if line.why else f"the channel {name} delivers"
    return Reading.of("channel_failing", name, bool(line.failing_since_ns), text)


def _facts(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule,
        "subject": alert.subject,
        "severity": alert.severity,
        "value": alert.value,
        "text": alert.text,
    }
