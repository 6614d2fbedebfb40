"""Version 2 frames: layout, keys, limits, forgeries."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from services.common.wire import v2
from services.common.wire.body import MAX_FRAME_BYTES
from services.common.wire.keys import KeyRing
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.v2 import (
    Direction,
    DirectionKeys,
    Header,
    Origin,
    V2Sealer,
    authenticate,
    open_payloads,
)

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = Origin("events", 0x0102030405060708, 1_769_000_000_000_000_000)
SEED = bytes(range(32))
KEY_ID = 0xA0B1C2D3
HEADER = Header(0, KEY_ID, ORIGIN.sender, ORIGIN.boot, b"s" * 16, 3)
RawSeal = Callable[..., bytes]


def refusal(frame: bytes, keys: DirectionKeys) -> Reason:
    with pytest.raises(FrameRefused) as refused:
        open_payloads(*authenticate(frame, keys))
    return refused.value.reason


def test_the_frame_is_laid_out_as_documented(formats: Path) -> None:
    """Header, info string, nonce and AAD are where the format puts them, by a second implementation."""
    for vector in json.loads((formats / "wire-v2.json").read_text()):
        frame, salt = bytes.fromhex(vector["frame_hex"]), bytes.fromhex(vector["salt_hex"])
        flags = (1 if len(vector["payloads_hex"]) > 1 else 0) | (2 if vector["backfill"] else 0)
        head = b"APP2\x02\x01" + struct.pack(
            "<HIQQ", flags, vector["key_id"], vector["sender"], vector["boot"]
        )
        head += salt + struct.pack("<Q", vector["seq"])
        info = "appia:v2|{channel}|{direction}|{sender}|{boot}".format(**vector).encode()
        extracted = hmac.digest(salt, bytes.fromhex(vector["seed_hex"]), hashlib.sha256)
        key = hmac.digest(extracted, info + b"\x01", hashlib.sha256)
        assert frame[:52] == head
        assert ChaCha20Poly1305(key).decrypt(bytes(4) + struct.pack("<Q", vector["seq"]), frame[52:], head)


def test_frames_sealed_by_earlier_versions_still_open(formats: Path) -> None:
    """The kept frames open to the payloads, sender, boot, seq and backfill mark they were made of."""
    for vector in json.loads((formats / "wire-v2.json").read_text()):
        ring = KeyRing(vector["key_id"], {vector["key_id"]: bytes.fromhex(vector["seed_hex"])})
        keys = DirectionKeys(ring, vector["channel"], Direction.DATA)
        header, plain = authenticate(bytes.fromhex(vector["frame_hex"]), keys)
        assert [payload.hex() for payload in open_payloads(header, plain)] == vector["payloads_hex"]
        assert (header.sender, header.boot, header.seq) == (vector["sender"], vector["boot"], vector["seq"])
        assert bool(header.flags & v2.FLAG_BACKFILL) == vector["backfill"]


@given(
    payloads=st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=40), backfill=st.booleans()
)
def test_what_is_sealed_opens(
    ring: KeyRing, data_keys: DirectionKeys, *, payloads: list[bytes], backfill: bool
) -> None:
    """open(seal(x)) == x, for one event and for batches."""
    sealer = V2Sealer(ring, ORIGIN)
    for expected_seq in range(2):
        seq, frame = sealer.seal(payloads, backfill=backfill)
        header, plain = authenticate(frame, data_keys)
        assert open_payloads(header, plain) == payloads
        assert (seq, header.seq) == (expected_seq, expected_seq)
        assert bool(header.flags & v2.FLAG_BACKFILL) == backfill


@given(st.data())
def test_a_changed_frame_is_refused(ring: KeyRing, data_keys: DirectionKeys, data: st.DataObject) -> None:
    """Any flipped bit, header bits too, any cut or addition is refused, by FrameRefused and nothing else."""
    _, frame = V2Sealer(ring, ORIGIN).seal([b"an event" * 5, b"another"])
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    flipped = bytearray(frame)
    flipped[bit // 8] ^= 1 << bit % 8
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    longer = frame + data.draw(st.binary(min_size=1, max_size=20))
    for changed in (bytes(flipped), cut, longer):
        with pytest.raises(FrameRefused):
            authenticate(changed, data_keys)


@given(tail=st.binary(max_size=300), honest_start=st.booleans())
def test_arbitrary_bytes_are_refused(data_keys: DirectionKeys, *, tail: bytes, honest_start: bool) -> None:
    """Bytes from anybody are refused, also behind an honest first half of a header."""
    frame = HEADER.pack()[:12] + tail if honest_start else tail
    with pytest.raises(FrameRefused):
        authenticate(frame, data_keys)


@given(st.binary(min_size=5, max_size=300), st.sampled_from([0, 1, 2, 3]))
def test_arbitrary_bytes_inside_the_seal_are_opened_or_refused(
    data_keys: DirectionKeys, seal_v2_raw: RawSeal, plain: bytes, flags: int
) -> None:
    """Even a holder of the key cannot make the opener fail in another way."""
    header = dataclasses.replace(HEADER, flags=flags)
    opened = authenticate(seal_v2_raw(header, plain), data_keys)
    try:
        payloads = open_payloads(*opened)
    except FrameRefused:
        return
    assert all(payloads)


def test_wrong_insides_are_refused_by_reason(
    data_keys: DirectionKeys, seal_v2_raw: RawSeal, wrong_insides: dict[str, list[bytes]]
) -> None:
    """Authentic frames with a wrong inside are refused with the code of what is wrong."""
    for reason, insides in wrong_insides.items():
        for plain in insides:
            assert refusal(seal_v2_raw(HEADER, plain), data_keys) == reason
    batch = dataclasses.replace(HEADER, flags=v2.FLAG_BATCH)
    assert refusal(seal_v2_raw(batch, b"\x01\x00\x00\x00\x10a"), data_keys) is Reason.BAD_BATCH


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"APP1", Reason.BAD_MAGIC),
        (4, b"\x01", Reason.WRONG_VERSION),
        (4, b"\x03", Reason.WRONG_VERSION),
        (5, b"\x00", Reason.WRONG_ALGORITHM),
        (6, b"\x10", Reason.UNKNOWN_FLAGS),
        (6, b"\x04", Reason.WRONG_DIRECTION),
        (8, b"\x00", Reason.UNKNOWN_KEY),
        (6, b"\x02", Reason.BAD_TAG),
        (28, b"S", Reason.BAD_TAG),
        (44, b"\x01", Reason.BAD_TAG),
    ],
)
def test_header_fields_that_are_refused(
    ring: KeyRing, data_keys: DirectionKeys, offset: int, value: bytes, reason: Reason
) -> None:
    """Each header field has its refusal; none can be changed without notice."""
    frame = bytearray(V2Sealer(ring, ORIGIN).seal([b"event"])[1])
    frame[offset : offset + len(value)] = value
    assert refusal(bytes(frame), data_keys) is reason


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, Reason.TOO_SHORT),
        (72, Reason.TOO_SHORT),
        (73, Reason.BAD_TAG),
        (MAX_FRAME_BYTES, Reason.BAD_TAG),
        (MAX_FRAME_BYTES + 1, Reason.TOO_LONG),
    ],
)
def test_length_limits(data_keys: DirectionKeys, length: int, reason: Reason) -> None:
    """73 bytes to 1 MiB are looked at, nothing else."""
    frame = (HEADER.pack() + bytes(MAX_FRAME_BYTES))[:length]
    assert refusal(frame, data_keys) is reason


def test_a_rotated_key_opens_and_a_revoked_one_does_not(ring: KeyRing) -> None:
    """After a rotation old frames still open, until their key is revoked."""
    _, frame = V2Sealer(ring, ORIGIN).seal([b"event"])
    rotated = KeyRing(7, {7: bytes(32), KEY_ID: SEED})
    assert authenticate(frame, DirectionKeys(rotated, "events", Direction.DATA))
    revoked = KeyRing(7, {7: bytes(32), KEY_ID: SEED}, frozenset({KEY_ID}))
    assert refusal(frame, DirectionKeys(revoked, "events", Direction.DATA)) is Reason.REVOKED_KEY
    assert V2Sealer(rotated, ORIGIN).seal([b"event"])[1][8:12] == (7).to_bytes(4, "little")


def test_directions_and_channels_have_keys_of_their_own(ring: KeyRing, seal_v2_raw: RawSeal) -> None:
    """A data frame cannot be turned into an acknowledgement, nor moved to another channel."""
    _, frame = V2Sealer(ring, ORIGIN).seal([b"event"])
    assert refusal(frame, DirectionKeys(ring, "events", Direction.ACK)) is Reason.WRONG_DIRECTION
    assert refusal(frame, DirectionKeys(ring, "other", Direction.DATA)) is Reason.BAD_TAG
    marked = seal_v2_raw(dataclasses.replace(HEADER, flags=v2.FLAG_ACK), b"\x01\x00\x00\x00\x10a", "data")
    assert refusal(marked, DirectionKeys(ring, "events", Direction.ACK)) is Reason.BAD_TAG


def test_every_boot_has_a_fresh_salt(ring: KeyRing) -> None:
    """1,000 starts with the very same sender and boot number never share a key and nonce."""
    starts = {V2Sealer(ring, ORIGIN).seal([b"event"])[1][28:52] for _ in range(1000)}
    assert len(starts) == 1000


def test_forged_headers_do_not_drive_out_good_keys(ring: KeyRing) -> None:
    """Keys are kept only after they have opened a frame, and only so many."""
    keys = DirectionKeys(ring, "events", Direction.DATA)
    _, frame = V2Sealer(ring, ORIGIN).seal([b"event"])
    authenticate(frame, keys)
    for number in range(50):
        forged = frame[:28] + number.to_bytes(16, "little") + frame[44:]
        assert refusal(forged, keys) is Reason.BAD_TAG
    assert len(keys._kept) == 1
    for boot in range(v2.KEYS_KEPT + 5):
        authenticate(V2Sealer(ring, Origin("events", 1, boot)).seal([b"event"])[1], keys)
    assert len(keys._kept) == v2.KEYS_KEPT


@pytest.mark.parametrize("payloads", [[], [b""], [b"a", b""]])
def test_an_empty_event_is_not_sealed(ring: KeyRing, payloads: list[bytes]) -> None:
    """Nothing is sealed that the receiver would refuse, and no number is used up by trying."""
    sealer = V2Sealer(ring, ORIGIN)
    with pytest.raises(FrameRefused) as refused:
        sealer.seal(payloads)
    assert refused.value.reason is Reason.SIZE_ZERO
    assert sealer.seal([b"event"])[0] == 0


def test_too_large_a_batch_is_not_sealed(ring: KeyRing) -> None:
    """A batch above 1 MiB is refused on the sending side."""
    with pytest.raises(FrameRefused) as refused:
        V2Sealer(ring, ORIGIN).seal([bytes(600_000), bytes(600_000)])
    assert refused.value.reason is Reason.SIZE_TOO_LARGE


def test_a_sealer_that_changes_its_ring_repeats_no_nonce() -> None:
    """A to B and back to A under one salt: seq goes on, so no (key, nonce) comes twice."""
    rings = {key: KeyRing(key, {1: SEED, 2: bytes(32)}) for key in (1, 2)}
    sealer = V2Sealer(rings[1], Origin("events", 7, 1000))
    used = []
    for key in (1, 2, 1):
        sealer.use(rings[key])
        used += [(sealer.key_id, sealer.seal([b"event"])[0]) for _ in range(3)]
    assert used == [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (1, 6), (1, 7), (1, 8)]


def test_a_sealer_opens_its_own_frames_while_it_has_their_key() -> None:
    """What waits under a key that goes can be sealed anew; afterwards nobody opens it."""
    sealer = V2Sealer(KeyRing(1, {1: SEED}), Origin("events", 7, 1000))
    single, batch = sealer.seal([b"event"])[1], sealer.seal([b"one", b"two"], backfill=True)[1]
    assert (sealer.reopen(single), sealer.reopen(batch)) == ([b"event"], [b"one", b"two"])
    sealer.use(KeyRing(2, {2: bytes(32)}))
    with pytest.raises(FrameRefused, match="unknown_key"):
        sealer.reopen(single)
