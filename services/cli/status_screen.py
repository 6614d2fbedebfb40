"""The screen of `appia status`: from plain data to lines. Pure; nothing is read here, no clock and no file.

A small stack fits 80 columns and 24 lines. What there is more of is cut with a count of what is left out, the worst
first, so that what matters is on the screen however large the fleet is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.cli.durations import lasting, sized
from services.cli.look import Style, Styled
from services.cli.output import counted, plain
from services.cli.tables import prose_lines, table_lines
from services.health.observation import OK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.cli.fleet import Alert, Fleet
    from services.cli.look import Look
    from services.health.observation import Day, Disk, Intake, Observation, Sensor, Service

MOST_ALERTS, MOST_SERVICES, MOST_SENSORS, MOST_DAYS = 5, 16, 8, 3
MOST_NAME = 32
"""Characters of a sensor's name, which the sensor chose."""
NS = 1_000_000_000
QUIET_TIMES, QUIET_LEAST_S = 10.0, 60.0
"""A sensor stands out when it is quiet for so many of its usual gaps, and for so many seconds at least."""
CLOCK_S = 1.0
DISK_DOUBTFUL, DISK_BAD, FAR_DAYS = 85.0, 92.0, 730
SEVERITIES = {"critical": Style.BAD, "warning": Style.DOUBTFUL}
UNKNOWN = "?"
UNNAMED = "(unnamed)"


def screen_lines(fleet: Fleet, look: Look) -> list[str]:
    """The whole screen; on a terminal every line fits its width."""
    lines: list[str] = []
    for line in _head(fleet):
        lines += _painted(line, look)
    for alert in (fleet.alerts or ())[:MOST_ALERTS]:
        lines += _painted(_alert_line(alert), look)
    lines += _left_out(len(fleet.alerts or ()), MOST_ALERTS, "alert")
    for table in (_services(fleet.seen), _sensors(fleet.seen)):
        if table is not None:
            columns, rows, left_out = table
            lines += ["", *table_lines(columns, [[_safe(cell) for cell in row] for row in rows], look)]
            lines += left_out
    return lines


