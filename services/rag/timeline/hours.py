"""What a host did in each hour, counted from its events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView
    from services.rag.timeline.events import HostEvents

Name = TypeVar("Name", str, bytes, int)

HOUR_NS = 3600 * 10**9
HOURS_A_DAY = 24
MEASURES = ("out", "in", "bytes", "peers", "new_peers", "ports", "matters")
"""What is counted of an hour and compared with hours before: events that the host began and that came to it, bytes
both ways, distinct peers, those of them that were never seen before, distinct destination ports, events that matter."""

_PORT_BITS, _PROTOCOL_BITS = 16, 8


@dataclass(frozen=True)
class Hours:
    """The h hours in which a host has events, ascending. Events of hour i are `starts[i]` to `starts[i + 1]`."""

    events: HostEvents
    numbers: NDArray[np.int64]  # (h,) hours since 1970
    starts: NDArray[np.int64]  # (h + 1,)

    @classmethod
    def of(cls, events: HostEvents) -> Hours:
        """The hours of some events, which are in the order of time."""
        numbers, firsts = np.unique(events.table["time_ns"] // HOUR_NS, return_index=True)
        return cls(events, numbers, np.append(firsts, len(events)).astype(np.int64))

    def __len__(self) -> int:
        """How many hours there are."""
        return len(self.numbers)

    @cached_property
    def of_events(self) -> NDArray[np.int64]:
        """The number (0 to h - 1) of the hour of each event."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def first_of_peer(self) -> NDArray[np.int64]:
        """The first event with each peer, ascending."""
        return np.sort(np.unique(self.events.table["peer"], return_index=True)[1])

    @cached_property
    def services(self) -> NDArray[np.int64]:
        """For each event a number of its side, protocol and destination port; see `service_of`."""
        table = self.events.table
        side = table["out"].astype(np.int64) << (_PORT_BITS + _PROTOCOL_BITS)
        return np.asarray(side | (table["protocol"].astype(np.int64) << _PORT_BITS) | table["port"], np.int64)

    @cached_property
    def measures(self) -> NDArray[np.float64]:
        """What is counted, (h, len(MEASURES))."""
        table, hours, count = self.events.table, self.of_events, len(self)
        out = np.bincount(hours, table["out"], count)
        columns = (
            out,
            np.diff(self.starts) - out,
            np.bincount(hours, table["bytes"], count),
            self._distinct(table["peer"]),
            np.bincount(hours[self.first_of_peer], minlength=count),
            self._distinct(table["port"]),
            np.bincount(hours, table["matters"], count),
        )
        return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)

    def _distinct(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """How many distinct values there are in each hour."""
        keys = np.unique(self.of_events << 32 | values)
        return np.bincount(keys >> 32, minlength=len(self))

    def span(self, hour: int) -> slice:
        """The events of an hour."""
        return slice(int(self.starts[hour]), int(self.starts[hour + 1]))


def service_of(number: int) -> tuple[bool, int, int]:
    """Whether the host began it, the protocol, and the destination port, from a number of `Hours.services`."""
    return (
        bool(number >> (_PORT_BITS + _PROTOCOL_BITS)),
        number >> _PORT_BITS & (1 << _PROTOCOL_BITS) - 1,
        number & (1 << _PORT_BITS) - 1,
    )


def most(codes: NDArray[Any], count: int, names: Sequence[Name]) -> list[tuple[Name, int]]:
    """The most frequent names with how often each occurs, of equally frequent ones the lowest, from their numbers."""
    used, counts = np.unique(codes, return_counts=True)
    enough = np.sort(counts)[-count:].min(initial=len(codes))
    pairs = zip(used[counts >= enough].tolist(), counts[counts >= enough].tolist(), strict=True)
    return sorted(((names[code], n) for code, n in pairs), key=lambda item: (-item[1], item[0]))[:count]


def watched_hours(views: Iterable[SegmentView], until_ns: int | None) -> NDArray[np.int64]:
    """The hours (since 1970) in which some host at all was seen, ascending: silence means nothing in the others."""
    found = [np.empty(0, np.int64)]
    for view in views:
        times = np.asarray(view.columns["time_ns"][: view.rows], np.int64)
        if until_ns is not None:
            times = times[times < until_ns]
        if view.sealed and len(
            times
        ):  # sorted: an hour is there when its first moment is not where the next one's is
            hours = np.arange(times[0] // HOUR_NS, times[-1] // HOUR_NS + 1)
            places = np.searchsorted(times, np.append(hours, hours[-1] + 1) * HOUR_NS)
            found.append(hours[np.diff(places) > 0])
        else:
            found.append(np.unique(times // HOUR_NS))
    return np.unique(np.concatenate(found))
