"""The numbers of a batch of events as one matrix, in the order of the registry (docs/features.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError, Message

from services.common.events import layout
from services.common.events.feature_list import FEATURES, SCHEMA_HASH, SCHEMA_VERSION, Feature
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.scan import Scan, scan
from services.common.events.table import LARGEST_FLOAT32, SENTINEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["FEATURES", "SCHEMA_HASH", "SCHEMA_VERSION", "Feature", "FeatureMatrix", "column_of", "extract"]

# Limits of what is read in one go: memory is about twice the bytes of a block plus 3 KiB per event.
BLOCK_EVENTS = 2048
BLOCK_BYTES = 8 * 1024 * 1024

_COLUMNS = {feature.path: column for column, feature in enumerate(FEATURES)}
_MICROSECONDS = _COLUMNS["network_features.flow_duration_microseconds"]
# Per context, the columns read there and the names of their fields.
_FIELDS = tuple(
    tuple(
        (column, path.rpartition(".")[2])
        for column, path in enumerate((*_COLUMNS, *layout.HELPERS))
        if layout.parent_of(path) == context
    )
    for context in layout.CONTEXTS
)


@dataclass(frozen=True)
class FeatureMatrix:
    """n events, d = len(FEATURES) numbers each.

    A number is missing where the message that holds it is absent, or where it is NaN, infinite or -9999. A
    zero inside a message that is there is a zero: the wire format of proto3 does not send it.
    """

    values: NDArray[np.float32]  # (n, d), 0 where missing
    present: NDArray[np.bool_]  # (n, d)


def column_of(path: str) -> int:
    """Column of a feature. Raises `KeyError` where the registry has no such path."""
    return _COLUMNS[path]


def extract(payloads: Sequence[bytes]) -> FeatureMatrix:
    """Read the features of n serialized events that `parse_event` accepted.

    Numbers become float32; what is beyond its range is clipped to its largest value. Raises `ValueError`
    where bytes are no event; damaged bytes that were never parsed may also give some numbers instead.
    """
    values = np.zeros((len(payloads), layout.WIDTH), np.float32)
    present = np.zeros((len(payloads), layout.WIDTH), np.bool_)
    for first, last in _blocks(payloads):
        found = scan(payloads[first:last])
        _fill(found, values[first:last], present[first:last])
        for row in (np.flatnonzero(found.odd) + first).tolist():
            cells = slice(row, row + 1)
            values[cells] = 0
            _fill(_read_one(payloads[row]), values[cells], present[cells])
    return FeatureMatrix(values, present)


def _blocks(payloads: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    first = size = 0
    for row, payload in enumerate(payloads):
        if row > first and (row - first == BLOCK_EVENTS or size + len(payload) > BLOCK_BYTES):
            yield first, row
            first, size = row, 0
        size += len(payload)
    if payloads:
        yield first, len(payloads)


def _clean(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    there = np.isfinite(numbers) & (numbers != SENTINEL)
    numbers = np.where(there, numbers, 0.0)
    return np.clip(numbers, -LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32), there


def _fill(found: Scan, values: NDArray[np.float32], present: NDArray[np.bool_]) -> None:
    present[:] = found.seen[:, layout.CONTEXT_OF_COLUMN]
    present[:, layout.EXPLICIT] = False
    feature = np.flatnonzero(found.columns < layout.WIDTH)
    rows, columns, numbers = found.rows[feature], found.columns[feature], found.numbers[feature]
    # numpy assigns in order, so where a cell is named twice the last number stays.
    values[rows, columns], present[rows, columns] = _clean(numbers)
    if feature.size < found.columns.size:
        _fill_duration(found, values, present)


def _fill_duration(found: Scan, values: NDArray[np.float32], present: NDArray[np.bool_]) -> None:
    """Use flow_duration where flow_duration_microseconds is 0."""
    parts = np.zeros((len(values), 2))
    helper = np.flatnonzero(found.columns >= layout.WIDTH)
    parts[found.rows[helper], found.columns[helper] - layout.WIDTH] = found.numbers[helper]
    rows = np.flatnonzero((values[:, _MICROSECONDS] == 0) & parts.any(axis=1))
    values[rows, _MICROSECONDS], present[rows, _MICROSECONDS] = _clean(
        parts[rows, 0] * 1e6 + parts[rows, 1] / 1e3
    )


def _read_one(payload: bytes) -> Scan:
    """Do what `scan` does, for one event of any shape, through the protobuf library."""
    try:
        event = NetworkSecurityEvent.FromString(payload)
    except DecodeError as error:
        raise ValueError(f"{len(payload)} bytes are not a NetworkSecurityEvent ({error})") from None
    seen = np.zeros((1, len(layout.CONTEXTS)), np.bool_)
    columns: list[int] = []
    numbers: list[float] = []
    for context, path in enumerate(layout.CONTEXTS):
        message = _message_at(event, path)
        if message is None:
            continue
        seen[0, context] = True
        for column, name in _FIELDS[context]:
            if column >= layout.WIDTH or not layout.EXPLICIT[column] or message.HasField(name):
                columns.append(column)
                numbers.append(float(getattr(message, name)))
    rows = np.zeros(len(columns), np.intp)
    return Scan(rows, np.array(columns, np.intp), np.array(numbers), seen, np.zeros(1, np.bool_))


def _message_at(event: NetworkSecurityEvent, path: str) -> Message | None:
    message: Message = event
    for name in path.split(".") if path else ():
        if not message.HasField(name):
            return None
        message = getattr(message, name)
    return message
