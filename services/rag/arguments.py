"""Reads the arguments of requests: plain values from outside, checked one by one and refused by name."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from services.common.days.metadata import SOURCES
from services.common.days.names import parse_day
from services.common.errors import UsageError
from services.common.events.known_names import PROTOCOL_NAMES
from services.rag.blocked import Blocked
from services.rag.feedback import FEEDBACK
from services.rag.filters import DAY_NS, DayTime, Filters, Inside, PortRange, ScoreRange
from services.rag.networks import INTERNAL, parse_network, parse_networks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.rag.networks import Network

MAX_VALUES = 256
MAX_TEXT = 256
PROTOCOLS = {name.lower(): number for number, name in PROTOCOL_NAMES.items()}
"""Names of protocols by their IANA numbers."""
SCORES = ("overall", "fast", "ml", "divergence")
INSIDE = ("src_internal", "dst_internal")
DEFAULT_INTERNAL = parse_networks(INTERNAL)
"""The internal networks where none are given."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TECHNIQUE = re.compile(r"[Tt][0-9]{4}(\.[0-9]{3})?")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_MINUTE_NS = 60 * 10**9
MAX_PORT = 65_535
_FIELDS = {"since": "since_ns", "until": "until_ns", "class": "klass"}

Value = TypeVar("Value")


def parse_filters(raw: Mapping[str, Any], internal: tuple[Network, ...] = DEFAULT_INTERNAL) -> Filters:
    """Filters from plain values, as they come in a request; see docs/queries.md for the keys.

    Args:
        raw: the values by key.
        internal: the networks that `src_internal` and `dst_internal` mean.

    Raises:
        UsageError: a key is unknown or a value not allowed; the sentence names it.
    """
    unknown = sorted(set(raw) - FILTER_KEYS, key=str)
    if unknown:
        raise UsageError(
            f"There is no filter {_shown(unknown[0])}; there are: {', '.join(sorted(FILTER_KEYS))}."
        )
    given: dict[str, Any] = {
        _FIELDS.get(key, key): read(key, raw[key]) for key, read in _READERS.items() if key in raw
    }
    given |= {key: Inside(_flag(key, raw[key]), internal) for key in INSIDE if key in raw}
    filters = Filters(scores=_scores(raw), **given)
    if filters.since_ns is not None and filters.until_ns is not None and filters.since_ns >= filters.until_ns:
        raise UsageError("The filter 'since' must lie before 'until'.")
    return filters


def parse_time(key: str, value: object) -> int:
    """A moment in nanoseconds since 1970, from such a number or ISO 8601 (UTC where no offset is given).

    Raises:
        UsageError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None:
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return _limited((aware - _EPOCH) // timedelta(microseconds=1) * 1000)
    raise UsageError(
        f"The filter {key!r} must be a time such as 2026-01-22T14:00:00Z or nanoseconds since 1970, not "
        f"{_shown(value)}."
    )


def _limited(time_ns: int) -> int:
    """What int64 can hold of it: years beyond 2262 are as good as its end."""
    return min(max(time_ns, -(2**63)), 2**63 - 1)


def _shown(value: object) -> str:
    return repr(value)[:80]


def _values(key: str, value: object, read: Callable[[str, object], Value]) -> tuple[Value, ...]:
    """One value or a list of values, each read by `read`."""
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= MAX_VALUES:
        raise UsageError(f"The filter {key!r} must have 1 to {MAX_VALUES} values, not {len(values)}.")
    return tuple(read(key, one) for one in values)


def _day(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"The filter {key!r} must be a day such as 2026-01-22, not {_shown(value)}.")
    return parse_day(value)


def _hours(key: str, value: object) -> DayTime:
    match = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if match:
        start, stop = ((int(match[at]) * 60 + int(match[at + 1])) * _MINUTE_NS for at in (1, 3))
        if start < DAY_NS and stop <= DAY_NS and start != stop:
            return DayTime(start, stop)
    raise UsageError(
        f"The filter {key!r} must be times of the day (UTC) such as 08:00-18:00 or 22:00-06:00, not {_shown(value)}."
    )


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise UsageError(
            f"The filter {key!r} must be a text of at most {MAX_TEXT} characters, not {_shown(value)}."
        )
    return value


def _network(key: str, value: object) -> Network:
    try:
        return parse_network(value if isinstance(value, str) else "")
    except ValueError as error:
        problem = str(error)
    if isinstance(value, str) and problem.startswith("has"):
        raise UsageError(f"The filter {key!r} cannot be {_shown(value)}: it {problem}.")
    raise UsageError(
        f"The filter {key!r} must be an address or a network such as 10.0.0.0/8, not {_shown(value)}."
    )


def _ports(key: str, value: object) -> PortRange:
    match = (
        _PORTS.fullmatch(str(value))
        if isinstance(value, (int, str)) and not isinstance(value, bool)
        else None
    )
    if match is None or max(int(port) for port in match.groups() if port) > MAX_PORT:
        raise UsageError(
            f"The filter {key!r} must be a port up to 65535 or a range such as 1000-2000, not {_shown(value)}."
        )
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise UsageError(f"The filter {key!r} is an impossible range: {low} is above {high}.")
    return PortRange(low, high)


def _protocol(key: str, value: object) -> int:
    if isinstance(value, str) and value.lower() in PROTOCOLS:
        return PROTOCOLS[value.lower()]
    number = _number(value, 255)
    if number is None:
        names = ", ".join(PROTOCOLS)
        raise UsageError(
            f"The filter {key!r} must be a number from 0 to 255 or one of {names}, not {_shown(value)}."
        )
    return number


def _technique(key: str, value: object) -> str:
    if isinstance(value, str) and _TECHNIQUE.fullmatch(value):
        return value.upper()
    raise UsageError(
        f"The filter {key!r} must be the number of an ATT&CK technique such as T1046 or T1021.002, not {_shown(value)}."
    )


def _source(key: str, value: object) -> int:
    if isinstance(value, str) and value.upper() in SOURCES:
        return SOURCES.index(value.upper())
    number = _number(value, 255)
    if number is None:
        raise UsageError(f"The filter {key!r} must be one of {', '.join(SOURCES)}, not {_shown(value)}.")
    return number


def _number(value: object, highest: int) -> int | None:
    """A whole number from 0 to `highest`, also written in digits."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest else None


