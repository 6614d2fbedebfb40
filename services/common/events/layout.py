"""Where the features lie in the wire format of an event, as lookup tables for `scan`.

Protobuf encoding: https://protobuf.dev/programming-guides/encoding/. The tables are made from the contract's
descriptor, so a new field of the contract needs no change here.

A *context* is a message at one place of the event: the event itself (0), its network_features, and so on.
Each (context, first two bytes of a field) has one entry, a 32-bit number:

    bits 0-1    bytes of the tag; the entry is 0 where two bytes do not tell: long tags, groups, invalid tags
    bits 2-5    bytes of a fixed-width value (4 or 8), else 0
    bit  6      a varint follows (a number, or the length of what is length-delimited)
    bit  7      length-delimited
    bits 8-11   `Kind` of the number, 0 where the field is none of the features
    bits 12-15  context to descend into, 0 where the field is skipped
    bits 16-    column of the feature
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from services.common.events.feature_list import FEATURES
from services.common.events.network_security_pb2 import NetworkSecurityEvent

if TYPE_CHECKING:
    from numpy.typing import NDArray

TAG_BYTES = 3
FIXED_SHIFT, FIXED_MASK = 2, 15
VARINT = 1 << 6
DELIMITED = 1 << 7
KIND_SHIFT, KIND_MASK = 8, 15
CHILD_SHIFT, CHILD_MASK = 12, 15
COLUMN_SHIFT = 16
CONTEXT_SHIFT = 16  # an entry's place is context << 16 | first two bytes

WIDTH = len(FEATURES)
DURATION = "network_features.flow_duration"
# Not features: they stand in for flow_duration_microseconds where that is 0.
HELPERS = (f"{DURATION}.seconds", f"{DURATION}.nanos")


class Kind(IntEnum):
    """How eight raw bytes become a number; 0 is left for "no feature"."""

    DOUBLE = 1
    FLOAT = 2
    UINT64 = 3
    UINT32 = 4
    INT32 = 5
    BOOL = 6
    INT64 = 7


KIND_OF_TYPE = {
    FieldDescriptor.TYPE_DOUBLE: Kind.DOUBLE,
    FieldDescriptor.TYPE_FLOAT: Kind.FLOAT,
    FieldDescriptor.TYPE_UINT64: Kind.UINT64,
    FieldDescriptor.TYPE_UINT32: Kind.UINT32,
    FieldDescriptor.TYPE_INT32: Kind.INT32,
    FieldDescriptor.TYPE_ENUM: Kind.INT32,
    FieldDescriptor.TYPE_BOOL: Kind.BOOL,
    FieldDescriptor.TYPE_INT64: Kind.INT64,
}

WIRE_VARINT, WIRE_64, WIRE_DELIMITED, WIRE_32 = 0, 1, 2, 5
WIRE_SHAPE = {
    WIRE_VARINT: VARINT,
    WIRE_64: 8 << FIXED_SHIFT,
    WIRE_DELIMITED: VARINT | DELIMITED,
    WIRE_32: 4 << FIXED_SHIFT,
}


def parent_of(path: str) -> str:
    """Path of the message that holds a field; "" is the event."""
    return path.rpartition(".")[0]


def _contexts() -> tuple[str, ...]:
    found = [""]
    for path in (*(feature.path for feature in FEATURES), *HELPERS):
        steps = path.split(".")[:-1]
        for depth in range(1, len(steps) + 1):
            prefix = ".".join(steps[:depth])
            if prefix not in found:
                found.append(prefix)
    return tuple(found)


def descriptor_of(path: str) -> Any:  # a Descriptor, whose class depends on how protobuf was built
    """Find the message type at a context's path. Raises `KeyError` where the contract has no such field."""
    message: Any = NetworkSecurityEvent.DESCRIPTOR
    for name in path.split(".") if path else ():
        child = message.fields_by_name[name].message_type
        if child is None:
            raise KeyError(f"{path} is no message of the contract")
        message = child
    return message


def _tag_entries(context: str) -> NDArray[np.int32]:
    """Entries by tag (field number << 3 | wire type), for tags of at most 14 bits, without their length."""
    entries = np.zeros(1 << 14, np.int32)
    for wire_type, shape in WIRE_SHAPE.items():
        entries[8 + wire_type :: 8] = shape
    columns = {path: column for column, path in enumerate((*(f.path for f in FEATURES), *HELPERS))}
    for field in descriptor_of(context).fields:
        path = f"{context}.{field.name}" if context else field.name
        if path in CONTEXTS:
            entries[field.number << 3 | WIRE_DELIMITED] |= CONTEXTS.index(path) << CHILD_SHIFT
        elif path in columns:
            kind = KIND_OF_TYPE[field.type]
            wire = {Kind.DOUBLE: WIRE_64, Kind.FLOAT: WIRE_32}.get(kind, WIRE_VARINT)
            entries[field.number << 3 | wire] |= columns[path] << COLUMN_SHIFT | kind << KIND_SHIFT
    return entries


def _table() -> NDArray[np.int32]:
    codes = np.arange(1 << 16)
    first, second = codes & 0xFF, codes >> 8
    short = first < 0x80
    tags = np.where(short, first, first & 0x7F | (second & 0x7F) << 7)
    length = np.where(short, 1, np.where(second < 0x80, 2, 0))
    blocks = []
    for context in CONTEXTS:
        entries = _tag_entries(context)[tags]
        blocks.append(np.where((length > 0) & (entries > 0), entries | length, 0))
    return np.concatenate(blocks).astype(np.int32)


CONTEXTS = _contexts()
PARENTS = np.array([-1, *(CONTEXTS.index(parent_of(path)) for path in CONTEXTS[1:])])
TABLE = _table()
CONTEXT_OF_COLUMN = np.array([CONTEXTS.index(parent_of(feature.path)) for feature in FEATURES])
# Fields declared `optional`: the contract itself says whether they were set.
EXPLICIT = np.array(
    [
        descriptor_of(parent_of(path)).fields_by_name[path.rpartition(".")[2]].has_presence
        for path in (feature.path for feature in FEATURES)
    ]
)
