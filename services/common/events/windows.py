"""The last hour of a source host, as 64 steps on a fixed grid: what the `temporal` index embeds.

The grid is absolute: step = event time in ns // 56.25 s, 1536 steps to a UTC day. The window of (host, step s) holds
the steps s-63 to s, oldest first, and six channels; scaling belongs to the model. Events of one host in one step
share one window. A day is self-contained: events of the day before are not seen.

What is known of a host in one step is a cell: three sums of whole numbers, the highest threat, and sketches of its
peers and ports (`sketch.py`). Each is the same in whatever order and in whatever batches the events come, so the open
day and the sealed day have the same windows, bit for bit, and so has a day whose events came late. Each event is
looked at once, each cell 64 times at most for each time that its window is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.common.events.ordered import OrderedNumbers
from services.common.events.sketch import WORDS, estimate, fill, mix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from services.common.events.table import EventTable

CHANNELS = ("events", "bytes", "packets", "fan_out", "ports", "threat")
STEPS = 64
STEP_NS = 56_250_000_000
STEPS_A_DAY = 1536
THREAT = 5
SUMS = 3  # the first channels add up

CELL = np.dtype(
    [
        ("key", "<u8"),  # see `_keys`
        ("sums", "<i8", (SUMS,)),
        ("bits", "<u8", (2, WORDS)),  # sketches of peers and of ports
        ("channels", "<f4", (len(CHANNELS),)),  # the cell as a window shows it
    ]
)

# Up to 2^40 of one event count, so that even eight million such events do not overflow their sum.
_MOST_OF_AN_EVENT = float(1 << 40)
_STEP_BITS = np.uint64(11)
_STEP_MASK = np.uint64((1 << 11) - 1)
_FIRST_CELLS = 1024
_BLOCK = 65_536


@dataclass(frozen=True)
class Traffic:
    """n events as the windows see them.

    Hosts are integers, the same host always the same wherever windows are to be equal: those of `host_keys`.
    """

    src: NDArray[np.integer]  # (n,)
    time_ns: NDArray[np.int64]  # (n,) since 1970 UTC
    bytes: NDArray[np.floating]  # (n,) both directions, whole numbers
    packets: NDArray[np.floating]  # (n,) both directions, whole numbers
    dst: NDArray[np.integer]  # (n,)
    dst_port: NDArray[np.integer]  # (n,)
    threat: NDArray[np.floating]  # (n,) see `threat_of`

    def __len__(self) -> int:
        """Count the events."""
        return len(self.time_ns)

    def blocks(self) -> Iterator[Traffic]:
        """The same events in order, some ten thousands at a time."""
        for first in range(0, len(self), _BLOCK):
            part = slice(first, first + _BLOCK)
            yield replace(self, **{name: column[part] for name, column in vars(self).items()})


def threat_of(table: EventTable) -> NDArray[np.float32]:
    """(n,) the highest of an event's three scores."""
    return np.maximum(np.maximum(table.overall, table.fast), table.ml)


