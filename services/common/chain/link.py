"""One link: a line of canonical JSON in `chain/links.jsonl` (docs/chain.md).

    {"key":ID,"link":{...},"signature":HEX}                               and in a change of keys
    {"countersignature":HEX,"key":ID,"link":{...},"signature":HEX}

The signature is over the canonical bytes of `link`; their SHA-256 names the link, and stands in the next as `previous`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.canonical import canonical, read_canonical
from services.common.chain.keys import PublicKey
from services.common.chain.state import DayState, state_from_plain, state_to_plain
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.chain.keys import SigningKey

FORMAT = 1
PURPOSE = "chain:v1"
FIRST_PREVIOUS = "0" * 64
LONGEST_LINE = 1 << 16

BEGIN, KEY = "begin", "key"
SEALED, INDEXED, WAITS, SERVED, ADOPTED, REMOVED = (
    "sealed",
    "indexed",
    "waits",
    "served",
    "adopted",
    "removed",
)
OF_DAYS = (SEALED, INDEXED, WAITS, SERVED, ADOPTED, REMOVED)

_HEX = re.compile(r"[0-9a-f]+")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_ENVELOPE = {"key", "link", "signature"}
_COMMON = {"format", "number", "previous", "time", "what"}


@dataclass(frozen=True)
class Link:
    """A link as it was read or written. Whether its signature holds is for `check` to say."""

    number: int  # from 1, without holes
    previous: str  # digest of the link before
    time: str  # when it was written, by the writer's clock; ISO 8601, UTC
    what: str  # BEGIN, KEY or one of OF_DAYS
    state: DayState | None  # of OF_DAYS: the day as it is from then on
    public: PublicKey | None  # of BEGIN and KEY: the key that signs from then on
    key_id: str  # of the key that signed
    signature: bytes
    countersignature: bytes  # of KEY, by the new key; otherwise empty
    body: bytes  # what is signed
    line: bytes  # as it lies on disk, without the line feed

    @property
    def digest(self) -> str:
        """The link's name: SHA-256 (hex) of what is signed."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def day(self) -> str:
        """The day it is about; empty for one about keys."""
        return "" if self.state is None else self.state.day

    def signed_by(self, key: PublicKey) -> bool:
        """Whether `key` signed it."""
        return key.id == self.key_id and key.signed(PURPOSE, self.body, self.signature)


@dataclass(frozen=True)
class Place:
    """Where a new link goes."""

    number: int
    previous: str
    time: str


def day_link(what: str, state: DayState, place: Place, key: SigningKey) -> Link:
    """A signed link about a day."""
    return _sign({"what": what, **state_to_plain(state)}, place, key)


def begin_link(chain_id: str, place: Place, key: SigningKey) -> Link:
    """The first link; `chain_id` (32 hex characters) tells chains of one key apart."""
    return _sign({"what": BEGIN, "chain": chain_id, "public": key.public.raw.hex()}, place, key)


def key_link(new: SigningKey, place: Place, old: SigningKey) -> Link:
    """The link with which `old` hands over to `new`; both sign it."""
    return _sign({"what": KEY, "public": new.public.raw.hex()}, place, old, new)


def _sign(content: dict[str, Any], place: Place, key: SigningKey, other: SigningKey | None = None) -> Link:
    body = {
        "format": FORMAT,
        "number": place.number,
        "previous": place.previous,
        "time": place.time,
        **content,
    }
    signed = canonical(body)
    envelope = {"key": key.public.id, "link": body, "signature": key.sign(PURPOSE, signed).hex()}
    if other is not None:
        envelope["countersignature"] = other.sign(PURPOSE, signed).hex()
    return read_link(canonical(envelope))


def read_link(line: bytes) -> Link:
    """The link in a line (without its line feed). No signature is checked.

    Raises:
        AppiaError: it is none, or of a newer release.
    """
    if len(line) > LONGEST_LINE:
        raise AppiaError(f"it is longer than {LONGEST_LINE} bytes")
    raw = read_canonical(line)
    try:
        body = raw["link"]
        if type(body["format"]) is int and body["format"] > FORMAT:
            raise AppiaError(
                f"it is of format {body['format']}, this release knows {FORMAT}: install a newer appia"
            )
        return _link(raw, body, line)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise AppiaError("it is no link as this release knows them") from None


def _link(raw: Any, body: Any, line: bytes) -> Link:
    what = body["what"]
    state, public = None, None
    if what in OF_DAYS:
        state = state_from_plain({name: body[name] for name in body.keys() - _COMMON})
    else:
        _same(body.keys() - _COMMON, {"public", "chain"} if what == BEGIN else {"public"})
        _same(what in {BEGIN, KEY} and len(body.get("chain", "0" * 32)), 32)
        public = PublicKey(_hex(body["public"]))
    _same(raw.keys(), _ENVELOPE | ({"countersignature"} if what == KEY else set()))
    _same((body["format"], len(body["previous"])), (FORMAT, 64))
    _same({type(body["format"]), type(body["number"])}, {int})  # true is no number
    _same(what == BEGIN, body["number"] == 1)
    return Link(
        number=body["number"],
        previous=_hex(body["previous"]).hex(),
        time=_TIME.fullmatch(body["time"])[0],  # type: ignore[index] # None is refused as what is no link
        what=what,
        state=state,
        public=public,
        key_id=_hex(raw["key"]).hex(),
        signature=_hex(raw["signature"]),
        countersignature=_hex(raw["countersignature"]) if what == KEY else b"",
        body=canonical(body),
        line=line,
    )


def _same(found: object, wanted: object) -> None:
    if found != wanted:
        raise ValueError("not as it should be")


def _hex(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise ValueError("no hexadecimal digits")
    return bytes.fromhex(text)
