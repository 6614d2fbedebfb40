"""What a service says about itself: which process it is, whether it is ready, and what else `ping` tells.

Every service answers `ping` with the same keys (docs/metrics.md). Who may ask and nothing else is told which process
answers, what its clock says and whether it is ready; the other facts (`FACTS`) speak of events and of the
configuration, and need a right of their own.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FACTS = ("why", "rows", "newest_generation", "days_not_held", "config_revision", "config_fault")
"""What only those are told who may look."""


@dataclass(frozen=True)
class Process:
    """This process as others see it: `service` is its kind, `name` the one in the registry."""

    service: str
    name: str
    version: str
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.monotonic)
    """On the monotonic clock, seconds."""

    @property
    def uptime_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Readiness:
    """Whether the service does now what it exists for, as it should; `why` not, in one sentence."""

    ready: bool
    why: str = ""

    @classmethod
    def of(cls, why: str) -> Readiness:
        """Ready where there is no reason against it."""
        return cls(not why, why)


@dataclass(frozen=True)
class Served:
    """What can be searched there: `rows` events, of generations up to `newest_generation` (`DAY/N`); None elsewhere.

    `days_not_held` is how many days a replica lacks because the mirror that it reads from does not hold them whole.
    """

    rows: int | None = None
    newest_generation: str | None = None
    days_not_held: int | None = None


@dataclass(frozen=True)
class Configured:
    """The revision of the live configuration in use, 0 for none, and why a newer one was refused."""

    revision: int = 0
    fault: str = ""


def not_configured() -> Configured:
    """Of a service that follows no live configuration."""
    return Configured()


@dataclass(frozen=True)
class Condition:
    """Looks at a service when asked. Every function is for any thread and does not block for long.

    Attributes:
        process: which one it is.
        readiness: whether it is ready.
        stuck: why what it exists for does not move; empty while it does. Who supervises it starts it again then.
        configured: its live configuration.
    """

    process: Process
    readiness: Callable[[], Readiness]
    stuck: Callable[[], str]
    configured: Callable[[], Configured] = not_configured

    def ping(self, served: Served) -> dict[str, Any]:
        """The answer to `ping`, as plain values; times in seconds, the wall clock in nanoseconds since 1970."""
        process, readiness, configured = self.process, self.readiness(), self.configured()
        return {
            "service": process.service,
            "name": process.name,
            "pid": process.pid,
            "version": process.version,
            "uptime_s": round(process.uptime_s, 3),
            "time_ns": time.time_ns(),
            "ready": readiness.ready,
            "why": readiness.why,
            "rows": served.rows,
            "newest_generation": served.newest_generation,
            "days_not_held": served.days_not_held,
            "config_revision": configured.revision,
            "config_fault": configured.fault,
        }


def without_facts(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of the answer to `ping` for one that may not look."""
    return {name: value for name, value in answer.items() if name not in FACTS}
