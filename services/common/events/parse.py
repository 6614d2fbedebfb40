"""From the bytes of one event to the message, or a refusal with its reason.

What cannot be read as an event, or lacks what every index needs (an id, a time, flow features, two
addresses), is refused and belongs into the dead letter; anything else is accepted.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from google.protobuf.message import DecodeError

from services.common.events.network_security_pb2 import NetworkSecurityEvent

# The longest textual IPv6 address has 45 characters; what is left is room for a zone ("%eth0").
LONGEST_ADDRESS = 64
REMEMBERED_ADDRESSES = 65_536

NANOSECONDS = 1_000_000_000
# int64 nanoseconds since 1970 reach from 1677 to 2262; whole seconds inside that range.
EARLIEST_SECOND = -(2**63) // NANOSECONDS + 1
LATEST_SECOND = (2**63 - 1) // NANOSECONDS - 1


class Refused(ValueError):  # noqa: N818 - the word the documentation and the dead letter use
    """An event that is not taken; `reason` is a short code for counting, `detail` a sentence for people."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the code and the sentence apart, so that counters never grow with what an attacker writes."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parse_event(payload: bytes) -> NetworkSecurityEvent:
    """Read one serialized event and check what every later stage relies on.

    Raises `Refused` with one of the reasons not_an_event, no_event_id, no_event_timestamp,
    bad_event_timestamp, no_network_features, bad_source_ip, bad_destination_ip.
    """
    try:
        event = NetworkSecurityEvent.FromString(payload)
    except DecodeError as error:
        raise Refused(
            "not_an_event", f"{len(payload)} bytes are not a NetworkSecurityEvent ({error})"
        ) from None
    if not event.event_id:
        raise Refused("no_event_id", "event_id is empty")
    _check_time(event)
    if not event.HasField("network_features"):
        raise Refused("no_network_features", "network_features is not set")
    features = event.network_features
    _check_address("bad_source_ip", features.source_ip)
    _check_address("bad_destination_ip", features.destination_ip)
    return event


def node_of(payload: bytes) -> str:
    """The sensor that an event names; empty where it is none, which whoever takes it in finds out and says why."""
    try:
        return parse_event(payload).originating_node_id
    except Refused:
        return ""


def canonical_address(text: str) -> str:
    """One spelling per address: IPv6 compressed, without a zone; IPv4 inside IPv6 (::ffff:a.b.c.d) as IPv4.

    Raises `ValueError` where the text is no IPv4 or IPv6 address.
    """
    if len(text) > LONGEST_ADDRESS:
        raise ValueError(f"an address has at most {LONGEST_ADDRESS} characters, this has {len(text)}")
    return _canonical(text)


@lru_cache(maxsize=REMEMBERED_ADDRESSES)
def _canonical(text: str) -> str:
    address = ip_address(text)
    if not isinstance(address, IPv6Address):
        return str(address)
    inner = address.ipv4_mapped
    return str(address).partition("%")[0] if inner is None else str(inner)


def _check_time(event: NetworkSecurityEvent) -> None:
    if not event.HasField("event_timestamp"):
        raise Refused("no_event_timestamp", "event_timestamp is not set")
    stamp = event.event_timestamp
    if not (EARLIEST_SECOND <= stamp.seconds <= LATEST_SECOND and 0 <= stamp.nanos < NANOSECONDS):
        raise Refused(
            "bad_event_timestamp",
            f"event_timestamp of {stamp.seconds} s and {stamp.nanos} ns is outside the years 1678 to 2261",
        )


def _check_address(reason: str, text: str) -> None:
    try:
        canonical_address(text)
    except ValueError:
        raise Refused(reason, f"{text[:LONGEST_ADDRESS]!r} is not an IPv4 or IPv6 address") from None
