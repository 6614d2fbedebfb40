"""The hosts of a day: finds them in the columns of its segments, and makes the profile of each."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from services.common.days.columns import ADDRESS_BYTES, pack_address
from services.common.events.profiles import VERDICTS, Flows, HostTally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

MOST_HOSTS = 32_768
"""Of more, those with the most events are kept: a flood of forged senders must not fill memory and disk."""
HOST = np.dtype(
    [
        ("address", "u1", ADDRESS_BYTES),
        ("first_ns", "<i8"),  # its first and last event, nanoseconds since 1970 UTC
        ("last_ns", "<i8"),
    ]
)
INTERNAL = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
)
"""Addresses of one's own network: RFC 1918, 3927, 1122, 4193 and 4291."""

_BLOCK = 262_144


class Segment(Protocol):
    """Rows of a day with the tables they refer to: a chunk, or a view of a segment."""

    @property
    def rows(self) -> int:
        """How many events."""

    @property
    def columns(self) -> Mapping[str, NDArray[np.generic]]:
        """By the names of `columns.ROW`, each (rows,)."""

    @property
    def addresses(self) -> NDArray[np.uint8]:
        """What `src_ip` and `dst_ip` refer to, (n, 16); an address may be there twice."""

    @property
    def texts(self) -> Sequence[str]:
        """What `class` refers to."""


@dataclass(frozen=True)
class DayHosts:
    """m hosts of a day by ascending address; row i of both arrays is the same host."""

    facts: NDArray[np.void]  # (m,) of dtype `HOST`
    profiles: NDArray[np.float32]  # (m, len(PROFILE))
    left_out: int  # hosts beyond `MOST_HOSTS`, those with the fewest events

    def __len__(self) -> int:
        return len(self.facts)

    def find(self, address: bytes) -> int | None:
        """The row of a host by its 16 bytes; None where it was not seen or was left out."""
        found = np.flatnonzero((self.facts["address"] == np.frombuffer(address, np.uint8)).all(axis=1))
        return int(found[0]) if len(found) else None


def find_hosts(segments: Sequence[Segment], most: int = MOST_HOSTS) -> DayHosts:
    """The hosts in all events of `segments`, which are of one day. Blocks about a second for a million events."""
    addresses, numbers = _distinct(np.concatenate([_NO_ADDRESS, *(s.addresses for s in segments)]))
    starts = np.cumsum([0, *(len(segment.addresses) for segment in segments)])
    parts = [
        _Part(segment, numbers[start : start + len(segment.addresses)])
        for segment, start in zip(segments, starts.tolist(), strict=False)
    ]
    counts = np.zeros(len(addresses), np.int64)
    for part in parts:
        for _, src, dst in part.blocks():
            counts += np.bincount(src, minlength=len(counts)) + np.bincount(dst, minlength=len(counts))
    seen = np.flatnonzero(counts)
    kept = np.sort(seen[np.argsort(-counts[seen], kind="stable")[:most]])
    return _profiles(parts, addresses, kept, len(seen) - len(kept))


@dataclass(frozen=True)
class _Part:
    """A segment, and for each of its addresses the number of the host."""

    segment: Segment
    host_of: NDArray[np.int64]

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
        """Stretches of rows with the hosts of source and destination."""
        columns: Any = self.segment.columns
        for first in range(0, self.segment.rows, _BLOCK):
            span = slice(first, min(first + _BLOCK, self.segment.rows))
            yield span, self.host_of[columns["src_ip"][span]], self.host_of[columns["dst_ip"][span]]


def _profiles(
    parts: Sequence[_Part], addresses: NDArray[np.uint8], kept: NDArray[np.int64], left_out: int
) -> DayHosts:
    """Hosts that are not kept count as one that has the number behind the last: their peers still have a peer."""
    rank = np.full(len(addresses), len(kept), np.int64)
    rank[kept] = np.arange(len(kept))
    facts = np.zeros(len(kept) + 1, HOST)
    facts["address"][:-1] = addresses[kept]
    facts["first_ns"], facts["last_ns"] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    tally = HostTally(len(facts))
    for part in parts:
        verdicts = _verdicts(part.segment)
        for span, src, dst in part.blocks():
            flows = _flows(part.segment, span, (rank[src], rank[dst]), verdicts)
            tally.add(flows)
            for owners in (flows.src, flows.dst):
                np.minimum.at(facts["first_ns"], owners, flows.time_ns)
                np.maximum.at(facts["last_ns"], owners, flows.time_ns)
    profiles = tally.profiles(_internal(facts["address"]))
    return DayHosts(facts[:-1], profiles[:-1], left_out)


def _flows(
    segment: Segment,
    span: slice,
    ends: tuple[NDArray[np.int64], NDArray[np.int64]],
    verdicts: tuple[NDArray[np.generic], NDArray[np.int64]],
) -> Flows:
    columns: Any = segment.columns
    codes, meanings = verdicts
    return Flows(
        src=ends[0],
        dst=ends[1],
        time_ns=columns["time_ns"][span],
        dst_port=columns["dst_port"][span],
        protocol=columns["protocol"][span],
        bytes=columns["bytes"][span],
        packets=columns["packets"][span],
        verdict=meanings[np.searchsorted(codes, columns["class"][span])],
        threat=columns["overall"][span],
        divergence=columns["divergence"][span],
        fast_triggered=columns["fast_triggered"][span],
    )


def _verdicts(segment: Segment) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """The distinct numbers of class texts, ascending, and which verdict each means."""
    codes = np.unique(segment.columns["class"])
    known = {name: number for number, name in enumerate(VERDICTS)}
    meanings = [known.get(segment.texts[code].casefold(), len(VERDICTS)) for code in codes.tolist()]
    return codes, np.array(meanings, np.int64)


_NO_ADDRESS: NDArray[np.uint8] = np.empty((0, ADDRESS_BYTES), np.uint8)


def _distinct(addresses: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Distinct addresses (m, 16), ascending, and which of them each of `addresses` (n, 16) is, int64 (n,)."""
    high, low = np.ascontiguousarray(addresses).view(">u8").reshape(-1, 2).T.astype(np.uint64)
    order = np.lexsort((low, high))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return addresses[order[new]], numbers


def _internal(addresses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the addresses (n, 16) belong to one's own network, bool (n,)."""
    found = np.zeros(len(addresses), np.bool_)
    for text in INTERNAL:
        network = ipaddress.ip_network(text)
        bits = 8 * ADDRESS_BYTES - network.max_prefixlen + network.prefixlen
        mask = np.frombuffer((2**128 - 2 ** (128 - bits)).to_bytes(ADDRESS_BYTES, "big"), np.uint8)
        value = np.frombuffer(pack_address(str(network.network_address)), np.uint8)
        found |= ((addresses & mask) == value).all(axis=1)
    return found