def host_keys(addresses: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """An integer for each address of 16 bytes (n, 16), uint64 (n,): equal ones have equal integers, on any day."""
    halves = np.ascontiguousarray(addresses).reshape(-1, 16).view("<u8")
    return mix(mix(halves[:, 0]) ^ halves[:, 1])


class CellSpace(Protocol):
    """Where the cells lie."""

    def grow(self, cells: int) -> NDArray[np.void]:
        """Room for so many cells of dtype `CELL`, those there are kept, new ones all zero. Raises `OSError` if full."""
        ...


class MemorySpace:
    """Cells in plain memory."""

    def __init__(self) -> None:
        """Hold no cell."""
        self._cells = np.zeros(0, CELL)

    def grow(self, cells: int) -> NDArray[np.void]:
        """See `CellSpace.grow`."""
        grown = np.zeros(cells, CELL)
        grown[: len(self._cells)] = self._cells
        self._cells = grown
        return grown


class Cells:
    """The cells of any number of hosts and days, numbered in the order in which they come. 196 bytes each.

    Not safe for several threads.
    """

    def __init__(self, space: CellSpace) -> None:
        """Start without any event."""
        self._space = space
        self._cells = space.grow(_FIRST_CELLS)
        self._order = OrderedNumbers()

    def __len__(self) -> int:
        """Count the cells."""
        return len(self._order)

    def update(self, traffic: Traffic) -> NDArray[np.int64]:
        """Add n events; gives the cell of each, int64 (n,)."""
        keys, owners = np.unique(_keys(traffic), return_inverse=True)
        numbers = self._numbers(keys)
        self._add(numbers, owners, traffic)
        return numbers[owners]

    def windows(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """The windows that end with these cells (m,), float32 (m, 64, 6)."""
        keys = self._cells["key"][cells]
        first = keys - np.minimum(keys & _STEP_MASK, np.uint64(STEPS - 1))
        owners, found = self._order.between(first, keys)
        age = (keys[owners] - self._cells["key"][found]).astype(np.int64)
        windows = np.zeros((len(cells), STEPS, len(CHANNELS)), np.float32)
        windows[owners, STEPS - 1 - age] = self._cells["channels"][found]
        return windows

    def showing(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cells whose windows show one of these, themselves among them; some more than once."""
        keys = self._cells["key"][cells]
        left = np.uint64(STEPS_A_DAY - 1) - (keys & _STEP_MASK)
        return self._order.between(keys, keys + np.minimum(left, np.uint64(STEPS - 1)))[1]

    def in_order(self) -> NDArray[np.int64]:
        """All cells, those of one host and day together and in order of step."""
        return self._order.numbers()

    def _numbers(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The cells of distinct keys; those that are not there yet are made."""
        numbers = self._order.find(keys)
        new = np.flatnonzero(numbers < 0)
        if new.size:
            count = len(self)
            needed = count + len(new)
            if needed > len(self._cells):
                self._cells = self._space.grow(max(needed, 2 * len(self._cells)))
            numbers[new] = np.arange(count, needed)
            self._cells["key"][count:needed] = keys[new]
            self._order.add(keys[new], numbers[new])
        return numbers

    def _add(self, numbers: NDArray[np.int64], owners: NDArray[np.int64], traffic: Traffic) -> None:
        count = len(numbers)
        sums = np.zeros((SUMS, count), np.int64)
        sums[0] = np.bincount(owners, minlength=count)
        np.add.at(sums[1], owners, _whole(traffic.bytes))
        np.add.at(sums[2], owners, _whole(traffic.packets))
        sketches = np.stack(
            [fill(owners, values, count) for values in (traffic.dst, traffic.dst_port)], axis=1
        )
        threat = self._cells["channels"][numbers, THREAT]
        np.maximum.at(threat, owners, traffic.threat.astype(np.float32))
        total = self._cells["sums"][numbers] + sums.T
        bits = self._cells["bits"][numbers] | sketches
        self._cells["sums"][numbers] = total
        self._cells["bits"][numbers] = bits
        self._cells["channels"][numbers] = np.column_stack(
            (total.astype(np.float32), estimate(bits[:, 0]), estimate(bits[:, 1]), threat)
        )


@dataclass(frozen=True)
class DayWindows:
    """The m distinct windows of a day, those of one host together and in order of step; made in blocks."""

    codes: NDArray[np.int32]  # (n,) window of each event
    hosts: NDArray[np.integer]  # (m,)
    steps: NDArray[np.int64]  # (m,)
    cells: Cells
    order: NDArray[np.int64]  # (m,) the cell that each window ends with

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.order)

    def blocks(self, size: int = 4096) -> Iterator[NDArray[np.float32]]:
        """Give the windows in order, as arrays (at most `size`, 64, 6)."""
        for first in range(0, len(self), size):
            yield self.cells.windows(self.order[first : first + size])


def day_windows(traffic: Traffic) -> DayWindows:
    """Make the windows of a whole day (or any set of events) in time linear in events; they come in any order."""
    cells = Cells(MemorySpace())
    numbers = np.concatenate([np.empty(0, np.int64), *map(cells.update, traffic.blocks())])
    order = cells.in_order()
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    codes = ranks[numbers]
    hosts, steps = np.empty(len(order), traffic.src.dtype), np.empty(len(order), np.int64)
    hosts[codes], steps[codes] = traffic.src, traffic.time_ns // STEP_NS
    return DayWindows(codes, hosts, steps, cells, order)


def _keys(traffic: Traffic) -> NDArray[np.uint64]:
    """Cells as integers (n,): 53 bits that stand for host and day, then the step of the day in 11 bits.

    Keys of one host and day are neighbours, in order of step. That two of a million hosts share one has a chance of 1
    in 18,000; their hours would be counted together.
    """
    steps = traffic.time_ns // STEP_NS
    days = mix(steps // STEPS_A_DAY)
    return (mix(mix(traffic.src) ^ days) << _STEP_BITS) | (steps % STEPS_A_DAY).astype(np.uint64)


def _whole(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """As columns keep them (float32), so that open and sealed days add up the same numbers; integers add exactly."""
    return np.clip(values.astype(np.float32), 0.0, _MOST_OF_AN_EVENT).astype(np.int64)
