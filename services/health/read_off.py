"""Reads the signals off an observation: what is seen as numbers, with a sentence each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf
from typing import TYPE_CHECKING

from services.health.observation import CORRUPT, MISSING, OK, STALE
from services.health.readings import EVERY, Reading, Readings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.health.observation import (
        Attempt,
        Certificate,
        Day,
        Disk,
        Index,
        Intake,
        Observation,
        Sensor,
        Service,
    )

_INTAKE = "ingester"
_A_DAY_NS = 86_400 * 10**9
OWN = "health/config"
"""Under this subject of `config_refused`, health tells what it refuses itself."""
_OF_INTAKE = (
    "queue_bytes",
    "index_lag_rows",
    "intake_paused",
    "refused_per_minute",
    "forged_frames",
    "nonce_repeated",
    "copied_sender",
    "v1_missing_frames",
    "dead_letter_events",
    "sensor_silent_s",
    "sensor_clock_s",
)
_OF_DAYS = (
    "index_missing",
    "index_corrupt",
    "index_stale",
    "day_inconsistent",
    "repair_failed",
    "distance_cv",
    "recall",
)
COPIES = {"mirror": ("mirror_behind_s", "mirror_fault"), "origin": ("publish_behind_s", "publish_fault")}
"""By the kind of what copies days: the signals of how far it is behind, and of why it fails."""
_STATES = {"index_missing": MISSING, "index_corrupt": CORRUPT, "index_stale": STALE}


@dataclass(frozen=True)
class Silence:
    """When a sensor counts as silent.

    `least_s` has to pass in any case, and `times` as long as it is usual for this sensor; but no more than `most_s`.
    Who makes a sensor silent for somewhat longer each day would teach us that a week is usual.
    """

    least_s: float = 900.0
    times: float = 3.0
    most_s: float = 172_800.0

    def limit_s(self, usual_gap_s: float) -> float:
        """The longest silence that is none."""
        return max(self.least_s, min(self.times * usual_gap_s, self.most_s))


def read_off(seen: Observation, silence: Silence) -> Readings:
    """Every signal that can be told now, and those that cannot."""
    items: list[Reading] = []
    unknown: set[tuple[str, str]] = set()
    for disk in seen.disks:
        items += _of_disk(disk)
    if not seen.disks:
        unknown |= _every(("disk_used_percent", "inode_used_percent", "disk_days_left"))
    newest = _newest_revision(seen)
    for service in seen.services:
        items += _of_service(service, newest)
        unknown |= set(_unknown_of_service(service))
    if seen.intake is None:
        unknown |= _every(_OF_INTAKE)
    else:
        items += _of_intake(seen.intake)
        items += (reading for sensor in seen.sensors or () for reading in _of_sensor(sensor, seen, silence))
    if seen.days is None:
        unknown |= _every(_OF_DAYS)
    else:
        items += (reading for day in seen.days for reading in _of_day(day))
        items += _of_attempts(seen.attempts)
    items += _of_certificates(seen.certificates or (), seen.time_ns)
    items += _of_the_rest(seen)
    unknown |= _unknown_rest(seen)
    return Readings(tuple(items), frozenset(unknown))


def _every(signals: Iterable[str]) -> set[tuple[str, str]]:
    return {(signal, EVERY) for signal in signals}


def _of_disk(disk: Disk) -> Iterator[Reading]:
    path = disk.path
    yield Reading.of(
        "disk_used_percent", path, disk.used_percent, f"{path} is {disk.used_percent:.1f} % full"
    )
    inodes = disk.inode_used_percent
    yield Reading.of("inode_used_percent", path, inodes, f"{inodes:.1f} % of the inodes of {path} are used")
    # Without growth it is never full; a number says that better to a rule than a reading that is not there.
    days = disk.days_left if disk.days_left is not None else float("inf")
    text = f"{path} does not fill" if isinf(days) else f"{path} is full in {days:.1f} days at its growth"
    yield Reading.of("disk_days_left", path, days, text)


def _newest_revision(seen: Observation) -> int | None:
    known = [service.config_revision for service in seen.services if service.config_revision is not None]
    return max([*known, *([] if seen.config_revision is None else [seen.config_revision])], default=None)


def _of_service(service: Service, newest: int | None) -> Iterator[Reading]:
    name = service.subject
    if service.answers is not None:
        text = f"{name} answers" if service.answers else f"{name} does not answer: {service.why}"
        yield Reading.of("service_down", name, not service.answers, text)
    if service.ready is not None:
        text = f"{name} is ready" if service.ready else f"{name} is not ready: {service.why}"
        yield Reading.of("service_not_ready", name, not service.ready, text)
    restarts = f"{name} was started {service.restarts} times anew within a day"
    yield Reading.of("service_restarts", name, service.restarts, restarts)
    if service.clock_offset_s is not None:
        off = f"the clock of {name} is off by {service.clock_offset_s:+.3f} s"
        yield Reading.of("clock_offset_s", name, abs(service.clock_offset_s), off)
    if service.rows_behind is not None:
        rows = f"{name} lacks {service.rows_behind:,} events that are on disk"
        yield Reading.of("replica_rows_behind", name, service.rows_behind, rows)
    if service.generations_behind is not None:
        lacks = f"{name} lacks {service.generations_behind} sealed generations"
        yield Reading.of("replica_generations_behind", name, service.generations_behind, lacks)
    yield from _of_copy(service)
    if service.answers:
        yield _refused(service.subject, service.config_fault)
        yield from _of_revision(service, newest)


def _of_copy(service: Service) -> Iterator[Reading]:
    """Of what copies days."""
    if service.kind not in COPIES or service.behind_s is None:
        return
    behind, fault = COPIES[service.kind]
    name = service.subject
    late = f"what {name} copies has lacked something for {service.behind_s:,.0f} s"
    yield Reading.of(
        behind, name, service.behind_s, late if service.behind_s else f"{name} has all that there is"
    )
    failing = f"{name} cannot copy: {service.fault}" if service.fault else f"{name} copies"
    yield Reading.of(fault, name, bool(service.fault), failing)


def _refused(name: str, fault: str) -> Reading:
    text = f"{name} refused the configuration: {fault}" if fault else f"{name} refused no configuration"
    return Reading.of("config_refused", name, bool(fault), text)


def _of_revision(service: Service, newest: int | None) -> Iterator[Reading]:
    name = service.subject
    if service.config_revision is not None and newest is not None:
        behind = newest - service.config_revision
        text = (
            f"{name} runs by revision {service.config_revision} of the configuration, {newest} is the newest"
        )
        yield Reading.of("config_behind", name, behind, text)


def _unknown_of_service(service: Service) -> Iterator[tuple[str, str]]:
    """Of one that does not answer nothing new can be told but that it does not."""
    if service.answers is None:
        yield "service_down", service.subject
    told = {
        "service_not_ready": service.ready,
        "clock_offset_s": service.clock_offset_s,
        "replica_rows_behind": service.rows_behind,
        "replica_generations_behind": service.generations_behind,
        "config_refused": service.answers or None,
        "config_behind": service.config_revision,
    }
    if service.kind in COPIES and not service.answers:
        yield from ((signal, service.subject) for signal in COPIES[service.kind])
    yield from ((signal, service.subject) for signal, value in told.items() if value is None)


def _of_intake(intake: Intake) -> Iterator[Reading]:
    queued = f"{intake.queue_bytes:,} bytes of events wait for the indices"
    yield Reading.of("queue_bytes", _INTAKE, intake.queue_bytes, queued)
    for index, rows in intake.index_lag.items():
        yield Reading.of("index_lag_rows", index, rows, f"the index {index} has {rows:,.0f} events to take")
    paused = "nothing is taken in: the disk is too full" if intake.paused else "events are taken in"
    yield Reading.of("intake_paused", _INTAKE, intake.paused, paused)
    for reason, rate in intake.refused_per_minute.items():
        yield Reading.of("refused_per_minute", reason, rate, f"{rate:.1f} a minute are refused: {reason}")
    forged = f"{intake.forged_frames:,} frames within five minutes that no key fits"
    yield Reading.of("forged_frames", _INTAKE, intake.forged_frames, forged)
    copied = f"{intake.copied_frames:,} frames within five minutes of senders that were copied"
    yield Reading.of("copied_sender", _INTAKE, intake.copied_frames, copied)
    for node, count in intake.nonces_repeated.items():
        text = f"the sensor {_named(node)} repeated {count:,.0f} nonces within five minutes"
        yield Reading.of("nonce_repeated", _named(node), count, text)
    for node, count in intake.v1_missing.items():
        text = f"{count:,.0f} frames of the sensor {_named(node)} never came within five minutes"
        yield Reading.of("v1_missing_frames", _named(node), count, text)
    aside = f"{intake.dead_letter_events:,} events and frames were set aside since the ingester started"
    yield Reading.of("dead_letter_events", _INTAKE, intake.dead_letter_events, aside)


def _named(sensor: str) -> str:
    return sensor or "(unnamed)"


def _of_sensor(sensor: Sensor, seen: Observation, silence: Silence) -> Iterator[Reading]:
    silent_s = max((seen.time_ns - sensor.newest_ns) / 1e9 - sensor.deaf_s, 0.0)
    usual = silent_s <= silence.limit_s(sensor.usual_gap_s)
    name = _named(sensor.name)
    text = f"nothing came from the sensor {name} for {silent_s:,.0f} s"
    yield Reading.of("sensor_silent_s", name, 0.0 if usual else silent_s, text)
    off = f"the clock of the sensor {name} is off by {sensor.clock_s:+,.0f} s"
    yield Reading.of("sensor_clock_s", name, abs(sensor.clock_s), off)


def _of_day(day: Day) -> Iterator[Reading]:
    text = f"{day.day}: {day.fault}" if day.fault else f"the events of {day.day} are whole"
    yield Reading.of("day_inconsistent", day.day, bool(day.fault), text)
    for index in day.indices:
        yield from _of_index(f"{day.day}/{index.name}", index)


def _of_index(name: str, index: Index) -> Iterator[Reading]:
    text = f"{name} is {index.state}: {index.why}" if index.state != OK else f"{name} is whole"
    for signal, state in _STATES.items():
        yield Reading.of(signal, name, index.state == state, text)
    if index.distance_cv is not None:
        spread = f"distances of neighbours in {name} vary by {index.distance_cv:.3f}"
        yield Reading.of("distance_cv", name, index.distance_cv, spread)
    if index.recall is not None:
        yield Reading.of("recall", name, index.recall, f"{name} finds {index.recall:.1%} of the true nearest")


def _of_attempts(attempts: Iterable[Attempt]) -> Iterator[Reading]:
    for one in attempts:
        why = f": {one.error}" if one.error else ""
        text = f"{one.op} of {one.subject} did not help {one.failures} times{why}"
        yield Reading.of("repair_failed", one.subject, one.failures, text)


def _of_the_rest(seen: Observation) -> Iterator[Reading]:
    if seen.config_fault or seen.config_revision is not None:
        yield _refused(OWN, seen.config_fault)
    if seen.registry_is_etcd:
        down = seen.registry is not None
        yield Reading.of("etcd_down", "etcd", down, seen.registry or "etcd answers")
    if seen.chain is not None:
        faults = seen.chain.faults
        text = f"the chain is broken: {'; '.join(faults)}" if faults else f"{seen.chain.links} links hold"
        yield Reading.of("chain_broken", "chain", bool(faults), text)
    if seen.days_overdue_s is not None:
        late = f"no look at all days has ended for {seen.days_overdue_s:.0f} s after it was due"
        yield Reading.of(
            "days_unchecked_s",
            "days",
            seen.days_overdue_s,
            late if seen.days_overdue_s else "days are looked at",
        )
    if seen.retention is not None:
        left = seen.retention.days_left
        text = "no day has to go" if left is None else f"in {left:.0f} days the oldest day has to go"
        yield Reading.of("retention_days_left", "days", float("inf") if left is None else left, text)


def _of_certificates(certificates: Iterable[Certificate], now_ns: int) -> Iterator[Reading]:
    for one in certificates:
        days = (one.until_ns - now_ns) / _A_DAY_NS
        text = f"the certificate {one.subject} is good for {days:.1f} days"
        ended = f"the certificate {one.subject} ran out {-days:.1f} days ago"
        yield Reading.of("certificate_days_left", one.subject, days, text if days > 0 else ended)


def _unknown_rest(seen: Observation) -> set[tuple[str, str]]:
    found = set()
    if seen.chain is None:
        found |= _every(("chain_broken",))
    if seen.certificates is None:
        found |= _every(("certificate_days_left",))
    if seen.retention is None:
        found |= _every(("retention_days_left",))
    if seen.days_overdue_s is None:
        found |= _every(("days_unchecked_s",))
    return found
