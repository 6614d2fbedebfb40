"""What a key may do: operations, indices, days, and how often."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from services.common.access.names import FACTS, INDICES, OPERATIONS, PING

DEFAULT_RATE = 50.0
DEFAULT_BURST = 100


@dataclass(frozen=True)
class Days:
    """Which UTC days of events may be seen: those within any of `spans`, and among the last `last`; None for all.

    A span is a first and a last day, both YYYY-MM-DD. The last one day is today.
    """

    spans: tuple[tuple[str, str], ...] | None = None
    last: int | None = None

    def allow(self, day: str, today: str) -> bool:
        """Whether a day (YYYY-MM-DD) may be seen on the UTC day `today`. A day after today is among the last ones."""
        if self.spans is not None and not any(first <= day <= end for first, end in self.spans):
            return False
        return self.last is None or day > _before(today, self.last)

    @property
    def are_all(self) -> bool:
        """Whether nothing is left out."""
        return self.spans is None and self.last is None


def _before(today: str, days: int) -> str:
    return (date.fromisoformat(today) - timedelta(days)).isoformat()


def utc_day(time_ns: int) -> str:
    """The UTC day (YYYY-MM-DD) of a time in nanoseconds since 1970."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).date().isoformat()


@dataclass(frozen=True)
class Rate:
    """How many requests a second in the long run, and how many at once after a pause."""

    per_s: float = DEFAULT_RATE
    burst: int = DEFAULT_BURST


UNLIMITED = Rate(math.inf)


@dataclass(frozen=True)
class Rights:
    """What may be asked. A day has to be allowed by every member of `days`."""

    operations: frozenset[str]
    indices: frozenset[str]
    days: tuple[Days, ...] = ()
    rate: Rate = Rate()
    delegate: bool = False  # may ask on behalf of another key, within the rights of both

    def allow_operation(self, operation: str) -> bool:
        """Whether an operation (a name of `names.OPERATIONS`, or `ping`) may be asked."""
        return operation == PING or operation in self.operations

    @property
    def see_facts(self) -> bool:
        """Whether `ping` tells more than which process answers and whether it is ready."""
        return FACTS in self.operations

    def allow_day(self, day: str, today: str) -> bool:
        """Whether events of a UTC day may be seen on the day `today`, both YYYY-MM-DD."""
        return all(days.allow(day, today) for days in self.days)

    @property
    def see_everything(self) -> bool:
        """Whether no day and no index is left out."""
        return self.indices >= frozenset(INDICES) and all(days.are_all for days in self.days)

    def within(self, gateway: Rights) -> Rights:
        """These rights as far as a gateway that asks on this behalf has them too; the rate stays this one's."""
        return replace(
            self,
            operations=self.operations & gateway.operations,
            indices=self.indices & gateway.indices,
            days=self.days + gateway.days,
            delegate=False,
        )


EVERYTHING = Rights(frozenset(OPERATIONS), frozenset(INDICES), rate=UNLIMITED, delegate=True)
"""What whoever asks over plain text on loopback may do."""


@dataclass(frozen=True)
class Principal:
    """One that asks: the name of its key, and its rights.

    Attributes:
        name: unique in the access file; what logs and remarks say.
        rights: what it may do.
        public_key: its CURVE public key, 40 characters of Z85; empty where it has none.
        token_sha256: of its HTTP token, 64 lower-case hexadecimal digits; empty where it has none.
        revoked: it is known, and may do nothing.
        gateway: the name of the key that asks on its behalf; empty where it asks itself.
    """

    name: str
    rights: Rights
    public_key: str = ""
    token_sha256: str = ""
    revoked: bool = False
    gateway: str = ""

    def through(self, gateway: Principal) -> Principal:
        """This one, asking through a gateway: within the rights of both."""
        return replace(self, rights=self.rights.within(gateway.rights), gateway=gateway.name)


LOCAL = Principal("local", EVERYTHING)
"""Whoever asks over plain text on loopback."""
