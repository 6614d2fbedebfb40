"""CSV that firewall agents write: one decision about one address a line, whatever they call their columns."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from services.common.decisions.decision import time_ns_of
from services.common.events.network_security_pb2 import Detection, DetectionType
from services.common.events.parse import canonical_address
from services.feed.readers.convert import time_us
from services.feed.readers.events import numbered_lines, read_parts
from services.feed.readers.port import Item, ReadOptions, Refusal, RowRefusedError, Skipped, SourceBrokenError
from services.feed.readers.table import plain

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence

    from services.feed.readers.sources import Part

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": (
        *("timestamp", "time", "timestamp_ms", "timestamp_us", "timestamp_ns", "ts", "datetime", "date"),
        *("epoch", "blocked_at", "event_time"),
    ),
    "address": (
        *("src_ip", "source_ip", "ip", "src", "source", "address", "ip_address", "attacker_ip"),
        *("blocked_ip", "src_addr", "source_address", "sourceip"),
    ),
    "kind": (
        *("threat_type", "threat", "type", "attack_type", "detection_type", "category", "classification"),
        "kind",
    ),
    "confidence": ("confidence", "score", "threat_score", "probability"),
    "action": ("action", "decision", "verdict", "firewall_action"),
    "duration": (
        *("duration_seconds", "duration", "duration_s", "timeout", "ttl", "block_duration", "ban_time"),
        "block_seconds",
    ),
    "reason": ("description", "reason", "rule", "rule_name", "rule_id", "message", "comment"),
}
"""What is read of a line, and the names it may have in the header, as `plain` gives them; the first that is there."""
NEEDED = ("time", "address", "action")
"""Without an action nothing says what the firewall did; and records of flows, which have none, are no decisions."""
KINDS: Mapping[str, int] = {
    "ddos": DetectionType.DETECTION_DDOS,
    "dos": DetectionType.DETECTION_DDOS,
    "ransomware": DetectionType.DETECTION_RANSOMWARE,
    "suspicious": DetectionType.DETECTION_SUSPICIOUS_TRAFFIC,
    "suspicious_traffic": DetectionType.DETECTION_SUSPICIOUS_TRAFFIC,
    "internal": DetectionType.DETECTION_INTERNAL_THREAT,
    "internal_threat": DetectionType.DETECTION_INTERNAL_THREAT,
    "insider": DetectionType.DETECTION_INTERNAL_THREAT,
}
FOREVER_S = 366 * 86_400
"""What stands for a block that is never to end: a year; it begins again when the agent says so again."""
_FOREVER = frozenset({"permanent", "forever", "never", "infinite", "-1"})
_DURATION = re.compile(r"(\d{1,10})(?:\.\d+)?\s*(ms|s|sec|m|min|h|d)?", re.IGNORECASE)
_UNITS_MS = {"ms": 1, "s": 1000, "sec": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_DIGITS = re.compile(r"\d{9,19}")
_LONGEST_S = 2**32 - 1


class FirewallCsvReader:
    """Reads decisions; the header of each file names its columns, in any order and with others between them."""

    name = "firewall-csv"

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader."""
        return read_parts(source, options, lambda part: self._read_part(part, options))

    def _read_part(self, part: Part, options: ReadOptions) -> Iterator[Item]:
        table: _Table | None = None
        for line in numbered_lines(part):
            if not isinstance(line, tuple):
                yield line
                continue
            number, text = line
            if table is None:
                table = _Table(number, text, options.timezone)
                continue
            try:
                yield table.decision(text)
            except RowRefusedError as error:
                yield Refusal(part.name, number, error.reason, error.detail)


class _Table:
    def __init__(self, number: int, header: str, zone: dt.tzinfo) -> None:
        self._header = header
        self._zone = zone
        self._delimiter = max(",;\t|", key=header.count)
        names = [plain(cell) for cell in self._cells(header)]
        self._width = len(names)
        found = {
            what: [names.index(name) for name in known if name in names] for what, known in COLUMNS.items()
        }
        self._places = {what: places[0] for what, places in found.items() if places}
        if not self._places:
            raise SourceBrokenError(
                "wrong_format", f"the first line names no column of decisions: {header[:60]!r}", number
            )
        missing = [what for what in NEEDED if what not in self._places]
        if missing:
            raise SourceBrokenError(
                "column_missing", f"there is no column with the {' nor with the '.join(missing)}", number
            )

    def decision(self, text: str) -> Detection | Skipped:
        cells = self._cells(text)
        if text == self._header:
            return Skipped("repeated_header")
        if not any(cells):
            return Skipped("empty_row")
        if len(cells) != self._width:
            raise RowRefusedError(
                "wrong_column_count", f"{len(cells)} columns where the header has {self._width}"
            )
        kind, reason = self._cell(cells, "kind"), self._cell(cells, "reason")
        number = _kind(kind)
        return Detection(
            src_ip=_address(self._cell(cells, "address")),
            type=DetectionType.Name(number),
            timestamp=_time_ns(self._cell(cells, "time"), self._zone),
            confidence=_confidence(self._cell(cells, "confidence")),
            action=self._cell(cells, "action"),
            duration_seconds=_seconds(self._cell(cells, "duration")),
            description=reason if number or not kind else ": ".join(filter(None, (kind, reason))),
        )

    def _cell(self, cells: Sequence[str], what: str) -> str:
        at = self._places.get(what)
        text = "" if at is None else cells[at].strip()
        return "" if text in {"-", "NULL", "null", "None", "N/A"} else text

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=self._delimiter))
        except csv.Error as error:
            raise RowRefusedError("bad_csv", str(error)) from error


def _address(text: str) -> str:
    if not text:
        raise RowRefusedError("no_source_ip", "the row has no address")
    try:
        return canonical_address(text)
    except ValueError:
        raise RowRefusedError("bad_source_ip", f"{text[:60]!r} is not an IPv4 or IPv6 address") from None


def _time_ns(text: str, zone: dt.tzinfo) -> int:
    if not text:
        raise RowRefusedError("no_timestamp", "the row has no time")
    if _DIGITS.fullmatch(text):
        return time_ns_of(int(text))
    found = time_us(text, zone) * 1000
    if found <= 0:
        raise RowRefusedError("bad_timestamp", f"{text[:60]!r} is before 1970")
    return found


def _kind(text: str) -> int:
    """The type that a word or number names; UNKNOWN where it names none, and its word becomes part of the reason."""
    name = plain(text).removeprefix("detection_")
    if name in KINDS:
        return KINDS[name]
    return int(name) if name in {"1", "2", "3", "4"} else DetectionType.DETECTION_UNKNOWN


def _confidence(text: str) -> float:
    """0 to 1, also from per cent; 0 where there is none."""
    if not text:
        return 0.0
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if text.endswith("%") or 1 < number <= 100:
        number /= 100
    if not 0 <= number <= 1:
        raise RowRefusedError("bad_value", f"{text[:60]!r} is no confidence from 0 to 1 or in per cent")
    return number


def _seconds(text: str) -> int:
    """A duration in whole seconds, rounded up; 0 where there is none."""
    if not text:
        return 0
    if text.casefold() in _FOREVER:
        return FOREVER_S
    match = _DURATION.fullmatch(text)
    if match is None:
        raise RowRefusedError(
            "bad_value", f"{text[:60]!r} is no duration in seconds, nor such as 90s, 15m or 1h"
        )
    found = -(-int(match[1]) * _UNITS_MS[(match[2] or "s").lower()] // 1000)
    return min(found, _LONGEST_S)
