"""What health saw, brought up to the moment: what services say now over what health knows of them. Pure.

Health looks each ten seconds and knows what one look cannot tell: how disks grow, how far replicas are behind, who was
started again, which days are damaged. What changes within seconds is asked anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.health.observation import Day, Disk, Intake, Observation, Sensor, Service


def merged(watched: Observation, asked: Observation) -> Observation:
    """The observation of health, with services, intake, disks and sensors as they are now."""
    return replace(
        watched,
        time_ns=asked.time_ns,
        services=_services(watched.services, asked.services),
        registry=asked.registry,
        intake=_intake(watched.intake, asked.intake),
        disks=_disks(watched.disks, asked.disks),
        sensors=_sensors(watched.sensors, asked.sensors),
        days=_days(watched.days, asked.days),
        config_revision=asked.config_revision if watched.config_revision is None else watched.config_revision,
    )


def _services(watched: Sequence[Service], asked: Sequence[Service]) -> tuple[Service, ...]:
    known = {one.subject: one for one in watched}
    now = {one.subject: _service(known.get(one.subject), one) for one in asked}
    return tuple(one for _, one in sorted({**known, **now}.items()))


def _service(known: Service | None, now: Service) -> Service:
    if known is None:
        return now
    return replace(
        now,
        down_s=0.0 if now.answers else max(known.down_s, now.down_s),
        restarts=known.restarts,
        rows_behind=known.rows_behind,
        generations_behind=known.generations_behind,
    )


def _intake(watched: Intake | None, asked: Intake | None) -> Intake | None:
    """Rates of refusals and what is counted over minutes is health's; the rest is of now."""
    if watched is None or asked is None:
        return asked
    rate = watched.accepted_per_s if asked.accepted_per_s is None else asked.accepted_per_s
    return replace(
        watched,
        started=asked.started,
        accepted=asked.accepted,
        accepted_per_s=rate,
        index_lag=asked.index_lag,
        queue_bytes=asked.queue_bytes,
        paused=asked.paused,
    )


def _disks(watched: Sequence[Disk], asked: Sequence[Disk]) -> tuple[Disk, ...]:
    now = {one.path: one for one in asked}
    return tuple(
        replace(now[one.path], grows_bytes_per_s=one.grows_bytes_per_s, days_left=one.days_left)
        if one.path in now
        else one
        for one in watched
    )


def _days(watched: Sequence[Day] | None, asked: Sequence[Day] | None) -> tuple[Day, ...] | None:
    """The days that are there now; what health found, where it looked at them as they are."""
    if asked is None:
        return None if watched is None else tuple(watched)
    known = {(one.day, one.sealed): one for one in watched or ()}
    return tuple(known.get((one.day, one.sealed), one) for one in asked)


def _sensors(watched: Sequence[Sensor] | None, asked: Sequence[Sensor] | None) -> tuple[Sensor, ...] | None:
    """Those that health knows, also from before the ingester started, as far as they were heard since."""
    if watched is None:
        return None if asked is None else tuple(asked)
    known = {one.name: one for one in watched}
    for one in asked or ():
        before = known.get(one.name)
        if before is None:
            known[one.name] = one
        elif one.newest_ns > before.newest_ns:
            known[one.name] = replace(one, usual_gap_s=before.usual_gap_s)
    return tuple(one for _, one in sorted(known.items()))
