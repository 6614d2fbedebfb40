"""What alerts remember, as plain frozen values: which there are, which messages wait, what was before."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from services.health.alerts.severity import Severity

Phase: TypeAlias = Literal["pending", "firing", "over"]
PENDING: Phase = "pending"
FIRING: Phase = "firing"
OVER: Phase = "over"

End: TypeAlias = Literal["", "well", "gone", "no rule"]

MOST_PAST = 200
"""How many ends of alerts, and of messages, are remembered."""


class Record(BaseModel):
    """Base: frozen, and numbers without an end survive the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Alert(Record):
    """One rule at one subject, from the first reading over the limit until everybody who has to know knows its end.

    Times are nanoseconds since 1970; 0 is never.

    Attributes:
        phase: pending until it has lasted for the rule's `for`; over when it ended and that is not told yet.
        since_ns: the first of the readings over the limit that follow each other.
        well_since_ns: the first reading within the limit, while it has not lasted for `resolve_for`.
        value: of the newest reading that was not well; of the one that ended it once it is over.
        text: of the same reading.
        told_ns: when messages about it were made last.
        told_to: the channels that were told that it fires.
        why_over: the value is well again, the subject is gone, or the rule is.
    """

    rule: str
    signal: str
    subject: str
    severity: Severity
    phase: Phase = PENDING
    since_ns: int
    fired_ns: int = 0
    well_since_ns: int = 0
    over_ns: int = 0
    value: float
    limit: str
    text: str
    told_ns: int = 0
    told_to: tuple[str, ...] = ()
    why_over: End = ""

    @property
    def key(self) -> tuple[str, str]:
        """There is one of a rule and a subject."""
        return self.rule, self.subject


class Letter(Record):
    """One message for one channel, on its way.

    Attributes:
        id: stands in the message; one that comes a second time is the same message.
        group: of the alerts in it, by which a reminder knows that one waits already.
        ends: whether it tells of nothing but ends.
        reminds: whether it only says again what a message before said.
    """

    id: str
    channel: str
    group: str
    severity: Severity
    title: str
    body: str
    made_ns: int
    ends: bool = False
    reminds: bool = False
    tries: int = 0


class Line(Record):
    """How one channel does.

    Attributes:
        failing_since_ns: the first failure since it worked last.
        failed_ns: the last one.
        next_ns: no try before.
        lost: messages given up since the last that arrived.
    """

    failing_since_ns: int = 0
    failed_ns: int = 0
    next_ns: int = 0
    pause_s: float = 0.0
    why: str = ""
    delivered_ns: int = 0
    lost: int = 0


class Ended(Record):
    """An alert that is over."""

    rule: str
    signal: str
    subject: str
    severity: Severity
    since_ns: int
    fired_ns: int
    over_ns: int
    value: float
    why_over: End
    told_to: tuple[str, ...]


class Sent(Record):
    """A message that arrived, or was given up."""

    id: str
    channel: str
    title: str
    made_ns: int
    ended_ns: int
    tries: int
    delivered: bool
    why: str = ""


class Kept(Record):
    """All of it: what one file holds, so that no kill can come between an alert and its message."""

    version: Literal[1] = 1
    origin: str
    number: int = 0
    alerts: tuple[Alert, ...] = ()
    untracked: dict[str, int] = {}
    letters: tuple[Letter, ...] = ()
    lines: dict[str, Line] = {}
    ended: tuple[Ended, ...] = ()
    sent: tuple[Sent, ...] = ()
