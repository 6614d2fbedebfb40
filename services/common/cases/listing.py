"""What a case says of itself: `case.json`, which names every other file by its SHA-256, and its signature.

case.json   canonical JSON (services/common/canonical.py), see docs/cases.md
case.sig    {"key":ID,"public":HEX,"signature":HEX}, Ed25519 over "appia:case:v1", a zero byte and case.json
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from services.common.canonical import canonical, read_canonical
from services.common.errors import AppiaError
from services.common.events.network_security_pb2 import NetworkSecurityEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.chain.keys import PublicKey, SigningKey

FORMAT = 1
PURPOSE = "case:v1"
LISTING, SIGNATURE, PAGE, LINKS = "case.json", "case.sig", "index.html", "chain/links.jsonl"
ORIGINAL, EVENT, SIMILAR, FEEDBACK = "event.pb", "event.json", "similar.json", "feedback.json"
MOST_EVENTS = 100

_NAME = re.compile(
    r"case\.json|case\.sig|index\.html|chain/links\.jsonl|"
    r"events/\d{4}/(?:event\.pb|(?:event|similar|feedback)\.json)|"
    r"days/\d{4}-\d{2}-\d{2}/\d{6}/(?:chunk/(?:manifest\.json|identities\.bin)|[a-z]{1,32}/\d{6}/manifest\.json)",
    re.ASCII,
)
_PLACE = re.compile(r"\d{4}-\d{2}-\d{2} (?:open|sealed)-\d{6}", re.ASCII)
_HEX_32 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CaseEvent:
    """An event of a case: where it lay, and the SHA-256 (hex) of its own bytes, empty where they are not there."""

    event_id: str
    day: str
    segment: str  # "sealed-000002" or "open-000001"
    row: int
    sha256: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Something that should be in a case and is not, and why, in a sentence."""

    what: str
    why: str


@dataclass(frozen=True)
class Listing:
    """The content of `case.json`."""

    created: str  # ISO 8601, UTC
    appia: str  # release that made it
    note: str
    as_of: str
    events: tuple[CaseEvent, ...]
    head: str = ""  # of the chain when the case was made
    left_out: tuple[LeftOut, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 (hex) by name


def is_name(name: str) -> bool:
    """Whether a case may have a file of this name."""
    return _NAME.fullmatch(name) is not None


def event_file(number: int, name: str) -> str:
    """The name of a file of the event with this number, from 1."""
    return f"events/{number:04d}/{name}"


def part_file(day: str, generation: int, part: str, name: str) -> str:
    """The name of a file of a part (`chunk`, `attack/000001`) of a sealed generation."""
    return f"days/{day}/{generation:06d}/{part}/{name}"


def is_place(day: str, segment: str) -> bool:
    """Whether these name a segment of a day; what comes from a replica is looked at before it becomes a path."""
    return _PLACE.fullmatch(f"{day} {segment}") is not None


def generation_of(segment: str) -> int | None:
    """The number of the sealed generation that a segment is; None for an open one."""
    kind, _, number = segment.partition("-")
    return int(number) if kind == "sealed" else None


def id_in(original: bytes) -> str:
    """The id of the event with these bytes; empty where they are no event."""
    try:
        return NetworkSecurityEvent.FromString(original).event_id
    except DecodeError:
        return ""


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 (hex) of files by name."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def to_bytes(listing: Listing) -> bytes:
    """The file `case.json`."""
    return canonical(
        {
            "format": FORMAT,
            "created": listing.created,
            "appia": listing.appia,
            "note": listing.note,
            "as_of": listing.as_of,
            "head": listing.head,
            "events": [vars(event) for event in listing.events],
            "left_out": [vars(one) for one in listing.left_out],
            "files": dict(listing.files),
        }
    )


def from_bytes(data: bytes) -> Listing:
    """What a file `case.json` says.

    Raises:
        AppiaError: it is none, or of a newer release.
    """
    raw = read_canonical(data)
    try:
        if type(raw["format"]) is int and raw["format"] > FORMAT:
            raise AppiaError(
                f"it is of format {raw['format']}, this release knows {FORMAT}: install a newer appia"
            )
        listing = Listing(
            **{name: _text(raw[name]) for name in ("created", "appia", "note", "as_of", "head")},
            events=tuple(_event(one) for one in raw["events"]),
            left_out=tuple(LeftOut(_text(one["what"]), _text(one["why"])) for one in raw["left_out"]),
            files={_file(name): _digest(digest) for name, digest in raw["files"].items()},
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        raise AppiaError("it is no list of a case as this release knows them") from None
    if to_bytes(listing) != data:
        raise AppiaError("it is no list of a case as this release knows them")
    return listing


def sign(listing: bytes, key: SigningKey) -> bytes:
    """The file `case.sig`."""
    return _signature_file(key.public, key.sign(PURPOSE, listing))


def fault_of_signature(listing: bytes, signature: bytes, trusted: PublicKey) -> str:
    """Why `case.sig` does not show that `trusted` signed `case.json`; empty where it does."""
    try:
        raw = read_canonical(signature)
        key_id, value = str(raw["key"]), bytes.fromhex(raw["signature"])
    except (AppiaError, TypeError, KeyError, ValueError):
        return f"{SIGNATURE} was altered: it is no signature of a case"
    if trusted.signed(PURPOSE, listing, value):
        # Every byte of it, for the rest of the file is not signed.
        is_whole = signature == _signature_file(trusted, value)
        return (
            "" if is_whole else f"{SIGNATURE} was altered: it does not name the key {trusted.id} that signed"
        )
    if key_id != trusted.id:
        return f"the case is signed with the key {key_id[:16]!r}, and not with {trusted.id}"
    return f"{LISTING} was altered: its signature does not hold"


def _signature_file(key: PublicKey, signature: bytes) -> bytes:
    return canonical({"key": key.id, "public": key.raw.hex(), "signature": signature.hex()})


def _event(raw: Any) -> CaseEvent:
    digest = raw["sha256"] and _digest(raw["sha256"])
    if type(raw["row"]) is not int or not is_place(raw["day"], raw["segment"]):
        raise ValueError("no place of an event")
    return CaseEvent(_text(raw["event_id"]), _text(raw["day"]), _text(raw["segment"]), raw["row"], digest)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _file(name: str) -> str:
    if not is_name(name) or name in {LISTING, SIGNATURE}:
        raise ValueError("no name of a file in a case")
    return name


def _digest(text: Any) -> str:
    if not _HEX_32.fullmatch(text):
        raise ValueError("no SHA-256")
    return str(text)
