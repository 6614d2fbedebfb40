"""What is fuzzed of the wire: frames from outside, bodies inside a valid seal, acknowledgements.

The oracle: nothing but a refusal comes out, nothing is taken that was not sealed with the key, and what comes out of a
seal is exactly as long as it said and within the limits.
"""

from __future__ import annotations

import contextlib
from itertools import count
from typing import TYPE_CHECKING

from torture.fuzzing import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torture.fuzzing import Check

    from services.common.wire.keys import KeyRing

_SEED, _OTHER = bytes(range(32)), bytes(range(100, 132))
_CHANNEL = "events"
_BODIES = (b"event", b"a" * 3000, bytes(range(256)) * 8)


def _ring() -> KeyRing:
    from services.common.wire.keys import KeyRing  # noqa: PLC0415 - the guided run instruments it first

    return KeyRing(5, {5: _SEED, 6: _OTHER}, frozenset({7}))


def _event() -> bytes:
    from services.common.events.network_security_pb2 import NetworkSecurityEvent  # noqa: PLC0415 - as above

    event = NetworkSecurityEvent(event_id="event-1", originating_node_id="node-a")
    event.event_timestamp.seconds = 1_769_083_200
    event.network_features.source_ip = "10.0.0.1"
    event.network_features.destination_ip = "2001:db8::1"
    return event.SerializeToString(deterministic=True)


def _v1_inputs() -> Sequence[bytes]:
    from services.common.wire.v1 import V1Sealer  # noqa: PLC0415 - as above

    return [V1Sealer(seed, _CHANNEL, 9, bytes).seal(body) for seed in (_SEED, _OTHER) for body in _BODIES]


def _v1_check(_folder: Path) -> Check:
    from services.common.wire.refusals import FrameRefused, Reason  # noqa: PLC0415 - as above
    from services.common.wire.v1 import V1Opener  # noqa: PLC0415 - as above

    opener, known = V1Opener([_SEED], _CHANNEL, {"node-a": _OTHER}), set(_v1_inputs())

    def check(data: bytes) -> str | None:
        try:
            opened = opener.open(data, str(len(data) % 7))
        except FrameRefused as refused:
            # Who sent so much that nobody sealed has used up its trials of other seeds for a while.
            is_wrong = data in known and refused.reason is not Reason.TOO_MANY_TRIALS
            return f"a valid frame was refused: {refused}" if is_wrong else None
        return None if data in known and opened.payload in _BODIES else "a frame was taken that nobody sealed"

    return check


def _v2_inputs() -> Sequence[bytes]:
    from services.common.wire.v2 import Origin, V2Sealer  # noqa: PLC0415 - as above

    sealers = [V2Sealer(_ring(), Origin(_CHANNEL, sender, 1000), bytes) for sender in (1, 2)]
    frames = [sealer.seal([body], backfill=True)[1] for sealer in sealers for body in _BODIES]
    return [*frames, *(sealer.seal(_BODIES)[1] for sealer in sealers)]


def _v2_check(folder: Path) -> Check:
    from services.common.wire.refusals import FrameRefused  # noqa: PLC0415 - as above
    from services.common.wire.senders import SenderTable  # noqa: PLC0415 - as above
    from services.common.wire.sessions import AlreadyHandled, V2Receiver  # noqa: PLC0415 - as above

    receiver, known = V2Receiver(_ring(), _CHANNEL, SenderTable(folder / "senders.json")), set(_v2_inputs())

    def check(data: bytes) -> str | None:
        try:
            opened = receiver.open(data)
        except FrameRefused:
            return "a valid frame was refused" if data in known else None
        if data not in known:
            return "a frame was taken that nobody sealed"
        if not isinstance(opened, AlreadyHandled):
            receiver.acknowledge(opened, len(opened.payloads), 0, {})
        return None

    return check


def _inside_inputs() -> Sequence[bytes]:
    from services.common.wire.body import compress, join_batch  # noqa: PLC0415 - as above

    event = _event()
    bodies = [event, join_batch([event, event]), join_batch([b"x"] * 40), bytes(200_000), *_BODIES]
    return [bytes([flags]) + compress(body, 52) for body in bodies for flags in (0, 1, 3)]


