"""The events of one host over all parts of a scope, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.selection import Selection
from services.rag.judged import JUDGED, mattering
from services.rag.numbering import host_numbers, text_numbers
from services.rag.scope import EVERY_INDEX, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.rag.filters import Filters
    from services.rag.scope import Scope

MOST_EVENTS = 2_000_000
"""Events of a host that are looked at, 47 bytes each; days before are left out, and the receipt says so."""
EVENT = np.dtype(
    [
        ("part", "<i4"),  # number of the part of the scope
        ("row", "<i4"),  # row there
        ("time_ns", "<i8"),  # nanoseconds since 1970
        ("out", "?"),  # whether the host began it
        ("peer", "<i4"),  # number in `HostEvents.addresses`: the other side
        ("port", "<u2"),  # destination port
        ("protocol", "u1"),
        ("bytes", "<f4"),  # both ways
        ("overall", "<f4"),  # threat score
        ("matters", "?"),  # see `judged.mattering`
        ("class", "<i4"),  # number in `HostEvents.texts`
        ("narrative", "<i4"),  # number in `HostEvents.texts`
    ]
)
_COPIED = {
    "time_ns": "time_ns",
    "dst_port": "port",
    "protocol": "protocol",
    "bytes": "bytes",
    "overall": "overall",
}


@dataclass(frozen=True)
class HostEvents:
    """n events of one host, (n,) of dtype `EVENT` in the order of time, and what their numbers mean."""

    table: NDArray[Any]
    addresses: Sequence[bytes]
    texts: Sequence[str]

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.table)


def narrow_to(scope: Scope, host: Filters) -> None:
    """Leave only what also passes `host` in a scope, the newest day first while there is time and room."""
    room, parts = MOST_EVENTS, list[Part]()
    for part in reversed(scope.parts):
        if not scope.begin(part.view.day, EVERY_INDEX):
            continue
        chosen = _both(part, host)
        if chosen.count > room:
            reason = f"left out: the host has more than {MOST_EVENTS:,} events; ask about fewer days"
            scope.miss(part.view.day, EVERY_INDEX, reason)
            room = 0
        elif chosen.count:
            room -= chosen.count
            parts.append(Part(part.segment, chosen))
    scope.parts = parts[::-1]


def _both(part: Part, host: Filters) -> Selection:
    """The rows of a part that also pass `host`."""
    found = host.select(part.segment)
    if found is None:  # every event there is of the host
        return part.chosen or Selection(part.view.rows, 0, np.ones(part.view.rows, bool))
    return found if part.chosen is None else Selection(part.view.rows, 0, found.mask & part.chosen.mask)


def gather(scope: Scope, address: bytes) -> HostEvents:
    """The events of a scope whose parts were narrowed to one host, known by its 16 bytes."""
    addresses: dict[bytes, int] = {}
    texts: dict[str, int] = {}
    tables = [_table(number, part, address, (addresses, texts)) for number, part in enumerate(scope.parts)]
    table = np.concatenate([np.empty(0, EVENT), *tables])
    if (np.diff(table["time_ns"]) < 0).any():  # not of sealed days: looking costs less than moving wide rows
        table = table[np.argsort(table["time_ns"], kind="stable")]
    return HostEvents(table, tuple(addresses), tuple(texts))


def _table(
    number: int, part: Part, address: bytes, numbers: tuple[dict[bytes, int], dict[str, int]]
) -> NDArray[Any]:
    """The events of one part; what it refers to is added to `numbers` of addresses and texts."""
    view, rows = part.view, part.rows
    rows = np.arange(view.rows) if rows is None else rows
    table = np.zeros(len(rows), EVENT)
    table["part"], table["row"] = number, rows
    for name, here in _COPIED.items():
        table[here] = view.columns[name][rows]
    source, destination = (np.asarray(view.columns[side][rows], np.int64) for side in ("src_ip", "dst_ip"))
    own = (view.addresses == np.frombuffer(address, np.uint8)).all(axis=1)  # may be there twice
    table["out"] = own[source]
    peers = np.where(own[source], destination, source)
    table["peer"] = host_numbers(view.addresses, peers, numbers[0])
    for name in ("class", "narrative"):
        table[name] = text_numbers(view, name, rows, numbers[1])
    table["matters"] = mattering({name: view.columns[name][rows] for name in JUDGED}, view.texts)
    return table
