"""The receiving side of version 2: which frames are new, and what to answer. It opens no socket.

    opened = receiver.open(frame)            a frame is in flight from here
    ... the caller stores opened.payloads and syncs the disk ...
    receiver.acknowledge(opened, result)     only now the frame counts as handled, and this is the answer

One thread drives a receiver.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.wire.acks import Ack
from services.common.wire.keys import SALT_BYTES
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.v2 import (
    FLAG_ACK,
    FLAG_BACKFILL,
    FLAG_DECISIONS,
    Direction,
    DirectionKeys,
    Header,
    authenticate,
    frame_tag,
    open_payloads,
    seal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.wire.keys import KeyRing
    from services.common.wire.senders import SenderTable

ANSWERS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Opened:
    """A new, authentic data frame: its events, each exactly as sent, and how to answer it."""

    sender: int
    boot: int
    seq: int
    backfill: bool
    payloads: list[bytes]
    key_id: int
    tag: bytes
    decisions: bool = False
    """Whether the payloads are batches of firewalls' decisions, and no events."""


@dataclass(frozen=True, slots=True)
class AlreadyHandled:
    """A frame that came before. `ack` is to be sent again; None while it is still being handled: drop it."""

    ack: bytes | None


class AuthenticFrameRefused(FrameRefused):
    """A frame of a holder of the key, with something wrong inside: sending it again would not help.

    The caller keeps it in the dead letter, syncs, and answers `acknowledge(refused.opened, 0, 0,
    {refused.reason: 1})`, so that the sender stops sending it.
    """

    def __init__(self, refused: FrameRefused, opened: Opened) -> None:
        super().__init__(refused.reason, refused.detail)
        self.opened = opened


@dataclass(frozen=True, slots=True)
class _Answer:
    tag: bytes
    ack: bytes


class V2Receiver:
    """Opens data frames and seals their acknowledgements."""

    def __init__(
        self, ring: KeyRing, channel: str, senders: SenderTable, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        """Raise UsageError for a channel that is no name."""
        self._keys = DirectionKeys(ring, channel, Direction.DATA)
        self._ack_keys = DirectionKeys(ring, channel, Direction.ACK)
        self._senders = senders
        self._in_flight: dict[tuple[int, int, int], bytes] = {}
        self._answers: OrderedDict[tuple[int, int, int], _Answer] = OrderedDict()
        # A salt for this session and one counter over all senders: no acknowledgement repeats a nonce.
        self._salt = random(SALT_BYTES)
        self._next_ack_seq = 0

    def use(self, ring: KeyRing) -> None:
        """Take another key ring from now on. No frame may be in flight: its key might not be there to answer with.

        Raises:
            ValueError: a frame is in flight.
        """
        if self._in_flight:
            raise ValueError("a key ring cannot change while frames are in flight")
        self._keys.use(ring)
        self._ack_keys.use(ring)

    def open(self, frame: bytes) -> Opened | AlreadyHandled:
        """Open a frame; a new one is in flight from now until it is acknowledged or abandoned.

        Never blocks. Raises nothing but these, whatever the bytes:

        Raises:
            AuthenticFrameRefused: authentic, but its inside is not a body; it is in flight and is answered.
            FrameRefused: forged, replayed, of an old boot, or not a version 2 frame; it is not answered.
        """
        header, plain = authenticate(frame, self._keys)
        window = self._senders.admit(header.sender, header.boot, header.salt)
        tag = frame_tag(frame)
        handled = self._handled_before(header, tag)
        if handled is not None:
            return handled
        if window.is_below(header.seq):
            raise FrameRefused(
                Reason.REPLAY, f"seq {header.seq} is below the window of sender {header.sender:#018x}"
            )
        try:
            payloads = open_payloads(header, plain)
        except FrameRefused as refused:
            if header.seq in window:
                return self._known_again(header, 1)
            raise AuthenticFrameRefused(refused, self._take(header, [], tag)) from refused
        if header.seq in window:
            return self._known_again(header, len(payloads))
        return self._take(header, payloads, tag)

    def acknowledge(
        self, opened: Opened, accepted: int, duplicates: int, refused: Mapping[str, int]
    ) -> bytes:
        """Seal the acknowledgement of a frame whose fate is on disk; the frame counts as handled from now.

        The first acknowledgement of a sender's new boot blocks on the disk, to keep that boot number.

        Raises:
            AppiaError: the boot number could not be kept; nothing is acknowledged and the frame is in flight.
        """
        self._senders.keep()
        place = (opened.sender, opened.boot, opened.seq)
        self._in_flight.pop(place, None)
        self._senders.mark(opened.sender, opened.boot, opened.seq)
        ack = self._seal(opened, Ack(opened.seq, accepted, duplicates, refused))
        self._answers[place] = _Answer(opened.tag, ack)
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return ack

    def abandon(self, opened: Opened) -> None:
        """Forget a frame that could not be stored: when it is sent again it is new."""
        self._in_flight.pop((opened.sender, opened.boot, opened.seq), None)

    def _handled_before(self, header: Header, tag: bytes) -> AlreadyHandled | None:
        place = (header.sender, header.boot, header.seq)
        answer = self._answers.get(place)
        known_tag = answer.tag if answer else self._in_flight.get(place)
        if known_tag is None:
            return None
        if known_tag != tag:
            raise FrameRefused(
                Reason.NONCE_REUSED,
                f"sender {header.sender:#018x} sealed two contents as seq {header.seq}: its state was copied",
            )
        return AlreadyHandled(answer.ack if answer else None)

    def _known_again(self, header: Header, events: int) -> AlreadyHandled:
        ack = Ack(header.seq, 0, events)
        return AlreadyHandled(self._seal(_opened(header, [], b""), ack))

    def _take(self, header: Header, payloads: list[bytes], tag: bytes) -> Opened:
        self._in_flight[header.sender, header.boot, header.seq] = tag
        return _opened(header, payloads, tag)

    def _seal(self, opened: Opened, ack: Ack) -> bytes:
        header = Header(FLAG_ACK, opened.key_id, opened.sender, opened.boot, self._salt, self._next_ack_seq)
        self._next_ack_seq += 1
        return seal(header, ack.pack(), self._ack_keys)


def _opened(header: Header, payloads: list[bytes], tag: bytes) -> Opened:
    backfill = bool(header.flags & FLAG_BACKFILL)
    decisions = bool(header.flags & FLAG_DECISIONS)
    return Opened(header.sender, header.boot, header.seq, backfill, payloads, header.key_id, tag, decisions)
