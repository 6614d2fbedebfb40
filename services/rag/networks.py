"""Ranges of addresses: read from text, and asked which addresses of a table belong to them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.columns import ADDRESS_BYTES, pack_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

INTERNAL = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1",
)
"""What is inside where no setting says otherwise: RFC 1918, 3927, 1122, 4193 and 4291."""


@dataclass(frozen=True)
class Network:
    """A range of addresses: an address belongs to it when `address & mask == value`, 16 bytes each."""

    value: bytes
    mask: bytes


_MAPPED_MASK = b"\xff" * 12 + b"\x00" * 4
_MAPPED = Network(b"\x00" * 10 + b"\xff\xff" + b"\x00" * 4, _MAPPED_MASK)


def parse_network(text: str) -> Network:
    """`10.0.0.0/8`, `2001:db8::/32`, or an address for that one host.

    Raises:
        ValueError: it is neither, or has bits of a host behind the network's; the message is a clause that says so.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address and no network such as 10.0.0.0/8") from None
    address, slash, _ = text.partition("/")
    if slash and ipaddress.ip_address(address) != network.network_address:
        raise ValueError(f"has host bits set: write {network}, or {address} for the one host")
    host_bits = network.max_prefixlen - network.prefixlen
    mask = (2**128 - 2**host_bits).to_bytes(ADDRESS_BYTES, "big")
    return Network(pack_address(str(network.network_address)), mask)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Several networks. Raises `ValueError` as `parse_network`, with the text in front."""
    found = []
    for text in texts:
        try:
            found.append(parse_network(text))
        except ValueError as error:
            raise ValueError(f"{text[:80]!r} {error}") from None
    return tuple(found)


def addresses_in(addresses: NDArray[np.uint8], networks: Iterable[Network]) -> NDArray[np.bool_]:
    """Which of the addresses (n, 16) belong to one of the networks, bool (n,)."""
    halves = np.ascontiguousarray(addresses).view(np.uint64).reshape(-1, ADDRESS_BYTES // 8)
    passing = np.zeros(len(addresses), bool)
    for network in networks:
        value, mask = np.frombuffer(network.value, np.uint64), np.frombuffer(network.mask, np.uint64)
        found = ((halves[:, 0] & mask[0]) == value[0]) & ((halves[:, 1] & mask[1]) == value[1])
        if network.mask < _MAPPED_MASK:  # a wide IPv6 network also spans the place where IPv4 addresses lie
            found &= ~addresses_in(addresses, (_MAPPED,))
        passing |= found
    return passing
