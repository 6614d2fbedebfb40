"""One decision of a firewall (the contract's `Detection`): checked, brought to one form, and what its words mean."""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from services.common.events.network_security_pb2 import Detection, DetectionBatch, DetectionType
from services.common.events.parse import LATEST_SECOND, NANOSECONDS, Refused, canonical_address

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ACTION = 32
"""Characters of an action that are kept."""
MAX_REASON = 256
"""Characters of a description that are kept."""
MAX_BATCH = 4096
"""Decisions that one batch may hold."""
EARLY_S = 300
_EARLIEST_NS = 946_684_800 * NANOSECONDS  # the year 2000: what lies before it is a clock that was never set

KINDS: dict[int, str] = {
    DetectionType.DETECTION_UNKNOWN: "",
    DetectionType.DETECTION_DDOS: "ddos",
    DetectionType.DETECTION_RANSOMWARE: "ransomware",
    DetectionType.DETECTION_SUSPICIOUS_TRAFFIC: "suspicious traffic",
    DetectionType.DETECTION_INTERNAL_THREAT: "internal threat",
}
"""What a firewall may have been told that an address does, in words; empty where nobody said."""


class Effect(IntEnum):
    """What a decision does to the traffic of its address."""

    UNSAID = 0
    """It names no action: whether anything was blocked is not known."""
    BLOCKS = 1
    RELEASES = 2
    """It ends the blocks before it."""
    WATCHES = 3
    """The traffic went on: it was logged, limited, or anything else that is no block."""


_BLOCKING = frozenset(
    {"ban", "blacklist", "block", "blocklist", "deny", "drop", "isolate", "quarantine", "reject"}
    | {
        "banned",
        "blacklisted",
        "blocked",
        "blocklisted",
        "denied",
        "dropped",
        "isolated",
        "quarantined",
        "rejected",
    }
)
_RELEASING = frozenset(
    {"accept", "allow", "expire", "permit", "release", "unban", "unblock", "whitelist"}
    | {"accepted", "allowed", "expired", "permitted", "released", "unbanned", "unblocked", "whitelisted"}
)


@lru_cache(maxsize=1024)
def effect_of(action: str) -> Effect:
    """What an action does, by its first word: `BLOCK`, `drop_all` and `Deny (rule 7)` block."""
    words = "".join(char if char.isalnum() else " " for char in action.casefold()).split()
    if not words:
        return Effect.UNSAID
    if words[0] in _BLOCKING:
        return Effect.BLOCKS
    return Effect.RELEASES if words[0] in _RELEASING else Effect.WATCHES


def time_ns_of(number: int) -> int:
    """Nanoseconds since 1970 of a time in seconds, milliseconds, microseconds or nanoseconds, told apart by its size.

    The contract does not say the unit of `Detection.timestamp`, and agents differ. From 1973 to 5138 the four do not
    overlap.
    """
    for limit, unit_ns in ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3)):
        if number < limit:
            return number * unit_ns
    return number


def read_batch(payload: bytes, now_ns: int) -> Iterator[Detection | tuple[Detection, Refused]]:
    """The decisions of a serialized `DetectionBatch`, each in its one form, or as it came with why it is refused.

    Args:
        payload: as it came.
        now_ns: nanoseconds since 1970, against which times in the future are held.

    Raises:
        Refused: the bytes are no batch, hold none, or too many.
    """
    try:
        batch = DetectionBatch.FromString(payload)
    except DecodeError as error:
        raise Refused("not_decisions", f"{len(payload)} bytes are not a DetectionBatch ({error})") from None
    count = len(batch.detections)
    if not 0 < count <= MAX_BATCH:
        raise Refused("not_decisions", f"the batch holds {count} decisions, 1 to {MAX_BATCH} are taken")
    stamp = batch.batch_timestamp
    fallback_ns = stamp.seconds * NANOSECONDS + stamp.nanos if 0 <= stamp.seconds <= LATEST_SECOND else 0
    for detection in batch.detections:
        try:
            yield in_one_form(detection, fallback_ns, now_ns)
        except Refused as refused:
            yield detection, refused


def in_one_form(raw: Detection, fallback_ns: int, now_ns: int) -> Detection:
    """A decision as it is kept: canonical address, nanoseconds, texts without control characters and of bounded length.

    A confidence outside of 0 to 1 is none (0); a type that the contract does not know is UNKNOWN.

    Raises:
        Refused: decision_address or decision_time.
    """
    try:
        address = canonical_address(raw.src_ip.strip())
    except ValueError:
        raise Refused("decision_address", f"{raw.src_ip[:64]!r} is not an IPv4 or IPv6 address") from None
    time_ns = time_ns_of(raw.timestamp) if raw.timestamp else fallback_ns
    if not _EARLIEST_NS <= time_ns <= now_ns + EARLY_S * NANOSECONDS:
        raise Refused(
            "decision_time",
            f"the time {raw.timestamp} is before the year 2000, or over {EARLY_S // 60} minutes in the future",
        )
    sure = raw.confidence if math.isfinite(raw.confidence) and 0 <= raw.confidence <= 1 else 0.0
    return Detection(
        src_ip=address,
        type=raw.type if raw.type in KINDS else DetectionType.DETECTION_UNKNOWN,
        confidence=sure,
        timestamp=time_ns,
        description=_plain(raw.description, MAX_REASON),
        action=_plain(raw.action, MAX_ACTION),
        duration_seconds=raw.duration_seconds,
    )


def _plain(text: str, most: int) -> str:
    """A text that cannot steer a terminal or reverse a line, see `str.isprintable`; cut where it is too long."""
    return "".join(char if char.isprintable() else " " for char in text[: 4 * most]).strip()[:most]
