"""What the ingester tells of each sensor: only of those that run, and never of more than a bounded number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.ingester.sensors import LIVE_S, NAME_CHARS, SensorsSeen

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_S = 1_800_000_000
NOW = NOW_S * 1_000_000_000


def test_the_newest_event_and_the_clock_of_a_sensor_are_known() -> None:
    """The time it came in is the receiver's; the sensor's clock is told against it."""
    sensors = SensorsSeen()
    sensors.note([("one", NOW_S - 3), ("two", NOW_S + 40)], NOW, backfill=False)
    sensors.note([("one", NOW_S - 1)], NOW + 5_000_000_000, backfill=False)
    assert sensors.as_dict() == {
        "one": {"events": 2, "newest_ns": NOW + 5_000_000_000, "clock_s": -6},
        "two": {"events": 1, "newest_ns": NOW, "clock_s": 40},
    }


def test_the_past_that_is_fed_is_no_sensor() -> None:
    """A file of last year makes no sensor that then falls silent; what comes as it happens does, by the same way."""
    sensors = SensorsSeen()
    sensors.note([("old", NOW_S - LIVE_S - 1), ("live", NOW_S - LIVE_S)], NOW, backfill=True)
    assert list(sensors.as_dict()) == ["live"]
    sensors.note([("slow clock", NOW_S - 3 * LIVE_S)], NOW, backfill=False)
    assert sensors.as_dict()["slow clock"]["clock_s"] == -3 * LIVE_S


def test_names_are_bounded_in_length_and_number() -> None:
    """Whoever may send can name any number of sensors: the longest silent one goes."""
    sensors = SensorsSeen(most=2)
    for number, name in enumerate(("a", "b", "a", "x" * 500)):
        sensors.note([(name, NOW_S)], NOW + number, backfill=False)
    assert list(sensors.as_dict()) == ["a", "x" * NAME_CHARS]


def test_events_that_are_taken_in_are_told_by_sensor(
    start: Callable[[], Any], make_event: Callable[..., bytes], clock: Any
) -> None:
    """The intake counts what it takes, and nothing that it refuses."""
    opened = start()
    payload = make_event("e-1", int(clock.seconds))
    opened.add([payload, payload, b"\xff"])
    told = opened.intake.sensors.as_dict()
    assert told == {"node-a": {"events": 1, "newest_ns": clock.ns(), "clock_s": 0}}


def test_a_recording_that_is_sent_again_brings_no_sensor_to_life(
    start: Callable[[], Any], make_event: Callable[..., bytes], clock: Any
) -> None:
    """Frames of version 1 are known for a day only: who recorded them could hide that their sensor is silent."""
    opened = start()
    payload = make_event("e-1", int(clock.seconds))
    opened.add([payload])
    before = opened.intake.sensors.as_dict()
    clock.seconds += 3600
    opened.add([payload])
    assert opened.intake.sensors.as_dict() == before
