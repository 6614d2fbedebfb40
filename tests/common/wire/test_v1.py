"""Version 1 frames: the field's vectors, limits, forgeries, and sealing without the field's flaw."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import UsageError
from services.common.wire import v1
from services.common.wire.body import MAX_FRAME_BYTES
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.v1 import TrialBudget, V1Opener, V1Sealer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNEL = "ml-defender:rag-artifacts:v1"
SEED = bytes(range(32))
OPENER = V1Opener([SEED], CHANNEL)
# What the vectors' inner events get wrong is for the event parser to refuse, not for the frame opener.
EVENT_FAULTS = ("body is no protobuf event", "event without", "source_ip is no address")


def hkdf(seed: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 for one block, written a second time."""
    extracted = hmac.digest(salt, seed, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def test_every_field_vector_is_opened_or_refused_as_it_says(field_vectors: Path) -> None:
    """Frames of the sensors in the field open to their event and counter, and broken ones are refused."""
    vectors = json.loads(field_vectors.read_text())
    assert len(vectors) > 20
    for vector in vectors:
        opener = V1Opener([bytes.fromhex(vector["seed_hex"])], vector["channel"])
        frame = bytes.fromhex(vector["frame_hex"])
        why = vector.get("why", "")
        if vector["expect"] == "accept":
            opened = opener.open(frame)
            assert (opened.payload.hex(), opened.counter) == (vector["event_hex"], vector["counter"])
        elif any(fault in why for fault in EVENT_FAULTS):
            assert opener.open(frame).payload
        else:
            with pytest.raises(FrameRefused) as refused:
                opener.open(frame)
            forged = refused.value.reason in (Reason.BAD_TAG, Reason.TOO_SHORT)
            assert forged != why.startswith("authentic"), why


def test_the_derived_key_is_the_one_of_the_field(field_vectors: Path) -> None:
    """HKDF with a salt of zeros and the channel as info gives the vectors' keys."""
    for vector in json.loads(field_vectors.read_text()):
        if "key_hex" in vector and "seed_hex" in vector:
            key = hkdf(bytes.fromhex(vector["seed_hex"]), bytes(32), vector["channel"].encode())
            assert key.hex() == vector["key_hex"]


def test_frames_sealed_by_earlier_versions_still_open(formats: Path) -> None:
    """The kept frames open to the payload, boot and counter they were made of."""
    for vector in json.loads((formats / "wire-v1.json").read_text()):
        opened = V1Opener([bytes.fromhex(vector["seed_hex"])], vector["channel"]).open(
            bytes.fromhex(vector["frame_hex"])
        )
        assert opened.payload.hex() == vector["payload_hex"]
        assert (opened.boot, opened.counter) == (vector["boot"], vector["counter"])


def test_sealing_gives_the_bytes_of_the_format(formats: Path) -> None:
    """Nonce, key and inside are where the format puts them, checked with a second implementation."""
    for vector in json.loads((formats / "wire-v1.json").read_text()):
        first = vector["counter"] // 2**32
        seed, frame = bytes.fromhex(vector["seed_hex"]), bytes.fromhex(vector["frame_hex"])
        key = hkdf(seed, bytes(32), vector["channel"].encode())
        plain = ChaCha20Poly1305(key).decrypt(frame[:12], frame[12:], None)
        assert frame[:12] == struct.pack("<IQ", vector["boot"], vector["counter"])
        assert int.from_bytes(plain[:4], "little") == len(bytes.fromhex(vector["payload_hex"]))
        sealer = V1Sealer(seed, vector["channel"], vector["boot"], first.to_bytes(4, "little").ljust)
        assert sealer.seal(bytes.fromhex(vector["payload_hex"])) == frame


@given(st.binary(min_size=1, max_size=2000))
def test_what_is_sealed_opens(payload: bytes) -> None:
    """open(seal(x)) == x."""
    sealer = V1Sealer(SEED, CHANNEL, 5)
    first, second = OPENER.open(sealer.seal(payload)), OPENER.open(sealer.seal(payload))
    assert first.payload == second.payload == payload
    assert (first.counter % 2**32, second.counter - first.counter, first.boot) == (0, 1, 5)
    assert first.tag != second.tag


@given(st.data())
def test_a_changed_frame_is_refused(data: st.DataObject) -> None:
    """Any flipped bit, cut or addition is refused, by FrameRefused and nothing else."""
    frame = V1Sealer(SEED, CHANNEL, 5).seal(b"some event" * 9)
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    flipped = bytearray(frame)
    flipped[bit // 8] ^= 1 << bit % 8
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    longer = frame + data.draw(st.binary(min_size=1, max_size=20))
    for changed in (bytes(flipped), cut, longer):
        with pytest.raises(FrameRefused):
            OPENER.open(changed)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(frame: bytes) -> None:
    """Bytes from anybody are refused as too short or forged."""
    with pytest.raises(FrameRefused) as refused:
        OPENER.open(frame)
    assert refused.value.reason in (Reason.TOO_SHORT, Reason.BAD_TAG)


@given(st.binary(min_size=5, max_size=300))
def test_arbitrary_bytes_inside_the_seal_are_opened_or_refused(
    seal_v1_raw: Callable[[bytes], bytes], plain: bytes
) -> None:
    """Even a holder of the key cannot make the opener fail in another way."""
    try:
        payload = OPENER.open(seal_v1_raw(plain)).payload
    except FrameRefused:
        return
    assert len(payload) == int.from_bytes(plain[:4], "little")


def test_wrong_insides_are_refused_by_reason(
    seal_v1_raw: Callable[[bytes], bytes], wrong_insides: dict[str, list[bytes]]
) -> None:
    """Authentic frames with a wrong inside are refused with the code of what is wrong."""
    for reason, insides in wrong_insides.items():
        for plain in insides:
            with pytest.raises(FrameRefused) as refused:
                OPENER.open(seal_v1_raw(plain))
            assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, Reason.TOO_SHORT),
        (32, Reason.TOO_SHORT),
        (33, Reason.BAD_TAG),
        (MAX_FRAME_BYTES, Reason.BAD_TAG),
        (MAX_FRAME_BYTES + 1, Reason.TOO_LONG),
    ],
)
def test_length_limits(length: int, reason: Reason) -> None:
    """33 bytes to 1 MiB are looked at, nothing else."""
    with pytest.raises(FrameRefused) as refused:
        OPENER.open(bytes(length))
    assert refused.value.reason is reason