def _inside_check(folder: Path) -> Check:
    from services.common.wire.body import MAX_BODY_BYTES, MAX_FRAME_BYTES  # noqa: PLC0415 - as above
    from services.common.wire.refusals import INSIDE, FrameRefused  # noqa: PLC0415 - as above

    ways = (_inside_v1(), _inside_v2(folder))

    def check(data: bytes) -> str | None:
        plain = data[1:]
        if not 5 <= len(plain) <= MAX_FRAME_BYTES - 100:
            return None
        for way in ways:
            try:
                payloads = way(data[0], plain)
            except FrameRefused as refused:
                if refused.reason not in INSIDE:
                    return f"an authentic frame was refused as {refused.reason}"
                continue
            size = int.from_bytes(plain[:4], "little")
            if not all(payloads) or sum(map(len, payloads)) > size or size > MAX_BODY_BYTES:
                return f"{len(payloads)} payloads came out of a body of {size} bytes"
        return None

    return check


def _inside_v1() -> Callable[[int, bytes], list[bytes]]:
    from services.common.events.parse import Refused, parse_event  # noqa: PLC0415 - as above
    from services.common.wire.keys import v1_aead  # noqa: PLC0415 - as above
    from services.common.wire.v1 import V1Opener  # noqa: PLC0415 - as above

    opener, aead, nonce = V1Opener([_SEED], _CHANNEL), v1_aead(_SEED, _CHANNEL), bytes(12)

    def way(_flags: int, plain: bytes) -> list[bytes]:
        payload = opener.open(nonce + aead.encrypt(nonce, plain, None)).payload
        with contextlib.suppress(Refused):
            parse_event(payload)
        return [payload]

    return way


def _inside_v2(folder: Path) -> Callable[[int, bytes], list[bytes]]:
    from services.common.wire.keys import v2_aead, v2_info  # noqa: PLC0415 - as above
    from services.common.wire.senders import SenderTable  # noqa: PLC0415 - as above
    from services.common.wire.sessions import AuthenticFrameRefused, Opened, V2Receiver  # noqa: PLC0415 - as above
    from services.common.wire.v2 import Header  # noqa: PLC0415 - as above

    receiver = V2Receiver(_ring(), _CHANNEL, SenderTable(folder / "senders.json"))
    aead, seqs = v2_aead(_SEED, bytes(16), v2_info(_CHANNEL, "data", 1, 1)), count()

    def way(flags: int, plain: bytes) -> list[bytes]:
        seq = next(seqs)
        header = Header(flags & 3, 5, 1, 1, bytes(16), seq).pack()
        frame = header + aead.encrypt(bytes(4) + seq.to_bytes(8, "little"), plain, header)
        try:
            opened = receiver.open(frame)
        except AuthenticFrameRefused as refused:
            receiver.acknowledge(refused.opened, 0, 0, {refused.reason: 1})
            raise
        assert isinstance(opened, Opened)
        receiver.acknowledge(opened, len(opened.payloads), 0, {})
        return opened.payloads

    return way


def _ack_inputs() -> Sequence[bytes]:
    from services.common.wire.acks import Ack  # noqa: PLC0415 - as above
    from services.common.wire.body import compress  # noqa: PLC0415 - as above

    acks = (Ack(0, 1, 0), Ack((1 << 64) - 1, 8192, 0, {"too_old": 3, "not_an_event": 70_000}))
    return [compress(ack.pack(), 52) for ack in acks]


def _ack_check(_folder: Path) -> Check:
    from services.common.wire.acks import read_ack  # noqa: PLC0415 - as above
    from services.common.wire.refusals import FrameRefused  # noqa: PLC0415 - as above

    def check(data: bytes) -> str | None:
        if len(data) < 5:
            return None
        try:
            ack = read_ack(data)
        except FrameRefused:
            return None
        counted = (ack.seq, ack.accepted, ack.duplicates, *ack.refused.values())
        sound = all(type(number) is int and number >= 0 for number in counted)
        return None if sound and len(ack.refused) <= 256 else f"an acknowledgement of {ack!r:.200}"

    return check


_WIRE = ("services.common.wire",)

FRAME_TARGETS = (
    Target("frame-v1", "only what was sealed is taken", _v1_inputs, _v1_check, _WIRE, 60_000),
    Target("frame-v2", "only what was sealed is taken", _v2_inputs, _v2_check, _WIRE, 60_000),
    Target(
        "frame-inside",
        "a hostile body in a valid seal is refused",
        _inside_inputs,
        _inside_check,
        _WIRE,
        15_000,
    ),
    Target("frame-ack", "an acknowledgement is read or refused", _ack_inputs, _ack_check, _WIRE, 60_000),
)