def _head(fleet: Fleet) -> Iterator[object]:
    seen = fleet.seen
    moment = datetime.fromtimestamp(seen.time_ns // NS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield Styled(f"appia on {fleet.state}, {moment}", Style.HEAD)
    if fleet.health:
        yield Styled(f"health    {fleet.health}", Style.DOUBTFUL)
    yield _intake_line(seen.intake)
    yield from map(_disk_line, seen.disks)
    yield from _day_lines(seen)
    yield _config_line(seen)
    if seen.registry is not None:
        yield Styled(f"registry  {seen.registry}", Style.DOUBTFUL)
    if seen.chain is not None:
        yield from (Styled(f"chain     {fault}", Style.BAD) for fault in seen.chain.faults[:MOST_DAYS])
    yield _alerts_line(fleet)


def _labelled(bad: Style | None, label: str, *parts: str) -> Styled:
    return Styled(f"{label:9} {'; '.join(filter(None, parts))}", bad)


def _intake_line(intake: Intake | None) -> Styled:
    if intake is None:
        return _labelled(Style.BAD, "intake", "unknown: the ingester does not answer")
    rate = "" if intake.accepted_per_s is None else f"{intake.accepted_per_s:,.0f} events/s"
    refused = sum(intake.refused_per_minute.values())
    worst = max(intake.refused_per_minute, key=lambda why: intake.refused_per_minute[why], default="")
    return _labelled(
        Style.BAD if intake.paused else None,
        "intake",
        "PAUSED, the disk is too full" if intake.paused else "",
        rate,
        f"{intake.accepted:,} since {_clock_of(intake.started)}",
        f"{refused:,.0f} refused/min ({worst})" if refused else "none refused",
        f"queue {sized(intake.queue_bytes)}" if intake.queue_bytes else "",
        f"indices {counted(intake.index_lag_rows, 'event')} behind" if intake.index_lag_rows else "",
    )


def _clock_of(started: str) -> str:
    """An ISO time as `2026-11-20 19:20`; what is none, as it is."""
    try:
        return datetime.fromisoformat(started).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return started


def _disk_line(disk: Disk) -> Styled:
    left = disk.days_left
    style = (
        Style.BAD
        if disk.used_percent >= DISK_BAD
        else Style.DOUBTFUL
        if disk.used_percent >= DISK_DOUBTFUL
        else None
    )
    return _labelled(
        style,
        "disk",
        f"{disk.used_percent:.0f} % of {sized(disk.total_bytes)} used, {sized(disk.free_bytes)} free",
        f"{disk.inode_used_percent:.0f} % of its inodes" if disk.inode_used_percent >= DISK_DOUBTFUL else "",
        "" if left is None else f"full in {lasting(left * 86_400)}" if left < FAR_DAYS else "full in years",
        disk.path,
    )


def _day_lines(seen: Observation) -> Iterator[Styled]:
    if seen.days is None:
        return
    sealed = [day for day in seen.days if day.sealed]
    checked = [day for day in sealed if day.checked_ns]
    wrong = [day for day in seen.days if not day.consistent]
    fine = sum(day.consistent for day in checked)
    unchecked, held = len(sealed) - len(checked), sum(day.held for day in seen.days)
    yield _labelled(
        Style.DOUBTFUL if wrong else None,
        "days",
        f"{fine} of {len(checked)} sealed consistent ({100 * fine / len(checked):.1f} %)" if checked else "",
        f"{unchecked} sealed and not checked yet" if unchecked else "" if sealed else "none sealed",
        f"{len(seen.days) - len(sealed)} open",
        f"{counted(held, 'day')} held" if held else "",
        _retention(seen),
    )
    for day in wrong[-MOST_DAYS:]:
        yield Styled(f"          {day.day}: {_wrong(day)}", Style.BAD)
    if len(wrong) > MOST_DAYS:
        yield Styled(
            f"          ... and {counted(len(wrong) - MOST_DAYS, 'day')} more: appia check --all", None
        )


def _wrong(day: Day) -> str:
    faults = [f"{index.name} {index.state}" for index in day.indices if index.state != OK]
    return ", ".join(filter(None, [day.fault, *faults]))


def _retention(seen: Observation) -> str:
    kept = seen.retention
    if kept is None or kept.days_left is None:
        return ""
    return f"the oldest goes in {lasting(kept.days_left * 86_400)}"


def _config_line(seen: Observation) -> Styled:
    if seen.config_revision is None:
        return _labelled(None, "config", "unknown")
    if not seen.config_revision:
        return _labelled(None, "config", "as in the files; nothing is set while running")
    following = [one for one in seen.services if one.config_revision is not None]
    behind = [one.subject for one in following if (one.config_revision or 0) < seen.config_revision]
    refused = [one.subject for one in following if one.config_fault]
    return _labelled(
        Style.BAD if refused else Style.DOUBTFUL if behind else None,
        "config",
        f"revision {seen.config_revision}",
        f"refused by {', '.join(refused[:MOST_DAYS])}" if refused else "",
        f"not yet taken by {', '.join(behind[:MOST_DAYS])}" if behind and not refused else "",
    )


def _alerts_line(fleet: Fleet) -> Styled:
    if fleet.alerts is None:
        return _labelled(None, "alerts", "unknown: health tells them")
    names = ", ".join(fleet.undelivered[:MOST_DAYS])
    failing = f"messages to {names} do not arrive: appia alerts list" if names else ""
    if not fleet.alerts:
        return _labelled(Style.DOUBTFUL if failing else Style.GOOD, "alerts", "none", failing)
    worst = fleet.alerts[0].severity
    return _labelled(SEVERITIES.get(worst), "alerts", f"{len(fleet.alerts)} firing", failing)


def _alert_line(alert: Alert) -> Styled:
    lasted = "" if alert.for_s is None else f" for {lasting(alert.for_s)}"
    well = "" if alert.well_s is None else f"; well for {lasting(alert.well_s)}, and over when that lasts"
    return Styled(
        f"          {alert.severity}{lasted}: {alert.name}: {alert.text}{well}",
        SEVERITIES.get(alert.severity),
    )


Table = tuple["Sequence[str]", "list[list[object]]", "list[str]"]


def _services(seen: Observation) -> Table | None:
    if not seen.services:
        return None
    worst_first = sorted(seen.services, key=lambda one: (_rank(one), one.kind, one.name))
    rows = [_service_row(one) for one in worst_first[:MOST_SERVICES]]
    columns = ["service", "state", ">up", ">behind", ">config", ">memory", ">clock", "!why"]
    return columns, rows, _left_out(len(worst_first), MOST_SERVICES, "service")


def _rank(service: Service) -> int:
    if service.answers is False:
        return 0
    return 1 if service.ready is False or service.config_fault or service.fault else 2


def _service_row(service: Service) -> list[object]:
    offset = service.clock_offset_s
    return [
        service.subject,
        _state(service),
        UNKNOWN if service.uptime_s is None else lasting(service.uptime_s),
        _behind(service),
        "" if service.config_revision is None else f"r{service.config_revision}",
        "" if service.rss_bytes is None else sized(service.rss_bytes),
        ""
        if offset is None
        else Styled(f"{offset:+.3f} s", Style.DOUBTFUL if abs(offset) > CLOCK_S else None),
        "; ".join(filter(None, [service.why, service.config_fault, service.fault, _not_held(service)])),
    ]


def _state(service: Service) -> Styled:
    if service.answers is False:
        return Styled(f"DOWN {lasting(service.down_s)}" if service.down_s else "DOWN", Style.BAD)
    if service.answers is None:
        return Styled("unknown", Style.DOUBTFUL)
    if service.ready is False:
        return Styled("not ready", Style.DOUBTFUL)
    again = f", {counted(service.restarts, 'restart')}" if service.restarts else ""
    return Styled(f"ready{again}", Style.DOUBTFUL if again else Style.GOOD)


def _behind(service: Service) -> object:
    rows, days, seconds = service.rows_behind, service.generations_behind, service.behind_s
    if rows is None and days is None and seconds is None:
        return ""
    if not rows and not days and not seconds:
        return "0"
    parts = [
        f"{rows:,} events" if rows else "",
        counted(days, "day") if days else "",
        lasting(seconds) if seconds else "",
    ]
    return Styled(", ".join(filter(None, parts)), Style.DOUBTFUL)


def _not_held(service: Service) -> str:
    return f"{counted(service.days_not_held, 'day')} not held" if service.days_not_held else ""


def _sensors(seen: Observation) -> Table | None:
    if not seen.sensors:
        return None
    latest_last = sorted(seen.sensors, key=lambda one: (-_silence(one, seen.time_ns), one.name))
    rows = [_sensor_row(one, seen) for one in latest_last[:MOST_SENSORS]]
    columns = ["~sensor", ">newest event", ">usually every", ">events", ">missing", ">clock"]
    return columns, rows, _left_out(len(latest_last), MOST_SENSORS, "sensor")


def _sensor_row(sensor: Sensor, seen: Observation) -> list[object]:
    quiet_s = _quiet_s(sensor, seen.time_ns)
    missing = 0 if seen.intake is None else seen.intake.v1_missing.get(sensor.name, 0)
    silent = _silence(sensor, seen.time_ns) > QUIET_TIMES and quiet_s > QUIET_LEAST_S
    return [
        _short(sensor.name) or UNNAMED,
        Styled(f"{lasting((seen.time_ns - sensor.newest_ns) / NS)} ago", Style.DOUBTFUL if silent else None),
        lasting(sensor.usual_gap_s) if sensor.usual_gap_s else UNKNOWN,
        f"{sensor.events:,}",
        Styled(f"{missing:,.0f}", Style.DOUBTFUL) if missing else "",
        Styled(f"{sensor.clock_s:+.1f} s", Style.DOUBTFUL) if abs(sensor.clock_s) > CLOCK_S else "",
    ]


def _short(name: str) -> str:
    return name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…"


def _silence(sensor: Sensor, now_ns: int) -> float:
    """For how many of its usual gaps a sensor is quiet."""
    return _quiet_s(sensor, now_ns) / sensor.usual_gap_s if sensor.usual_gap_s else 0.0


def _quiet_s(sensor: Sensor, now_ns: int) -> float:
    """How long nothing came of a sensor while there was an ingester to hear it."""
    return max((now_ns - sensor.newest_ns) / NS - sensor.deaf_s, 0.0)


def _left_out(number: int, shown: int, thing: str) -> list[str]:
    return [f"... and {counted(number - shown, thing)} more: --json has all"] if number > shown else []


def _painted(line: object, look: Look) -> list[str]:
    style = line.style if isinstance(line, Styled) else None
    return [look.paint(part, style) for part in prose_lines(plain(line), look.width)]


def _safe(cell: object) -> Styled:
    return Styled(plain(cell), cell.style if isinstance(cell, Styled) else None)
