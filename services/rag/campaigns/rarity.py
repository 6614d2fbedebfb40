"""How much it says that two sightings share a host: little where everybody meets that host, much where few do.

The weight of a shared host is a product of three numbers from 0 to 1:

- rarity: 1 - log(d) / log(N), of N hosts that were seen, d of which the host met. It is the inverse document frequency
  of Sparck Jones (Journal of Documentation 28, 1972), divided by that of a host that met one other.
- purity: how much of what the host does matters: the share of its events that matter, or the share of its peers that it
  met in them, whichever is lower. A resolver named in some false alarms has a thousand times as many harmless events.
- what kind of host it is: that several machines of one's own call the same host outside is unusual; that a server of
  one's own is attacked by several is not, and counts half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.columns import ADDRESS_BYTES
from services.rag.networks import addresses_in
from services.rag.scope import EVERY_INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView
    from services.rag.campaigns.sightings import Sightings
    from services.rag.networks import Network
    from services.rag.scope import Part, Scope

_SHIFT = 32
_MAPPED = b"\x00" * 10 + b"\xff\xff"


@dataclass(frozen=True)
class Around:
    """What was seen of each of h hosts in all events of the time asked about, whatever other filters there are."""

    events: NDArray[np.int64]  # (h,)
    peers: NDArray[np.int64]  # (h,) distinct hosts that it met
    hosts: int  # distinct hosts in all
    inside: int  # how many of them are inside
    networks: Mapping[bytes, int]  # how many of them are in each network, by `network_of`


def rarity(met: int, hosts: int) -> float:
    """How much it says to have met `met` of so many hosts: 1 for one of them, 0 for all."""
    return max(0.0, 1 - math.log(max(met, 1)) / math.log(max(hosts, 2)))


def look_around(scope: Scope, addresses: Sequence[bytes], internal: Sequence[Network]) -> Around:
    """What was seen of some hosts, in a scope that has all events of the time; newest day first while there is time.

    `internal` are the networks that are inside.
    """
    numbers = {address: number for number, address in enumerate(addresses)}
    events = np.zeros(len(addresses), np.int64)
    pairs = [np.empty(0, np.int64)]
    for part in reversed(scope.parts):
        if scope.begin(part.view.day, EVERY_INDEX):
            owners, peers = _meetings(part, numbers)
            known = owners < len(addresses)
            events += np.bincount(owners[known], minlength=len(addresses))
            pairs.append(np.unique(owners[known] << _SHIFT | peers[known]))
    met = np.unique(np.concatenate(pairs)) >> _SHIFT
    every = np.frombuffer(bytearray().join(numbers), np.uint8).reshape(-1, ADDRESS_BYTES)
    networks, hosts = np.unique(network_of(list(numbers)), return_counts=True)
    return Around(
        events,
        np.bincount(met, minlength=len(addresses))[: len(addresses)],
        len(numbers),
        int(np.count_nonzero(addresses_in(every, internal))),
        dict(zip(networks.tolist(), hosts.tolist(), strict=True)),
    )


def _meetings(part: Part, numbers: dict[bytes, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each event twice: the host on either side, and whom it met. Hosts that are new get the next numbers."""
    view = part.view
    rows = slice(0, view.rows) if part.rows is None else part.rows
    sides = [np.asarray(view.columns[side][rows], np.int64) for side in ("src_ip", "dst_ip")]
    used = np.flatnonzero(np.bincount(np.concatenate(sides), minlength=len(view.addresses)))
    of_table = _numbered(view, used, numbers)
    src, dst = (of_table[codes] for codes in sides)
    apart = src != dst
    return np.concatenate([src, dst[apart]]), np.concatenate([dst, src[apart]])


def _numbered(view: SegmentView, used: NDArray[np.int64], numbers: dict[bytes, int]) -> NDArray[np.int64]:
    """The number of each address that rows use, by its place in a segment's table, int64.

    The table may have more: those of other rows, and of an open segment those of later ones.
    """
    raw = view.addresses[used].tobytes()
    found = (
        numbers.setdefault(raw[at : at + ADDRESS_BYTES], len(numbers))
        for at in range(0, len(raw), ADDRESS_BYTES)
    )
    of_table = np.zeros(len(view.addresses), np.int64)
    of_table[used] = np.fromiter(found, np.int64, len(used))
    return of_table


def network_of(addresses: Sequence[bytes]) -> NDArray[np.void]:
    """The network of each address, 16 bytes each, (n,): /24 of IPv4 and /48 of IPv6, which one owner mostly has."""
    raw = np.frombuffer(bytearray().join(addresses), np.uint8).reshape(-1, ADDRESS_BYTES)
    mapped = (raw[:, :12] == np.frombuffer(_MAPPED, np.uint8)).all(axis=1)
    raw[mapped, 15:] = 0
    raw[~mapped, 6:] = 0
    return raw.view(f"V{ADDRESS_BYTES}").ravel()


def purities(found: Sightings, around: Around) -> NDArray[np.float64]:
    """How much of what each host does matters, float64 (hosts,), 0 to 1."""
    count = len(found.addresses)
    src, dst = (found.table[side].astype(np.int64) for side in ("src", "dst"))
    apart = src != dst
    events = np.bincount(src, minlength=count) + np.bincount(dst[apart], minlength=count)
    pairs = np.unique(np.concatenate([src << _SHIFT | dst, dst << _SHIFT | src]))
    peers = np.bincount(pairs >> _SHIFT, minlength=count)
    of_events = events / np.maximum(around.events, 1)
    return np.minimum(np.minimum(of_events, peers / np.maximum(around.peers, 1)), 1.0)
