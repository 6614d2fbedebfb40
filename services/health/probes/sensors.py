"""Which sensors send, and what silence is usual for each of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.health.memory import KnownSensor
from services.health.observation import Sensor
from services.health.probes.said import count, number

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 1024
GAP_DAYS = 7
FORGET_NS = 30 * 86_400_000_000_000
"""A sensor that was silent for thirty days is forgotten: it was taken out, and its alert was seen."""
_AHEAD_NS = 60_000_000_000
"""The ingester tells a moment after health looked at the clock."""
_DAY_NS = 86_400_000_000_000
_NS = 1e9


def without_forgotten(
    told: Mapping[str, Mapping[str, Any]], forgotten: dict[str, int]
) -> dict[str, Mapping[str, Any]]:
    """What was told without the sensors that an operator had forgotten and that did not send since.

    Those that sent, and those that the ingester does not know any more, are no longer in `forgotten` then.
    """
    for name in [name for name, newest_ns in forgotten.items() if _sent(told.get(name), newest_ns)]:
        del forgotten[name]
    return {name: seen for name, seen in told.items() if name not in forgotten}


def _sent(seen: Mapping[str, Any] | None, newest_ns: int) -> bool:
    return seen is None or int(count(seen["newest_ns"])) > newest_ns


def take_sensors(
    known: dict[str, KnownSensor], told: Mapping[str, Mapping[str, Any]], now_ns: int, deaf_s: float
) -> None:
    """Take in what the ingester's status tells. For `deaf_s` seconds since the last time no ingester was there.

    No sensor is silent for that, and it is no gap that is usual: what came meanwhile nobody could hear.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is no status of this release.
    """
    for sensor in known.values():
        sensor.deaf_s += deaf_s
        _not_after(sensor, now_ns)
    for name, seen in told.items():
        sensor = known.setdefault(str(name), KnownSensor())
        newest_ns = _heard_ns(int(count(seen["newest_ns"])), sensor.newest_ns, now_ns)
        if newest_ns > sensor.newest_ns:
            if sensor.newest_ns:
                heard_s = (newest_ns - sensor.newest_ns) / _NS - sensor.deaf_s
                _note_gap(sensor, heard_s, newest_ns // _DAY_NS)
            sensor.newest_ns, sensor.deaf_s = newest_ns, 0.0
        sensor.events, sensor.clock_s = int(count(seen["events"])), _clock_s(seen["clock_s"])
    for name in [name for name, sensor in known.items() if now_ns - sensor.newest_ns > FORGET_NS]:
        del known[name]
    over = len(known) - MOST
    for name in sorted(known, key=lambda name: _worth(known[name]))[: max(over, 0)]:
        del known[name]


def sensors_seen(known: Mapping[str, KnownSensor]) -> tuple[Sensor, ...]:
    """All that are known, those first that are known from the most days, then by name."""
    return tuple(
        Sensor(name, sensor.events, sensor.newest_ns, usual_gap_s(sensor), sensor.deaf_s, sensor.clock_s)
        for name, sensor in sorted(known.items(), key=lambda item: (-len(item[1].gaps), item[0]))
    )


def usual_gap_s(sensor: KnownSensor) -> float:
    """The second longest of the longest silences of the last days: what happened on one day only is not usual."""
    gaps = sorted((seconds for _, seconds in sensor.gaps), reverse=True)
    return gaps[1] if len(gaps) > 1 else 0.0


def deaf_s(before_ns: int, started: str) -> float:
    """How long there was no ingester between the last look at one and the start (ISO 8601) of the one after it."""
    try:
        started_ns = datetime.fromisoformat(started).timestamp() * _NS
    except ValueError:
        return 0.0
    return max(started_ns - before_ns, 0.0) / _NS


def _heard_ns(told_ns: int, known_ns: int, now_ns: int) -> int:
    """When a sensor was heard last. What is told of the future was heard while the clock was ahead: nobody knows when.

    It counts once, as heard now, and not again in each round: a sensor that died meanwhile is silent from here on.
    """
    if told_ns <= now_ns + _AHEAD_NS:
        return min(told_ns, now_ns)
    return known_ns or now_ns


def _not_after(sensor: KnownSensor, now_ns: int) -> None:
    """Know nothing of the future: a clock was wrong, and nobody must count as heard until it comes."""
    sensor.newest_ns = min(sensor.newest_ns, now_ns)
    sensor.gaps = [gap for gap in sensor.gaps if gap[0] <= now_ns // _DAY_NS]


def _clock_s(value: Any) -> float:
    found = number(value)
    if found is None:
        raise ValueError(f"{value!r:.80} is no number of seconds")
    return found


def _worth(sensor: KnownSensor) -> tuple[int, int]:
    """Which sensor goes last where there are too many: names that somebody invents crowd out none known for days."""
    return len(sensor.gaps), sensor.newest_ns


def _note_gap(sensor: KnownSensor, seconds: float, day: int) -> None:
    gaps = dict(sensor.gaps)
    gaps[day] = max(gaps.get(day, 0.0), seconds)
    sensor.gaps = sorted(gaps.items())[-GAP_DAYS:]
