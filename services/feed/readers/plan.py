"""From a row of texts to the fields of an event, by a plan that is made once per header.

Values that are missing (empty, `-`, NaN, Infinity) leave their field unset. A value that does not fit its
field (negative or with a fraction where a count is wanted) leaves it unset as well, and is kept as it was in
`custom_metadata`: nothing is clamped. What is no number at all is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from operator import itemgetter
from typing import Any

from services.common.events.parse import canonical_address
from services.feed.readers import convert
from services.feed.readers.port import LabelMode, ReadOptions, RowRefusedError
from services.feed.readers.table import Column, Kind, matched, tells_the_label

MISSING = frozenset({"", "-", "(empty)"})
LARGEST_NUMBER = 10**300  # leaves room for a scale before a float overflows
LARGEST = {Kind.U32: 2**32 - 1, Kind.U64: 2**64 - 1}
NUMBERS = (Kind.U32, Kind.U64, Kind.F64)
STEP_ORDER = list(Kind)  # a start comes before an end, a protocol before the flags that depend on it
TCP_FLAGS = {"psh": 0x08, "urg": 0x20}
LONGEST_DURATION_US = 315_576_000_000 * 1_000_000  # google.protobuf.Duration, 10,000 years


@dataclass(slots=True)
class Draft:
    """An event in the making: fields of NetworkFeatures, custom_metadata, and what identifies the flow.

    `ids` and `labels` are by the first name that their column has in its table.
    """

    features: dict[str, Any]
    metadata: dict[str, str]
    start_us: int | None = None
    ids: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


Step = Callable[[str, Draft], None]


class NumberGroup:
    """All number columns of one kind, converted in one go where every value is plain."""

    def __init__(self, kind: Kind, columns: Sequence[tuple[int, str, Column]], scale: int) -> None:
        self._kind = kind
        self._columns = columns
        self._scale = scale
        self._fields = [column.fields[0] for _, _, column in columns]
        indices = [index for index, _, _ in columns]
        # itemgetter of one index returns no tuple
        self._pick = itemgetter(*indices) if len(indices) > 1 else lambda row: (row[indices[0]],)
        self._simple = scale == 1 or not any(column.scaled for _, _, column in columns)

    def apply(self, row: Sequence[str], draft: Draft) -> None:
        """Put the group's values of `row` into the draft.

        Raises:
            RowRefusedError: bad_value, for a text that is no number.
        """
        if not (self._simple and self._apply_plain(row, draft)):
            for index, name, column in self._columns:
                self._apply_one(row[index], name, column, draft)

    def _apply_plain(self, row: Sequence[str], draft: Draft) -> bool:
        values: list[int] | list[float]
        try:
            if self._kind is Kind.F64:
                values = list(map(float, self._pick(row)))
                fits = math.isfinite(sum(values))
            else:
                values = list(map(int, self._pick(row)))
                fits = min(values) >= 0 and max(values) <= LARGEST[self._kind]
        except ValueError:
            return False
        if fits:
            draft.features.update(zip(self._fields, values, strict=True))
        return fits

    def _apply_one(self, text: str, name: str, column: Column, draft: Draft) -> None:
        value = number(text, name)
        if value is None:
            return
        if column.scaled:
            value *= self._scale
        if self._kind is not Kind.F64:
            whole = as_count(value, LARGEST[self._kind], rounded=column.scaled)
            if whole is None:
                draft.metadata[name] = text
                return
            value = whole
        draft.features[column.fields[0]] = value


def number(text: str, name: str) -> float | int | None:
    """Return the number `text` names, None where it names none (missing, NaN, infinite).

    Raises:
        RowRefusedError: bad_value, for a text that is no number.
    """
    text = text.strip()
    if text in MISSING:
        return None
    try:
        whole = int(text)
        return whole if abs(whole) < LARGEST_NUMBER else None
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError as error:
        raise RowRefusedError("bad_value", f"column {name!r}: {text[:60]!r} is not a number") from error
    return value if math.isfinite(value) else None


def as_count(value: float, largest: int, *, rounded: bool = False) -> int | None:
    """Return `value` as a whole number between 0 and `largest`, None where it is none."""
    whole = round(value)
    if not rounded and whole != value:
        return None
    return whole if 0 <= whole <= largest else None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one header of a format is read: `scale` brings its scaled columns to their unit."""

    columns: Sequence[Column]
    scale: int = 1