def test_several_seeds_open_and_say_which() -> None:
    """Sensors with seeds of their own reach one endpoint, and the opener tells the seeds apart."""
    other = bytes(32)
    opener = V1Opener([SEED, other], CHANNEL)
    first = opener.open(V1Sealer(SEED, CHANNEL, 1).seal(b"a"))
    second = opener.open(V1Sealer(other, CHANNEL, 1).seal(b"a"))
    assert first.key != second.key
    assert first.key == V1Opener([SEED], CHANNEL).open(V1Sealer(SEED, CHANNEL, 9).seal(b"b")).key


class Clock:
    """Seconds that a test turns by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def many_nodes(count: int) -> dict[str, bytes]:
    return {f"node-{number}": number.to_bytes(32, "big") for number in range(1, count + 1)}


def test_a_sensor_in_operation_costs_one_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many seeds there are, the one that opened a peer's last frame is tried first on its next."""
    nodes = many_nodes(200)
    opener = V1Opener([SEED], CHANNEL, nodes)
    sealers = {node: V1Sealer(seed, CHANNEL, 1) for node, seed in nodes.items()}
    for node, sealer in sealers.items():
        assert opener.open(sealer.seal(b"first"), f"peer of {node}").node == node
    tried: list[object] = []
    decrypt = v1._decrypt

    def counting(aead: ChaCha20Poly1305, nonce: bytes, sealed: bytes) -> bytes | None:
        tried.append(aead)
        return decrypt(aead, nonce, sealed)

    monkeypatch.setattr(v1, "_decrypt", counting)
    for node, sealer in sealers.items():
        assert opener.open(sealer.seal(b"second"), f"peer of {node}").payload == b"second"
    assert len(tried) == len(nodes)


def test_forged_frames_cannot_buy_more_trials_than_the_budget() -> None:
    """Forgeries use up what may be tried in a second; who is known goes on, and so does everybody a second later."""
    clock, nodes = Clock(), many_nodes(200)
    opener = V1Opener([SEED], CHANNEL, nodes, TrialBudget(clock))
    known, late = (V1Sealer(nodes[f"node-{number}"], CHANNEL, 1) for number in (199, 200))
    opener.open(known.seal(b"first"), "known")
    reasons = set()
    for number in range(500):
        with pytest.raises(FrameRefused) as refused:
            opener.open(number.to_bytes(8, "big") * 4096, "attacker")
        reasons.add(refused.value.reason)
    assert reasons == {Reason.BAD_TAG, Reason.TOO_MANY_TRIALS}
    assert opener.open(known.seal(b"second"), "known").payload == b"second"
    with pytest.raises(FrameRefused, match="too_many_trials"):
        opener.open(late.seal(b"event"), "late")
    clock.now += 1
    assert opener.open(late.seal(b"event"), "late").node == "node-200"


