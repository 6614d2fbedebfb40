"""Text to time, address and protocol: the conversions that every format shares."""

from __future__ import annotations

import datetime as dt
import re

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.events.parse import EARLIEST_SECOND, LATEST_SECOND
from services.feed.readers.port import RowRefusedError

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECONDS = 1_000_000

DAY_FIRST = re.compile(
    r"(?P<day>\d{1,2})[/.](?P<month>\d{1,2})[/.](?P<year>\d{4})"
    r"[ T](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
LEAP_SECOND = re.compile(r"(?<=:[0-5]\d):60(?:[.,]\d*)?")
SECONDS = re.compile(r"(\d{1,11})(?:\.(\d*))?")

# IANA, Assigned Internet Protocol Numbers: those that the flow meters of these formats name.
PROTOCOL_NAMES = {
    0: "HOPOPT",
    1: "ICMP",
    2: "IGMP",
    6: "TCP",
    17: "UDP",
    41: "IPV6",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "IPV6-ICMP",
    89: "OSPF",
    132: "SCTP",
}
PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOL_NAMES.items()} | {"ICMP6": 58, "ICMPV6": 58}


def time_us(text: str, zone: dt.tzinfo) -> int:
    """Return the microseconds since the epoch (UTC) that `text` names; a finer fraction is cut off.

    Understood are ISO 8601 (with a space or a T, with or without fraction and offset, also with slashes),
    day/month/year with 12 or 24 hours, and seconds since the epoch. `zone` is that of a time without offset. A leap
    second, which seconds since the epoch do not have, is the last microsecond before it: of the same UTC day.

    Raises:
        RowRefusedError: bad_timestamp.
    """
    if since_1970 := SECONDS.fullmatch(text):
        seconds, micros = int(since_1970[1]), _micros(since_1970[2])
    else:
        since = _moment(text, zone) - EPOCH
        seconds, micros = since.days * 86400 + since.seconds, since.microseconds
    if not EARLIEST_SECOND <= seconds <= LATEST_SECOND:
        raise RowRefusedError("bad_timestamp", f"{text!r} is outside the years 1678 to 2261")
    return seconds * MICROSECONDS + micros


def _moment(text: str, zone: dt.tzinfo) -> dt.datetime:
    before, leaps = LEAP_SECOND.subn(":59.999999", text, count=1)
    moment = _plain_moment(before, zone)
    utc = moment.astimezone(dt.UTC) if leaps else None
    if utc is not None and (utc.hour, utc.minute) != (23, 59):
        raise RowRefusedError("bad_timestamp", f"{text[:60]!r} is not a time: only 23:59 UTC has a second 60")
    return moment


def _plain_moment(text: str, zone: dt.tzinfo) -> dt.datetime:
    try:
        if day_first := DAY_FIRST.fullmatch(text):
            moment = _day_first(day_first)
        else:
            moment = dt.datetime.fromisoformat(text.replace("/", "-"))
    except ValueError as error:
        raise RowRefusedError("bad_timestamp", f"{text[:60]!r} is not a time") from error
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _day_first(match: re.Match[str]) -> dt.datetime:
    year, month, day, hour, minute = (int(match[p]) for p in ("year", "month", "day", "hour", "minute"))
    if half := match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        hour = hour % 12 + (12 if half in "pP" else 0)
    return dt.datetime(  # noqa: DTZ001 - the caller knows the zone
        year, month, day, hour, minute, int(match["second"] or 0), _micros(match["fraction"])
    )


def _micros(fraction: str | None) -> int:
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


def timestamp(us: int) -> Timestamp:
    """Return microseconds since the epoch as a Timestamp."""
    seconds, micros = divmod(us, MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def duration(us: int) -> Duration:
    """Return microseconds (not negative) as a Duration."""
    seconds, micros = divmod(us, MICROSECONDS)
    return Duration(seconds=seconds, nanos=micros * 1000)


def protocol(text: str) -> tuple[int | None, str]:
    """Return (number, upper-case name) of a protocol given as a number or a name; None where unknown.

    Raises:
        RowRefusedError: bad_value, for a number that is none of a protocol.
    """
    digits = text.removesuffix(".0")
    if not digits.isascii() or not digits.isdigit():
        name = text.upper()
        return PROTOCOL_NUMBERS.get(name), name
    number = int(digits)
    if number > 255:
        raise RowRefusedError("bad_value", f"{text!r} is not the number of a protocol")
    return number, PROTOCOL_NAMES.get(number, str(number))
