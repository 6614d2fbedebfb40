"""The declarative tables: which column of a format becomes which field of the contract, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Kind(Enum):
    """How a column is converted; the value is the sentence for docs/feeds.md."""

    U32 = "whole number, 32 bits"
    U64 = "whole number, 64 bits"
    F64 = "number"
    TEXT = "text as it is"
    ADDRESS = "address as it is, checked"
    NUMBER_ADDRESS = "IPv4 address written as one whole number"
    START = "time; also `event_timestamp`"
    END = "time; minus the start it is the duration"
    DURATION = "duration; both fields get it"
    PROTOCOL = "number or name; both fields get it"
    HISTORY = "TCP only: at least this many packets had the flag, counted from the letters"
    SEEN = "true is 1: at least one packet had the flag"
    FORWARD_FLAGS = "hexadecimal TCP flags of the forward packets: 1 where the flag was seen"
    BACKWARD_FLAGS = "hexadecimal TCP flags of the backward packets: 1 where the flag was seen"
    ID = "part of `event_id`; also kept in `custom_metadata`"
    LABEL = "the label, see the label modes"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its names (as `plain` gives them), the contract fields it fills, and how.

    `scaled` marks times that some dialects give in seconds: they are multiplied so that the field has `unit`,
    and a fraction of a whole-number field is rounded.
    """

    names: tuple[str, ...]
    fields: tuple[str, ...]
    kind: Kind
    unit: str = ""
    scaled: bool = False


def plain(name: str) -> str:
    """Return a column's name in lower case with "_" for everything that is no letter or digit.

    " Flow Bytes/s", "Flow Bytes/s" and "flow_bytes_s" are one name.
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def lookup(columns: Sequence[Column]) -> dict[str, Column]:
    """Return the columns by every name they have."""
    return {name: column for column in columns for name in column.names}


LABEL_NAMES = {"attempted_category", "attack", "attack_category", "attack_type", "class", "classification"}


def tells_the_label(name: str) -> bool:
    """Whether a column of this name says what a row is, so that it must not leak into an unlabelled event."""
    name = plain(name)
    return "label" in name or name in LABEL_NAMES


def matched(columns: Sequence[Column], header: Sequence[str]) -> Iterator[tuple[int, str, Column | None]]:
    """Yield (index, name as in the file, column or None) for a header; a column is matched once only."""
    by_name = lookup(columns)
    used: set[int] = set()
    for index, name in enumerate(header):
        column = by_name.get(plain(name))
        if column is not None and id(column) in used:
            column = None
        if column is not None:
            used.add(id(column))
        yield index, name.strip(), column
