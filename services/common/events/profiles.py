"""What a host did in a day, as numbers: what the `entity` index embeds.

A profile has two halves. The first is the host's own: how much, with whom, to which services, when, and what the
detectors said, once for the events it began (`out`) and once for those that came to it (`in`). The second is one
hop of the graph of hosts: the mean of the profiles of its distinct peers, as the mean aggregator of GraphSAGE
(Hamilton, Ying and Leskovec, NeurIPS 2017) without weights. That mean is taken of log(1 + x) and turned back, so one
busy peer does not drown the others, and both halves have the same units.

Numbers are raw: counts, bytes, shares from 0 to 1; scaling belongs to the model. The port of a service is the
event's destination port, on both sides. Minutes and hours are UTC.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.events.table import LARGEST_FLOAT32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SIDES = ("out", "in")
VOLUMES = ("events", "bytes", "packets", "bytes_per_event", "packets_per_event")
REACH = ("peers", "largest_peer", "internal_peers", "ports", "largest_port")
PACE = ("minutes", "busiest_minute", "hours")
PROTOCOLS = {"tcp": (6,), "udp": (17,), "icmp": (1, 58)}  # IANA numbers
SERVICES: dict[str, tuple[int, ...]] = {
    "no_port": (0,),
    "ftp": (20, 21),
    "ssh": (22,),
    "telnet": (23, 2323),
    "mail": (25, 110, 143, 465, 587, 993, 995),
    "dns": (53, 853, 5353, 5355),
    "dhcp": (67, 68, 546, 547),
    "http": (80, 8000, 8008, 8080, 8888),
    "https": (443, 8443),
    "directory": (88, 389, 464, 636, 3268, 3269),
    "ntp": (123,),
    "windows": (135, 137, 138, 139, 445, 5985, 5986),
    "management": (161, 162, 514, 623, 5666, 10050, 10051),
    "databases": (1433, 1521, 3306, 5432, 6379, 9200, 27017),
    "desktop": (3389, 5900, 5901),
    "discovery": (1900, 3702),
}
"""Services by destination port (IANA's register and common use). Other ports fall into `RANGES`."""
RANGES = {"low_ports": 0, "registered_ports": 1024, "dynamic_ports": 49_152}  # where each begins, RFC 6335
VERDICTS = ("benign", "suspicious", "malicious")
SCORES = ("threat", "divergence", "fast_triggered")  # means
HOURS = 24

_SIDE_GROUPS = (
    VOLUMES,
    REACH,
    PACE,
    (*PROTOCOLS, "other_protocol"),
    (*SERVICES, *RANGES),
    (*VERDICTS, *SCORES, "highest_threat"),
)
OWN = (
    *(f"{side}.{name}" for side in SIDES for group in _SIDE_GROUPS for name in group),
    *(f"hour.{hour:02d}" for hour in range(HOURS)),
)
"""The numbers of a host itself, in order."""
PROFILE = (*OWN, *(f"peer.{name}" for name in OWN))
"""All numbers of a profile: the host's own, then those of its peers."""
COLUMN = {name: column for column, name in enumerate(PROFILE)}
GROUPS: tuple[tuple[int, ...], ...] = (
    *(tuple(COLUMN[f"{side}.{name}"] for name in group) for side in SIDES for group in _SIDE_GROUPS),
    tuple(range(len(OWN) - HOURS, len(OWN))),
)
"""The columns of `OWN` that belong together, such as the shares of services; each column is in one group."""

_MINUTE_NS, _MINUTES, _HOUR_MINUTES = 60_000_000_000, 1440, 60
_PORT_COUNT = 65_536
_EDGES_AT_ONCE = 32_768


def _service_of_port() -> NDArray[np.int64]:
    table = np.searchsorted(list(RANGES.values()), np.arange(_PORT_COUNT), "right") - 1 + len(SERVICES)
    for number, ports in enumerate(SERVICES.values()):
        table[list(ports)] = number
    return np.asarray(table, np.int64)


def _number_of_protocol() -> NDArray[np.int64]:
    table = np.full(256, len(PROTOCOLS), np.int64)
    for number, values in enumerate(PROTOCOLS.values()):
        table[list(values)] = number
    return table


def profiles_schema_hash() -> str:
    """The hash of the meaning of a profile: its names and the ports and protocols behind them."""
    parts = ["profiles/1", ",".join(PROFILE), repr(SERVICES), repr(RANGES), repr(PROTOCOLS)]
    return hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()


@dataclass(frozen=True)
class Flows:
    """n events of one UTC day; hosts are numbers from 0 that the caller gives out."""

    src: NDArray[np.int64]  # (n,)
    dst: NDArray[np.int64]  # (n,)
    time_ns: NDArray[np.int64]  # (n,) since 1970 UTC
    dst_port: NDArray[np.integer]  # (n,)
    protocol: NDArray[np.integer]  # (n,) IANA number
    bytes: NDArray[np.floating]  # (n,) both directions
    packets: NDArray[np.floating]  # (n,) both directions
    verdict: NDArray[np.integer]  # (n,) number in `VERDICTS`, len(VERDICTS) for any other
    threat: NDArray[np.floating]  # (n,) overall score
    divergence: NDArray[np.floating]  # (n,)
    fast_triggered: NDArray[np.integer]  # (n,) 0 or 1


class HostTally:
    """Counts the events of `hosts` hosts, block by block in any order; linear in events but for sorting each block.

    Memory: about 600 bytes a host and 16 for each distinct pair of hosts, port of a host and minute of a host.
    """

    def __init__(self, hosts: int) -> None:
        """Begin without events."""
        self._hosts = hosts
        self._pairs = _Counted()
        self._sides = tuple(_Side(hosts) for _ in SIDES)

    def add(self, flows: Flows) -> None:
        """Count n events."""
        self._pairs.add(flows.src * self._hosts + flows.dst)
        facts = _Facts.of(flows)
        for side, owners in zip(self._sides, (flows.src, flows.dst), strict=True):
            side.add(owners, facts)

    def profiles(self, internal: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The profile of every host, float32 (hosts, len(PROFILE)); `internal` (hosts,) says which are private."""
        own = np.zeros((self._hosts, len(OWN)))
        src, dst = np.divmod(self._pairs.keys, self._hosts)
        ends = ((src, dst), (dst, src))
        for name, side, (owners, peers) in zip(SIDES, self._sides, ends, strict=True):
            columns = side.columns()
            columns |= _reach("peer", owners, self._pairs.counts, self._hosts)
            columns["internal_peers"] = _share(
                np.bincount(owners, internal[peers], self._hosts), columns["peers"]
            )
            columns["largest_peer"] = _share(columns["largest_peer"], columns["events"])
            for feature, values in columns.items():
                own[:, COLUMN[f"{name}.{feature}"]] = values
        hours = self._sides[0].hours() + self._sides[1].hours()
        own[:, COLUMN["hour.00"] :] = hours / np.maximum(hours.sum(axis=1, keepdims=True), 1)
        both = np.concatenate((own, _mean_of_peers(own, src, dst)), axis=1)
        return np.clip(both, 0, LARGEST_FLOAT32).astype(np.float32)


@dataclass(frozen=True)
class _Facts:
    """What both sides of n events share."""

    minute: NDArray[np.int64]
    port: NDArray[np.int64]
    groups: tuple[
        tuple[NDArray[np.int64], int], ...
    ]  # a number of each event, and how many numbers there are
    weights: tuple[NDArray[np.float64] | None, ...]
    threat: NDArray[np.float64]

    @staticmethod
    def of(flows: Flows) -> _Facts:
        port = flows.dst_port.astype(np.int64)
        threat = _within(flows.threat, 1.0)
        scores = (threat, _within(flows.divergence, 1.0), _within(flows.fast_triggered, 1.0))
        sums = (_within(flows.bytes, LARGEST_FLOAT32), _within(flows.packets, LARGEST_FLOAT32))
        return _Facts(
            minute=flows.time_ns // _MINUTE_NS % _MINUTES,
            port=port,
            groups=(
                (_number_of_protocol()[flows.protocol], len(PROTOCOLS) + 1),
                (_service_of_port()[port], len(SERVICES) + len(RANGES)),
                (flows.verdict.astype(np.int64), len(VERDICTS) + 1),
            ),
            weights=(None, *sums, *scores),
            threat=threat,
        )


class _Side:
    """The events of each host on one side."""

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts
        self._sums = np.zeros((hosts, 3 + len(SCORES)))
        self._groups = [
            np.zeros((hosts, size))
            for size in (len(PROTOCOLS) + 1, len(SERVICES) + len(RANGES), len(VERDICTS) + 1)
        ]
        self._highest = np.zeros(hosts)
        self._ports, self._minutes = _Counted(), _Counted()

    def add(self, owners: NDArray[np.int64], facts: _Facts) -> None:
        for column, weights in enumerate(facts.weights):
            self._sums[:, column] += np.bincount(owners, weights, self._hosts)
        for group, (numbers, size) in enumerate(facts.groups):
            flat = np.bincount(owners * size + numbers, minlength=self._hosts * size)
            self._groups[group] += flat.reshape(self._hosts, size)
        np.maximum.at(self._highest, owners, facts.threat)
        self._ports.add(owners * _PORT_COUNT + facts.port)
        self._minutes.add(owners * _MINUTES + facts.minute)

    def hours(self) -> NDArray[np.float64]:
        """Events by hour of the day, (hosts, 24)."""
        keys, counts = self._minutes.keys // _HOUR_MINUTES, self._minutes.counts
        flat = np.bincount(keys, counts, self._hosts * HOURS).astype(np.float64)
        return flat.reshape(self._hosts, HOURS)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Every number of this side but those about peers, each (hosts,)."""
        events, size, packets, *scores = self._sums.T
        protocols, services, verdicts = (_share(counts, events[:, None]) for counts in self._groups)
        ports = _reach("port", self._ports.keys // _PORT_COUNT, self._ports.counts, self._hosts)
        pace = _reach("minute", self._minutes.keys // _MINUTES, self._minutes.counts, self._hosts)
        return {
            "events": events,
            "bytes": size,
            "packets": packets,
            "bytes_per_event": _share(size, events),
            "packets_per_event": _share(packets, events),
            "ports": ports["ports"],
            "largest_port": _share(ports["largest_port"], events),
            "minutes": pace["minutes"],
            "busiest_minute": pace["largest_minute"],
            "hours": (self.hours() > 0).sum(axis=1).astype(np.float64),
            **dict(zip((*PROTOCOLS, "other_protocol"), protocols.T, strict=True)),
            **dict(zip((*SERVICES, *RANGES), services.T, strict=True)),
            **dict(zip(VERDICTS, verdicts.T, strict=False)),
            **{name: _share(total, events) for name, total in zip(SCORES, scores, strict=True)},
            "highest_threat": self._highest,
        }


class _Counted:
    """Distinct keys, ascending int64, and how often each came."""

    def __init__(self) -> None:
        self.keys, self.counts = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, keys: NDArray[np.int64]) -> None:
        new, counts = np.unique(keys, return_counts=True)
        self.keys, places = np.unique(np.concatenate((self.keys, new)), return_inverse=True)
        self.counts = np.bincount(places, np.concatenate((self.counts, counts))).astype(np.int64)


def _reach(
    name: str, owners: NDArray[np.int64], counts: NDArray[np.int64], hosts: int
) -> dict[str, NDArray[np.float64]]:
    """How many distinct things each host has, and how often the most frequent of them came."""
    largest = np.zeros(hosts)
    np.maximum.at(largest, owners, counts)
    return {f"{name}s": np.bincount(owners, minlength=hosts).astype(np.float64), f"largest_{name}": largest}


def _share(part: NDArray[np.number], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1.0), np.float64)


def _within(values: NDArray[np.generic], most: float) -> NDArray[np.float64]:
    """From 0 to `most`; what is no number is 0. Senders write these values, and one must not spoil a sum."""
    return np.clip(np.nan_to_num(values.astype(np.float64)), 0.0, most)


def _mean_of_peers(
    own: NDArray[np.float64], src: NDArray[np.int64], dst: NDArray[np.int64]
) -> NDArray[np.float64]:
    """For each host the mean of its distinct peers' numbers on a log scale; 0 where it has no peer but itself."""
    hosts = len(own)
    edges = np.unique(np.concatenate((src * hosts + dst, dst * hosts + src)))
    owners, peers = np.divmod(edges, max(hosts, 1))
    apart = owners != peers
    owners, peers = owners[apart], peers[apart]
    logs, total = np.log1p(own), np.zeros_like(own)
    for first, last in _blocks(len(owners), _EDGES_AT_ONCE):
        here = owners[first:last]
        begins = np.flatnonzero(np.diff(here, prepend=-1))
        total[here[begins]] += np.add.reduceat(logs[peers[first:last]], begins)
    counts = np.bincount(owners, minlength=hosts)
    return np.asarray(np.expm1(total / np.maximum(counts, 1)[:, None]), np.float64)


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, size):
        yield first, min(first + size, count)