def _feedback(key: str, value: object) -> str:
    if value not in FEEDBACK:
        raise UsageError(f"The filter {key!r} must be one of {', '.join(FEEDBACK)}, not {_shown(value)}.")
    return str(value)


def _blocked(key: str, value: object) -> str:
    if isinstance(value, bool):
        return Blocked.YES if value else Blocked.NO
    if value not in tuple(Blocked):
        raise UsageError(
            f"The filter {key!r} must be true, false or {Blocked.UNKNOWN.value!r}, not {_shown(value)}."
        )
    return str(value)


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"The filter {key!r} must be true or false, not {_shown(value)}.")
    return value


def _scores(raw: Mapping[str, Any]) -> tuple[ScoreRange, ...]:
    found = []
    for column in SCORES:
        least, most = f"min_{column}", f"max_{column}"
        if least in raw or most in raw:
            low = _score(least, raw[least]) if least in raw else -math.inf
            high = _score(most, raw[most]) if most in raw else math.inf
            if low > high:
                raise UsageError(f"The filter {least!r} ({low:g}) must not be above {most!r} ({high:g}).")
            found.append(ScoreRange(column, low, high))
    return tuple(found)


def _score(key: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise UsageError(f"The filter {key!r} must be a finite number, not {_shown(value)}.")


def _list_of(read: Callable[[str, object], Value]) -> Callable[[str, object], tuple[Value, ...]]:
    return lambda key, value: _values(key, value, read)


_READERS: Mapping[str, Callable[[str, object], Any]] = {
    "since": parse_time,
    "until": parse_time,
    "days": _list_of(_day),
    "hours": _list_of(_hours),
    "src": _list_of(_network),
    "dst": _list_of(_network),
    "host": _list_of(_network),
    "src_port": _list_of(_ports),
    "dst_port": _list_of(_ports),
    "port": _list_of(_ports),
    "protocol": _list_of(_protocol),
    "class": _list_of(_text),
    "category": _list_of(_text),
    "label": _list_of(_text),
    "node": _list_of(_text),
    "tags": _list_of(_text),
    "technique": _list_of(_technique),
    "source": _list_of(_source),
    "fast_triggered": _flag,
    "feedback": _list_of(_feedback),
    "blocked": _list_of(_blocked),
}
FILTER_KEYS = (
    frozenset(_READERS)
    | frozenset(INSIDE)
    | {f"{end}_{column}" for end in ("min", "max") for column in SCORES}
)
