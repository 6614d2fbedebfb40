"""The last hour of a source host, as 64 steps on a fixed grid: what the `temporal` index embeds.

The grid is absolute: step = event time in ns // 56.25 s, 1536 steps to a UTC day. The window of (host, step
s) holds the steps s-63 to s, oldest first, and six channels of raw sums; scaling belongs to the model. Events
of one host in one step share one window. A day is self-contained: events of the day before are not seen.

`day_windows` makes the windows of a finished day and is exact. `HostWindows` makes those of an open day as
events arrive: a window holds what had come by then.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from services.common.events.table import EventTable

CHANNELS = ("events", "bytes", "packets", "fan_out", "ports", "threat")
STEPS = 64
STEP_NS = 56_250_000_000
# Distinct peers and ports of a host in one step are counted up to here: it bounds memory under a scan.
MOST_DISTINCT = 4096
FAN_OUT, PORTS, THREAT = 3, 4, 5
SUMS = 3  # the first channels add up


@dataclass(frozen=True)
class Traffic:
    """n events as the windows see them; hosts are numbers that the caller gives out."""

    src: NDArray[np.integer]  # (n,)
    time_ns: NDArray[np.int64]  # (n,) since 1970 UTC
    bytes: NDArray[np.floating]  # (n,) both directions
    packets: NDArray[np.floating]  # (n,) both directions
    dst: NDArray[np.integer]  # (n,)
    dst_port: NDArray[np.integer]  # (n,)
    threat: NDArray[np.floating]  # (n,) see `threat_of`


@dataclass(frozen=True)
class DayWindows:
    """The m distinct windows of a day, in order of host number, then step; made in blocks to bound memory."""

    codes: NDArray[np.int32]  # (n,) window of each event
    hosts: NDArray[np.int64]  # (m,)
    steps: NDArray[np.int64]  # (m,)
    cells: NDArray[np.float32]  # (m, 6) the channels of each host and step alone

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.hosts)

    def blocks(self, size: int = 4096) -> Iterator[NDArray[np.float32]]:
        """Give the windows in order, as arrays (at most `size`, 64, 6)."""
        for first in range(0, len(self), size):
            yield self._block(first, min(first + size, len(self)))

    def _block(self, first: int, last: int) -> NDArray[np.float32]:
        windows = np.zeros((last - first, STEPS, len(CHANNELS)), np.float32)
        here = np.arange(first, last)
        for back in range(STEPS):
            here = here[here >= back]
            age = self.steps[here] - self.steps[here - back]
            inside = (self.hosts[here] == self.hosts[here - back]) & (age < STEPS)
            # Cells are sorted: where one is of another host or too old, so are all before it.
            here, age = here[inside], age[inside]
            if not here.size:
                break
            windows[here - first, STEPS - 1 - age] = self.cells[here - back]
        return windows


def threat_of(table: EventTable) -> NDArray[np.float32]:
    """(n,) the highest of an event's three scores."""
    return np.maximum(np.maximum(table.overall, table.fast), table.ml)


def day_windows(traffic: Traffic) -> DayWindows:
    """Make the windows of a whole day (or any set of events) in O(n log n); events come in any order."""
    tally = _Tally(traffic)
    cells = tally.sums()
    for channel, values in ((FAN_OUT, traffic.dst), (PORTS, traffic.dst_port)):
        owners, _ = tally.distinct(values)
        counts = np.bincount(owners, minlength=len(cells))
        cells[:, channel] = np.minimum(counts, MOST_DISTINCT)
    return DayWindows(tally.codes.astype(np.int32), tally.hosts, tally.steps, cells.astype(np.float32))


class _Tally:
    """Events grouped by (host, step) into m cells, in order of host, then step."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        steps = traffic.time_ns // STEP_NS
        start = steps.min() if len(steps) else np.int64(0)
        span = (steps.max() - start + 1) if len(steps) else np.int64(1)
        keys = traffic.src.astype(np.int64) * span + (steps - start)
        cells, self.codes = np.unique(keys, return_inverse=True)
        self.hosts = cells // span
        self.steps = cells % span + start

    def sums(self) -> NDArray[np.float64]:
        """(m, 6) with the adding channels and the threat; those of distinct values are 0."""
        traffic, count = self._traffic, len(self.hosts)
        cells = np.zeros((count, len(CHANNELS)))
        cells[:, 0] = np.bincount(self.codes, minlength=count)
        cells[:, 1] = np.bincount(self.codes, traffic.bytes, count)
        cells[:, 2] = np.bincount(self.codes, traffic.packets, count)
        np.maximum.at(cells[:, THREAT], self.codes, traffic.threat)
        return cells

    def distinct(self, values: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Each value a cell has, once: (k,) cells in order, (k,) values."""
        span = int(values.max()) + 1 if len(values) else 1
        pairs = np.unique(self.codes * span + values.astype(np.int64))
        return pairs // span, pairs % span


@dataclass(frozen=True)
class WindowLimits:
    """How much `HostWindows` remembers; what is over is forgotten, oldest host first.

    Steps more than 64 + `late_steps` behind the newest step of their host are dropped. `items` counts cells
    and the distinct peers and ports in them, about 120 bytes each.
    """

    late_steps: int = 64
    hosts: int = 50_000
    items: int = 150_000