class RowPlan:
    """What to do with each column of one header."""

    def __init__(self, dialect: Dialect, header: Sequence[str], options: ReadOptions) -> None:
        self._options = options
        self._scale = dialect.scale
        placed = list(matched(dialect.columns, header))
        self.fields = {name for _, _, column in placed if column for name in column.fields}
        self._groups = []
        for kind in NUMBERS:
            if of_kind := [(i, n, c) for i, n, c in placed if c is not None and c.kind is kind]:
                self._groups.append(NumberGroup(kind, of_kind, dialect.scale))
        special = [(i, n, c) for i, n, c in placed if c is not None and c.kind not in NUMBERS]
        special.sort(key=lambda place: STEP_ORDER.index(place[2].kind))
        self._steps = [(i, self._step(n, c)) for i, n, c in special]
        self._rest = [(i, n) for i, n, c in placed if c is None and self._is_kept(n)]

    def draft(self, row: Sequence[str]) -> Draft:
        """Convert one row, which is as long as the header.

        Raises:
            RowRefusedError: bad_value, bad_timestamp, bad_source_ip or bad_destination_ip.
        """
        draft = Draft({}, {name: row[i] for i, name in self._rest if row[i] not in MISSING})
        for index, step in self._steps:
            text = row[index].strip()
            if text not in MISSING:
                step(text, draft)
        for group in self._groups:
            group.apply(row, draft)
        return draft

    def _is_kept(self, name: str) -> bool:
        return self._options.labels == LabelMode.CLASSIFICATION or not tells_the_label(name)

    def _step(self, name: str, column: Column) -> Step:
        steps: dict[Kind, Callable[[str, Column], Step]] = {
            Kind.TEXT: _text_step,
            Kind.ADDRESS: _address_step,
            Kind.NUMBER_ADDRESS: _number_address_step,
            Kind.START: self._start_step,
            Kind.END: self._end_step,
            Kind.DURATION: self._duration_step,
            Kind.PROTOCOL: _protocol_step,
            Kind.HISTORY: _history_step,
            Kind.SEEN: _seen_step,
            Kind.FORWARD_FLAGS: _flags_step,
            Kind.BACKWARD_FLAGS: _flags_step,
            Kind.ID: _id_step,
            Kind.LABEL: _label_step,
        }
        return steps[column.kind](name, column)

    def _start_step(self, _name: str, _column: Column) -> Step:
        def step(text: str, draft: Draft) -> None:
            draft.start_us = convert.time_us(text, self._options.timezone)

        return step

    def _end_step(self, _name: str, _column: Column) -> Step:
        def step(text: str, draft: Draft) -> None:
            end_us = convert.time_us(text, self._options.timezone)
            if draft.start_us is not None and end_us >= draft.start_us:
                set_duration(draft, end_us - draft.start_us)

        return step

    def _duration_step(self, name: str, _column: Column) -> Step:
        def step(text: str, draft: Draft) -> None:
            value = number(text, name)
            if value is None:
                return
            micros = as_count(value * self._scale, LONGEST_DURATION_US, rounded=True)
            if micros is None:
                draft.metadata[name] = text
            else:
                set_duration(draft, micros)

        return step


def set_duration(draft: Draft, micros: int) -> None:
    """Set both duration fields."""
    draft.features["flow_duration_microseconds"] = micros
    draft.features["flow_duration"] = convert.duration(micros)


def _address_step(_name: str, column: Column) -> Step:
    target = column.fields[0]

    def step(text: str, draft: Draft) -> None:
        try:
            canonical_address(text)
        except ValueError as error:
            raise RowRefusedError(f"bad_{target}", f"{text[:60]!r} is not an address") from error
        draft.features[target] = text

    return step


def _number_address_step(_name: str, column: Column) -> Step:
    target = column.fields[0]

    def step(text: str, draft: Draft) -> None:
        digits = text.removesuffix(".0")
        address = int(digits) if digits.isascii() and digits.isdigit() else -1
        if not 0 <= address <= LARGEST[Kind.U32]:
            raise RowRefusedError(f"bad_{target}", f"{text[:60]!r} is not an IPv4 address as a number")
        draft.features[target] = str(IPv4Address(address))

    return step


def _text_step(_name: str, column: Column) -> Step:
    target = column.fields[0]

    def step(text: str, draft: Draft) -> None:
        draft.features[target] = text

    return step


def _protocol_step(_name: str, _column: Column) -> Step:
    def step(text: str, draft: Draft) -> None:
        protocol_number, protocol_name = convert.protocol(text)
        draft.features["protocol_name"] = protocol_name
        if protocol_number is not None:
            draft.features["protocol_number"] = protocol_number

    return step


HISTORY_LETTERS = {  # Zeek's conn.log: upper case is the originator; "h" is SYN and ACK, "a" an ACK alone
    "syn_flag_count": "SsHh",
    "ack_flag_count": "AaHh",
    "fin_flag_count": "Ff",
    "rst_flag_count": "Rr",
}


def _history_step(name: str, column: Column) -> Step:
    def step(text: str, draft: Draft) -> None:
        draft.metadata[name] = text
        if draft.features.get("protocol_name") == "TCP":
            for target in column.fields:
                draft.features[target] = sum(map(text.count, HISTORY_LETTERS[target]))

    return step


def _seen_step(_name: str, column: Column) -> Step:
    target = column.fields[0]

    def step(text: str, draft: Draft) -> None:
        if text == "true":
            draft.features[target] = 1

    return step


def _flags_step(name: str, column: Column) -> Step:
    def step(text: str, draft: Draft) -> None:
        draft.metadata[name] = text
        try:
            flags = int(text, 16)
        except ValueError as error:
            raise RowRefusedError(
                "bad_value", f"column {name!r}: {text[:60]!r} is not hexadecimal"
            ) from error
        for target in column.fields:
            draft.features[target] = int(bool(flags & TCP_FLAGS[target.split("_")[1]]))

    return step


def _id_step(name: str, column: Column) -> Step:
    def step(text: str, draft: Draft) -> None:
        draft.ids[column.names[0]] = text
        draft.metadata[name] = text

    return step


def _label_step(_name: str, column: Column) -> Step:
    def step(text: str, draft: Draft) -> None:
        draft.labels[column.names[0]] = text

    return step
