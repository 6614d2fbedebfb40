"""How a mirror is doing, for others to read while it works."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from services.common.observing.condition import Readiness
from services.common.observing.metrics import Kind, Metric, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.observing.metrics import Sample

BEHIND = Metric(
    "appia_mirror_behind_seconds",
    Kind.GAUGE,
    "For how long events that the source shows have not all been here; days that are left out do not count.",
)
LAST_PULL = Metric(
    "appia_mirror_last_pull_timestamp_seconds",
    Kind.GAUGE,
    "When the source was read last without a fault, seconds since 1970; 0 for never.",
)
PULLED = Metric("appia_mirror_pulled_bytes_total", Kind.COUNTER, "Bytes that were read from the source.")
DAYS = Metric("appia_mirror_days", Kind.GAUGE, "Days of the source, held here or not.", ("held",))
FAULTS = Metric(
    "appia_mirror_faults",
    Kind.GAUGE,
    "Things that could not be pulled as they should be; the log has the reasons.",
)
MIRROR_METRICS = (BEHIND, LAST_PULL, PULLED, DAYS, FAULTS)
LONGEST_FAULT = 200


@dataclass(frozen=True)
class Status:
    """A moment of a mirror. Immutable.

    Attributes:
        reached: whether the source was ever read.
        behind_s: for how long not all events that the source shows have been here, seconds.
        last_pull_ns: when it was read last without a fault, nanoseconds since 1970; 0 for never.
        bytes: read from it since the start.
        days_held: days of which something is here.
        days_left_out: days of the source that are not here whole.
        faults: what is wrong, one sentence each.
    """

    reached: bool = False
    behind_s: float = 0.0
    last_pull_ns: int = 0
    bytes: int = 0
    days_held: int = 0
    days_left_out: int = 0
    faults: tuple[str, ...] = ()

    @property
    def fault(self) -> str:
        """The first fault; empty where there is none."""
        return self.faults[0] if self.faults else ""

    def plain(self) -> dict[str, Any]:
        """As `ping` tells it."""
        return {**asdict(self), "faults": list(self.faults), "behind_s": round(self.behind_s, 1)}

    def facts(self) -> dict[str, str | int | float]:
        """As the registry tells it. Whole tens of seconds, and no bytes: a fact should change rarely."""
        fault = "".join(char if char.isprintable() else " " for char in self.fault[:LONGEST_FAULT])
        return {
            "behind_s": int(self.behind_s // 10 * 10),
            "days_held": self.days_held,
            "days_left_out": self.days_left_out,
            "fault": fault,
        }

    def readiness(self, within_s: float) -> Readiness:
        """Ready while what the source shows is here, or was a moment ago."""
        if not self.reached:
            return Readiness.of(self.fault or "The source was not read yet.")
        if self.behind_s > within_s:
            why = f" ({self.fault})" if self.fault else ""
            return Readiness.of(f"It is {self.behind_s:.0f} s behind its source{why}.")
        return Readiness(ready=True)


def source_of(status: Callable[[], Status]) -> Source:
    """The metrics of a mirror."""

    def read() -> Iterator[Sample]:
        now = status()
        yield BEHIND.of(now.behind_s)
        yield LAST_PULL.of(now.last_pull_ns / 1e9)
        yield PULLED.of(now.bytes)
        yield DAYS.of(now.days_held, "yes")
        yield DAYS.of(now.days_left_out, "no")
        yield FAULTS.of(len(now.faults))

    return Source(MIRROR_METRICS, read)