class _Cell:
    __slots__ = ("peers", "ports", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.peers: set[str] = set()
        self.ports: set[int] = set()

    def weight(self) -> int:
        return 1 + len(self.peers) + len(self.ports)


class HostWindows:
    """The windows of one open day, event batch by event batch; the same batches give the same windows.

    An event up to `late_steps` behind the newest of its host finds its whole hour. For one that is later, or
    whose host was forgotten meanwhile, the window holds what is still known; sealing the day corrects it.
    Not for use by several threads at once.
    """

    def __init__(self, limits: WindowLimits | None = None) -> None:
        """Start without any event."""
        self._limits = limits or WindowLimits()
        self._hosts: OrderedDict[str, dict[int, _Cell]] = OrderedDict()  # least recently seen first
        self._values = np.zeros((1024, len(CHANNELS)))  # one row per cell
        self._free = list(range(len(self._values)))
        self._items = 0

    @property
    def items(self) -> int:
        """Cells, peers and ports remembered."""
        return self._items

    @property
    def hosts(self) -> int:
        """Hosts remembered."""
        return len(self._hosts)

    def update(self, table: EventTable) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Add n events; give the m windows they fall into, (m, 64, 6), and the window of each event, (n,)."""
        names, src = _numbered(table.src_ip)
        peers, dst = _numbered(table.dst_ip)
        traffic = Traffic(
            src, table.time_ns, table.bytes, table.packets, dst, table.dst_port, threat_of(table)
        )
        tally = _Tally(traffic)
        touched = [names[host] for host in tally.hosts.tolist()]
        steps: list[int] = tally.steps.tolist()
        cells = [self._cell(name, step) for name, step in zip(touched, steps, strict=True)]
        self._add(cells, tally, traffic, peers)
        windows = self._windows(touched, steps)
        for name in dict.fromkeys(touched):
            self._drop_old(name)
        self._drop_hosts()
        return windows, tally.codes.astype(np.int32)

    def _cell(self, name: str, step: int) -> _Cell:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = {}
        self._hosts.move_to_end(name)
        cell = host.get(step)
        if cell is None:
            if not self._free:
                self._free = list(range(len(self._values), 2 * len(self._values)))
                self._values = np.concatenate([self._values, np.zeros_like(self._values)])
            cell = host[step] = _Cell(self._free.pop())
            self._items += 1
        return cell

    def _add(self, cells: list[_Cell], tally: _Tally, traffic: Traffic, peers: list[str]) -> None:
        slots = np.array([cell.slot for cell in cells], np.intp)
        new = tally.sums()
        self._values[slots, :SUMS] += new[:, :SUMS]
        self._values[slots, THREAT] = np.maximum(self._values[slots, THREAT], new[:, THREAT])
        before = sum(cell.weight() for cell in cells)
        for cell, values in _grouped(cells, tally.distinct(traffic.dst)):
            _grow(cell.peers, (peers[value] for value in values))
        for cell, values in _grouped(cells, tally.distinct(traffic.dst_port)):
            _grow(cell.ports, values)
        self._items += sum(cell.weight() for cell in cells) - before
        self._values[slots, FAN_OUT] = [len(cell.peers) for cell in cells]
        self._values[slots, PORTS] = [len(cell.ports) for cell in cells]

    def _windows(self, names: list[str], steps: list[int]) -> NDArray[np.float32]:
        rows, places, slots = [], [], []
        for row, (name, newest) in enumerate(zip(names, steps, strict=True)):
            for step, cell in self._hosts[name].items():
                age = newest - step
                if 0 <= age < STEPS:
                    rows.append(row)
                    places.append(STEPS - 1 - age)
                    slots.append(cell.slot)
        windows = np.zeros((len(names), STEPS, len(CHANNELS)), np.float32)
        windows[rows, places] = self._values[slots]
        return windows

    def _drop_old(self, name: str) -> None:
        host = self._hosts[name]
        oldest = max(host) - self._limits.late_steps - STEPS
        for step in [step for step in host if step <= oldest]:
            self._forget(host.pop(step))

    def _drop_hosts(self) -> None:
        while len(self._hosts) > self._limits.hosts or (
            self._items > self._limits.items and len(self._hosts) > 1
        ):
            _, host = self._hosts.popitem(last=False)
            for cell in host.values():
                self._forget(cell)

    def _forget(self, cell: _Cell) -> None:
        self._items -= cell.weight()
        self._values[cell.slot] = 0
        self._free.append(cell.slot)


def _numbered(names: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Give the distinct names, and the number of each name among them."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(name, len(numbers)) for name in names]
    return list(numbers), np.array(codes, np.int64)


def _grouped(
    cells: list[_Cell], distinct: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> Iterator[tuple[_Cell, list[int]]]:
    owners, values = distinct
    bounds = np.searchsorted(owners, np.arange(len(cells) + 1)).tolist()
    everything = values.tolist()
    for number, cell in enumerate(cells):
        yield cell, everything[bounds[number] : bounds[number + 1]]


def _grow(known: set[Any], values: Iterable[Any]) -> None:
    for value in values:
        if len(known) >= MOST_DISTINCT:
            return
        known.add(value)
