"""Readings: an observation as numbers under names, which rules of alerts and metrics speak of.

One reading for each signal and subject. A condition is 0 or 1. What cannot be observed now has no reading and is named
in `Readings.unknown`: what was said of it before stands, so an alert neither begins nor ends. Whatever has neither a
reading nor is unknown is gone: a day that was dropped, a sensor that was forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SUBJECT, MAX_TEXT = 128, 300
"""Characters. Sensors name themselves, so what they say is bounded and made printable."""

EVERY = "*"
"""Stands for every subject of a signal in `Readings.unknown`."""


@dataclass(frozen=True)
class Signal:
    """What a number means.

    Attributes:
        name: as rules write it.
        unit: of the value: "percent", "days", "s", "rows", "bytes", "condition" (0 or 1), "count", "ratio", ...
        description: what the value is, and what the subject names; a clause that ends without a full stop.
        security: whether its alerts are about attacks: quiet hours do not hold them back.
    """

    name: str
    unit: str
    description: str
    security: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of one signal for one subject, and a sentence for people that has it in it."""

    signal: str
    subject: str
    value: float
    text: str

    @classmethod
    def of(cls, signal: str, subject: str, value: float, text: str) -> Reading:
        """A reading whose texts are bounded, and can be printed whoever wrote them."""
        return cls(signal, bounded(subject, MAX_SUBJECT), float(value), bounded(text, MAX_TEXT))


@dataclass(frozen=True)
class Readings:
    """The readings of one observation, and the (signal, subject) pairs that nothing can be said of now."""

    items: tuple[Reading, ...] = ()
    unknown: frozenset[tuple[str, str]] = frozenset()

    def is_unknown(self, signal: str, subject: str) -> bool:
        """Whether nothing can be said now of what has no reading; otherwise it is gone."""
        return not self.unknown.isdisjoint({(signal, subject), (signal, EVERY)})


def bounded(text: str, most: int) -> str:
    """A text of at most `most` characters, all of them printable."""
    printable = text[: most + 1]
    if not printable.isprintable():  # seldom, and a round has thousands of texts
        printable = "".join(char if char.isprintable() else "?" for char in printable)
    return printable if len(printable) <= most else printable[: most - 1] + "…"


def _table(*signals: Signal) -> Mapping[str, Signal]:
    return MappingProxyType({signal.name: signal for signal in signals})


SIGNALS: Mapping[str, Signal] = _table(
    Signal("disk_used_percent", "percent", "how full the file system is (subject: folder)"),
    Signal("inode_used_percent", "percent", "how many of its inodes are used (subject: folder)"),
    Signal("disk_days_left", "days", "until the file system is full at its growth (subject: folder)"),
    Signal("service_down", "condition", "a service that should run does not answer (subject: kind/name)"),
    Signal(
        "service_not_ready",
        "condition",
        "a service answers and says that it is not ready (subject: kind/name)",
    ),
    Signal(
        "service_restarts",
        "count",
        "new processes of a service within a day, while health ran (subject: kind/name)",
    ),
    Signal(
        "replica_rows_behind", "rows", "events on disk that a replica does not serve (subject: kind/name)"
    ),
    Signal(
        "replica_generations_behind",
        "count",
        "sealed days that a replica serves not as they are (subject: kind/name)",
    ),
    Signal(
        "mirror_behind_s",
        "s",
        "for how long a mirror has lacked something of its source (subject: kind/name)",
    ),
    Signal("mirror_fault", "condition", "a mirror cannot copy, or refuses what it got (subject: kind/name)"),
    Signal(
        "publish_behind_s",
        "s",
        "for how long the place that an origin publishes to has lacked something (subject: kind/name)",
    ),
    Signal("publish_fault", "condition", "an origin cannot publish (subject: kind/name)"),
    Signal("queue_bytes", "bytes", "events that wait for the indices (subject: ingester)"),
    Signal("index_lag_rows", "rows", "events on disk that an index has not taken (subject: index)"),
    Signal("intake_paused", "condition", "nothing is taken because the disk is too full (subject: ingester)"),
    Signal("refused_per_minute", "1/min", "refused frames and events a minute (subject: reason)"),
    Signal(
        "forged_frames",
        "count",
        "frames within five minutes that no key fits (subject: ingester)",
        security=True,
    ),
    Signal(
        "nonce_repeated",
        "count",
        "nonces that came twice within five minutes (subject: sensor)",
        security=True,
    ),
    Signal(
        "copied_sender",
        "count",
        "frames within five minutes of senders that were copied (subject: ingester)",
        security=True,
    ),
    Signal(
        "chain_broken", "condition", "the signed chain of days does not hold (subject: chain)", security=True
    ),
    Signal("v1_missing_frames", "count", "frames within five minutes that never came (subject: sensor)"),
    Signal(
        "sensor_silent_s",
        "s",
        "since the newest event of a sensor; 0 while that is usual for it (subject: sensor)",
    ),
    Signal("sensor_clock_s", "s", "how far a sensor's clock is off, either way (subject: sensor)"),
    Signal("index_missing", "condition", "an index of a sealed day is not there (subject: day/index)"),
    Signal("index_corrupt", "condition", "an index of a sealed day is damaged (subject: day/index)"),
    Signal(
        "index_stale", "condition", "an index is of other events or of an older model (subject: day/index)"
    ),
    Signal("day_inconsistent", "condition", "events or metadata of a day are damaged (subject: day)"),
    Signal("days_unchecked_s", "s", "since a look at all days was due; 0 before that (subject: days)"),
    Signal("repair_failed", "count", "failed repairs in a row (subject: day/index)"),
    Signal(
        "distance_cv", "ratio", "spread of the distances of neighbours, low: all alike (subject: day/index)"
    ),
    Signal("recall", "ratio", "share of the true nearest that an index finds (subject: day/index)"),
    Signal("clock_offset_s", "s", "how far a service's clock is off, either way (subject: kind/name)"),
    Signal("etcd_down", "condition", "etcd does not answer (subject: etcd)"),
    Signal(
        "certificate_days_left", "days", "until a certificate of the registry runs out (subject: certificate)"
    ),
    Signal("config_refused", "condition", "a service refused the live configuration (subject: kind/name)"),
    Signal(
        "config_behind",
        "count",
        "revisions of the configuration that a service did not take (subject: kind/name)",
    ),
    Signal("channel_failing", "condition", "a channel of alerts delivers nothing (subject: channel)"),
    Signal("retention_days_left", "days", "until the oldest day has to be dropped (subject: days)"),
    Signal(
        "dead_letter_events",
        "count",
        "events and frames set aside since the ingester started (subject: ingester)",
    ),
)
"""Every signal by its name."""