def test_with_one_seed_nothing_is_ever_put_off() -> None:
    """The budget is for the trials beyond the first; a flood of forgeries costs no honest frame."""
    clock = Clock()
    opener = V1Opener([SEED], CHANNEL, budget=TrialBudget(clock))
    for _ in range(300):
        with pytest.raises(FrameRefused, match="bad_tag"):
            opener.open(bytes(MAX_FRAME_BYTES))
    assert opener.open(V1Sealer(SEED, CHANNEL, 1).seal(b"event")).payload == b"event"


def test_the_memory_of_peers_is_bounded() -> None:
    """Addresses are cheap to make up, so only so many are remembered."""
    opener = V1Opener([SEED], CHANNEL)
    sealer = V1Sealer(SEED, CHANNEL, 1)
    for number in range(v1.PEERS_KEPT + 10):
        opener.open(sealer.seal(b"e"), str(number))
    assert len(opener._keys.last) == v1.PEERS_KEPT


def test_a_seed_vouches_for_its_node_and_no_other() -> None:
    """A node with a seed of its own is believed under that one only; the others share what they had."""
    nodes = many_nodes(2)
    opener = V1Opener([SEED], CHANNEL, nodes)
    shared = opener.open(V1Sealer(SEED, CHANNEL, 1).seal(b"e"))
    own = opener.open(V1Sealer(nodes["node-1"], CHANNEL, 1).seal(b"e"))
    opener.check_node(shared, "another")
    opener.check_node(own, "node-1")
    for sealed, node in ((shared, "node-1"), (own, "node-2"), (own, "another")):
        with pytest.raises(FrameRefused) as refused:
            opener.check_node(sealed, node)
        assert refused.value.reason is Reason.WRONG_NODE


def test_other_seeds_are_used_at_once_and_nothing_of_the_old_is_left() -> None:
    """A seed that was taken away opens nothing, not even the next frame of a peer that it opened before."""
    old, new = V1Sealer(SEED, CHANNEL, 1), V1Sealer(bytes(32), CHANNEL, 1)
    opener = V1Opener([SEED], CHANNEL)
    opener.open(old.seal(b"e"), "peer")
    opener.use([bytes(32)], {})
    with pytest.raises(FrameRefused, match="bad_tag"):
        opener.open(old.seal(b"e"), "peer")
    assert opener.open(new.seal(b"e"), "peer").payload == b"e"


def test_a_sealer_that_changes_its_seed_repeats_no_nonce() -> None:
    """There and back again: the counter goes on, so no (key, nonce) comes twice."""
    sealer = V1Sealer(SEED, CHANNEL, 1)
    frames = []
    for seed in (SEED, bytes(32), SEED):
        sealer.use(seed)
        frames += [sealer.seal(b"e") for _ in range(3)]
    assert len({frame[:12] for frame in frames}) == 9


def test_another_channel_has_another_key() -> None:
    """A frame of one channel does not open in another."""
    with pytest.raises(FrameRefused) as refused:
        OPENER.open(V1Sealer(SEED, "ml-defender:etcd:v1:tx", 1).seal(b"a"))
    assert refused.value.reason is Reason.BAD_TAG


@pytest.mark.parametrize("boot", [0, -1, 1 << 32])
def test_the_prefix_of_old_sensors_is_never_sealed_with(boot: int) -> None:
    """Boot zero is what old sensors send; sealing with it could repeat their nonces."""
    with pytest.raises(ValueError, match="boot"):
        V1Sealer(SEED, CHANNEL, boot)


@pytest.mark.parametrize("channel", ["", "a|b", "é", "a\n", "x" * 129])
def test_a_channel_that_is_no_name_is_refused(channel: str) -> None:
    """Channels go into keys as ASCII and never hold the bar that separates fields."""
    with pytest.raises(UsageError, match="channel"):
        V1Opener([SEED], channel)


def test_an_opener_without_a_seed_is_a_mistake() -> None:
    """An opener that could open nothing is refused when it is built."""
    with pytest.raises(ValueError, match="seed"):
        V1Opener([], CHANNEL)
