"""Times, durations and protocols as the formats spell them."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from services.feed.readers import convert
from services.feed.readers.port import RowRefusedError

NOON = int(dt.datetime(2026, 3, 2, 12, 0, tzinfo=dt.UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-03-02 12:00:00", NOON),
        ("2026-03-02T12:00:00Z", NOON),
        ("2026-03-02 12:00:00.5", NOON + 500_000),
        ("2026-03-02 12:00:00.123456789", NOON + 123_456),
        ("2026-03-02T13:00:00.000001+0100", NOON + 1),
        ("2026/03/02 12:00:00", NOON),
        ("02/03/2026 12:00:00 PM", NOON),
        ("02/03/2026 12:00:00 AM", NOON - 12 * 3_600_000_000),
        ("2/3/2026 12:00", NOON),
        ("02/03/2026 01:30:15.25 PM", NOON + (90 * 60 + 15) * 1_000_000 + 250_000),
        ("1772452800", NOON),
        ("1772452800.000007", NOON + 7),
    ],
)
def test_a_time_is_understood_to_the_microsecond(text: str, microseconds: int) -> None:
    assert convert.time_us(text, dt.UTC) == microseconds


@pytest.mark.parametrize(
    "text", ["", "noon", "32/01/2026 10:00", "02/03/2026 13:00:00 PM", "2026-13-01", "12:00", "1e9"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RowRefusedError) as refused:
        convert.time_us(text, dt.UTC)
    assert refused.value.reason == "bad_timestamp"


def test_a_zone_moves_only_times_without_an_offset() -> None:
    halifax = ZoneInfo("America/Halifax")
    assert convert.time_us("2026-03-02 08:00:00", halifax) == NOON
    assert convert.time_us("2026-03-02 12:00:00+00:00", halifax) == NOON
    assert convert.time_us("1772452800", halifax) == NOON


def test_a_time_at_the_edge_of_the_calendar_is_refused_and_does_not_fail() -> None:
    with pytest.raises(RowRefusedError):
        convert.time_us("0001-01-01 00:00:00+23:59", dt.UTC)


def test_times_before_1970_keep_their_fraction_positive() -> None:
    stamp = convert.timestamp(-1)
    assert (stamp.seconds, stamp.nanos) == (-1, 999_999_000)


@pytest.mark.parametrize(
    ("text", "number", "name"),
    [
        ("6", 6, "TCP"),
        ("17.0", 17, "UDP"),
        ("tcp", 6, "TCP"),
        ("IPv6-ICMP", 58, "IPV6-ICMP"),
        ("253", 253, "253"),
        ("unknown_transport", None, "UNKNOWN_TRANSPORT"),
    ],
)
def test_a_protocol_is_known_by_number_and_by_name(text: str, number: int | None, name: str) -> None:
    assert convert.protocol(text) == (number, name)


def test_a_protocol_number_beyond_a_byte_is_refused() -> None:
    with pytest.raises(RowRefusedError, match="256"):
        convert.protocol("256")


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.5+0000",
        "2016-12-31 23:59:60,75",
        "31/12/2016 11:59:60 PM",
        "2017-01-01T05:29:60+05:30",
    ],
)
def test_a_leap_second_is_the_end_of_its_day(text: str) -> None:
    """Seconds since the epoch leave it out; the event stays in the UTC day that it is of, whatever its fraction."""
    assert convert.time_us(text, dt.UTC) == 1_483_228_800 * 1_000_000 - 1


@pytest.mark.parametrize("text", ["2016-12-31T22:59:60Z", "2016-12-31T23:59:61Z", "2016-12-31T23:60:00Z"])
def test_only_the_end_of_a_day_has_a_leap_second(text: str) -> None:
    with pytest.raises(RowRefusedError, match="is not a time"):
        convert.time_us(text, dt.UTC)
