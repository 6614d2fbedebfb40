"""Quiet hours: times of the week, by the clock of a place, in which only what is bad enough is told at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.health.alerts.severity import CRITICAL, Severity, reaches

if TYPE_CHECKING:
    from collections.abc import Iterable

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_NS = 1_000_000_000
Weekday: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Weekday, ...] = get_args(Weekday)


def _clock(value: object) -> object:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("should be a time such as '22:00'")
    return time(int(match[1]), int(match[2]))


def _zone(value: object) -> object:
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError):  # which one depends on what is wrong with the name
            pass
        else:
            return value
    raise ValueError("should be a time zone such as 'Europe/Madrid' or 'UTC'")


Clock: TypeAlias = Annotated[time, BeforeValidator(_clock)]


class Quiet(BaseModel):
    """One span of quiet hours: on each of its days from a time to another, which may be on the next day."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")
    days: tuple[Weekday, ...] = Field(DAYS, min_length=1, strict=False)
    timezone: Annotated[str, BeforeValidator(_zone)] = "UTC"
    passes: Severity | Literal["none"] = CRITICAL

    @cached_property
    def zone(self) -> ZoneInfo:
        """The place whose clock counts."""
        return ZoneInfo(self.timezone)

    def holds_back(self, severity: Severity, now_ns: int) -> bool:
        """Whether a message of this severity waits now."""
        loud = self.passes != "none" and reaches(severity, self.passes)
        return not loud and self.covers(now_ns)

    def covers(self, now_ns: int) -> bool:
        """Whether these hours are now. Equal times are the whole day."""
        now = datetime.fromtimestamp(now_ns // _NS, UTC).astimezone(self.zone)
        clock = now.time()
        if self.start < self.end:
            return self._on(now) and self.start <= clock < self.end
        since_yesterday = clock < self.end and self._on(now - timedelta(days=1))
        return since_yesterday or (clock >= self.start and self._on(now))

    def _on(self, when: datetime) -> bool:
        return DAYS[when.weekday()] in self.days


def held_back(quiet: Iterable[Quiet], severity: Severity, now_ns: int) -> bool:
    """Whether any of the quiet hours keeps a message of this severity waiting."""
    return any(hours.holds_back(severity, now_ns) for hours in quiet)
