"""The receiving side of version 2: acknowledged only when told, handled once, answered again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.errors import AppiaError
from services.common.wire import sessions
from services.common.wire.acks import Ack, read_ack
from services.common.wire.keys import KeyRing
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.senders import WINDOW, SenderTable
from services.common.wire.sessions import AlreadyHandled, AuthenticFrameRefused, Opened, V2Receiver
from services.common.wire.v2 import (
    FLAG_ACK,
    Direction,
    DirectionKeys,
    Header,
    Origin,
    V2Sealer,
    authenticate,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORIGIN = Origin("events", 77, 1000)
KEY_ID = 0xA0B1C2D3


@pytest.fixture
def receiver(ring: KeyRing, tmp_path: Path) -> V2Receiver:
    return V2Receiver(ring, "events", SenderTable(tmp_path / "senders.json"))


@pytest.fixture
def sealer(ring: KeyRing) -> V2Sealer:
    return V2Sealer(ring, ORIGIN)


def opened_of(receiver: V2Receiver, frame: bytes) -> Opened:
    opened = receiver.open(frame)
    assert isinstance(opened, Opened)
    return opened


def handled(receiver: V2Receiver, frame: bytes) -> bytes | None:
    again = receiver.open(frame)
    assert isinstance(again, AlreadyHandled)
    return again.ack


def ack_of(ring: KeyRing, frame: bytes | None) -> tuple[Header, Ack]:
    assert frame is not None
    header, plain = authenticate(frame, DirectionKeys(ring, "events", Direction.ACK))
    return header, read_ack(plain)


def refusal(receiver: V2Receiver, frame: bytes) -> Reason:
    with pytest.raises(FrameRefused) as refused:
        receiver.open(frame)
    assert not isinstance(refused.value, AuthenticFrameRefused)
    return refused.value.reason


def test_a_frame_is_opened_and_its_acknowledgement_says_what_became_of_it(
    ring: KeyRing, receiver: V2Receiver, sealer: V2Sealer
) -> None:
    """Sender, boot, seq, backfill and payloads arrive; the answer carries the caller's counts."""
    sealer.seal([b"first"])
    opened = opened_of(receiver, sealer.seal([b"one", b"two", b"three"], backfill=True)[1])
    assert (opened.sender, opened.boot, opened.seq, opened.backfill) == (77, 1000, 1, True)
    assert opened.payloads == [b"one", b"two", b"three"]
    header, ack = ack_of(ring, receiver.acknowledge(opened, 1, 1, {"not_an_event": 1}))
    assert ack == Ack(1, 1, 1, {"not_an_event": 1})
    assert (header.flags, header.sender, header.boot, header.key_id) == (FLAG_ACK, 77, 1000, KEY_ID)


def test_a_frame_in_flight_is_dropped_silently_and_answered_when_it_is_done(
    receiver: V2Receiver, sealer: V2Sealer
) -> None:
    """A retransmission before the acknowledgement has no answer; after it, the same answer."""
    _, frame = sealer.seal([b"event"])
    opened = opened_of(receiver, frame)
    assert handled(receiver, frame) is None
    ack = receiver.acknowledge(opened, 1, 0, {})
    assert handled(receiver, frame) == ack


def test_an_abandoned_frame_is_new_again(receiver: V2Receiver, sealer: V2Sealer) -> None:
    """What could not be stored is taken when it is sent again."""
    _, frame = sealer.seal([b"event"])
    receiver.abandon(opened_of(receiver, frame))
    assert opened_of(receiver, frame).payloads == [b"event"]


def test_frames_may_come_out_of_order(receiver: V2Receiver, sealer: V2Sealer) -> None:
    """Every order within the window is taken, each frame once."""
    frames = [sealer.seal([b"event"])[1] for _ in range(20)]
    for place in (3, 19, 0, 7, 1):
        receiver.acknowledge(opened_of(receiver, frames[place]), 1, 0, {})
    assert opened_of(receiver, frames[2]).seq == 2
    assert handled(receiver, frames[7]) is not None


def test_an_answer_that_was_forgotten_is_given_as_duplicates(
    ring: KeyRing, receiver: V2Receiver, sealer: V2Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are kept in bounded number; without one, all events of the frame are duplicates."""
    monkeypatch.setattr(sessions, "ANSWERS_KEPT", 2)
    frames = [sealer.seal([b"one", b"two"])[1] for _ in range(4)]
    answers = [receiver.acknowledge(opened_of(receiver, frame), 2, 0, {}) for frame in frames]
    assert handled(receiver, frames[3]) == answers[3]
    assert ack_of(ring, handled(receiver, frames[0]))[1] == Ack(0, 0, 2)


def test_a_frame_below_the_window_is_a_replay(receiver: V2Receiver, sealer: V2Sealer) -> None:
    """Nothing is known about frames that old, so they are refused."""
    frames = [sealer.seal([b"e"])[1] for _ in range(WINDOW + 1)]
    receiver.acknowledge(opened_of(receiver, frames[WINDOW]), 1, 0, {})
    assert refusal(receiver, frames[0]) is Reason.REPLAY
    assert opened_of(receiver, frames[1]).seq == 1


def test_an_older_boot_is_refused_also_after_a_restart(ring: KeyRing, tmp_path: Path) -> None:
    """The first acknowledgement of a boot keeps its number on disk."""
    old, new = V2Sealer(ring, Origin("events", 77, 5)), V2Sealer(ring, Origin("events", 77, 6))
    first = V2Receiver(ring, "events", SenderTable(tmp_path / "senders.json"))
    opened = opened_of(first, new.seal([b"event"])[1])
    assert not (tmp_path / "senders.json").exists()
    first.acknowledge(opened, 1, 0, {})
    assert refusal(first, old.seal([b"event"])[1]) is Reason.OLD_BOOT
    second = V2Receiver(ring, "events", SenderTable(tmp_path / "senders.json"))
    assert refusal(second, old.seal([b"event"])[1]) is Reason.OLD_BOOT


def test_nothing_is_acknowledged_whose_boot_cannot_be_kept(ring: KeyRing, tmp_path: Path) -> None:
    """A disk that refuses the boot number stops the answer; the frame stays in flight."""
    receiver = V2Receiver(ring, "events", SenderTable(tmp_path / "gone" / "senders.json"))
    _, frame = V2Sealer(ring, ORIGIN).seal([b"event"])
    opened = opened_of(receiver, frame)
    with pytest.raises(AppiaError, match=r"senders\.json"):
        receiver.acknowledge(opened, 1, 0, {})
    assert handled(receiver, frame) is None


def test_a_copied_sender_is_found_out(receiver: V2Receiver, ring: KeyRing, sealer: V2Sealer) -> None:
    """Two contents under one seq, or two salts under one boot, are never answered as one frame."""
    twin = V2Sealer(ring, ORIGIN, lambda _: sealer._salt)
    opened = opened_of(receiver, sealer.seal([b"event"])[1])
    _, other = twin.seal([b"EVENT"])
    assert refusal(receiver, other) is Reason.NONCE_REUSED
    receiver.acknowledge(opened, 1, 0, {})
    assert refusal(receiver, other) is Reason.NONCE_REUSED
    assert refusal(receiver, V2Sealer(ring, ORIGIN).seal([b"event"])[1]) is Reason.SALT_CHANGED


def test_an_authentic_frame_that_cannot_be_read_is_answered(
    ring: KeyRing, receiver: V2Receiver, seal_v2_raw: Callable[..., bytes]
) -> None:
    """The caller keeps it and tells the sender, who would otherwise send it for ever."""
    frame = seal_v2_raw(Header(0, KEY_ID, 77, 1000, b"s" * 16, 9), bytes(4) + b"\x10a")
    with pytest.raises(AuthenticFrameRefused) as refused:
        receiver.open(frame)
    assert refused.value.reason is Reason.SIZE_ZERO
    assert refused.value.opened.payloads == []
    assert handled(receiver, frame) is None
    answer = receiver.acknowledge(refused.value.opened, 0, 0, {refused.value.reason: 1})
    assert ack_of(ring, answer)[1] == Ack(9, 0, 0, {"size_zero": 1})
    assert handled(receiver, frame) == answer


def test_an_unreadable_frame_whose_answer_was_forgotten_is_not_taken_again(
    ring: KeyRing,
    receiver: V2Receiver,
    seal_v2_raw: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was kept once in the dead letter and is known from then on."""
    monkeypatch.setattr(sessions, "ANSWERS_KEPT", 0)
    frame = seal_v2_raw(Header(0, KEY_ID, 77, 1000, b"s" * 16, 9), bytes(4) + b"\x10a")
    with pytest.raises(AuthenticFrameRefused) as refused:
        receiver.open(frame)
    receiver.acknowledge(refused.value.opened, 0, 0, {refused.value.reason: 1})
    assert ack_of(ring, handled(receiver, frame))[1] == Ack(9, 0, 1)


def test_forged_frames_leave_no_trace(receiver: V2Receiver, sealer: V2Sealer) -> None:
    """A forgery of a new boot or a far seq changes neither boots nor windows."""
    forged = Header(0, KEY_ID, 77, 9999, b"s" * 16, 1 << 60).pack() + bytes(40)
    assert refusal(receiver, forged) is Reason.BAD_TAG
    assert opened_of(receiver, sealer.seal([b"event"])[1]).seq == 0
    stranger = KeyRing(KEY_ID, {KEY_ID: bytes(32)})
    assert refusal(receiver, V2Sealer(stranger, ORIGIN).seal([b"event"])[1]) is Reason.BAD_TAG


def test_an_acknowledgement_sent_back_is_refused(receiver: V2Receiver, sealer: V2Sealer) -> None:
    """What the receiver sealed is no data frame."""
    ack = receiver.acknowledge(opened_of(receiver, sealer.seal([b"event"])[1]), 1, 0, {})
    assert refusal(receiver, ack) is Reason.WRONG_DIRECTION


def test_no_acknowledgement_repeats_a_nonce(ring: KeyRing, tmp_path: Path) -> None:
    """Over many senders and restarts of the receiver, salt and seq never come twice together."""
    seen = set()
    for restart in range(10):
        receiver = V2Receiver(ring, "events", SenderTable(tmp_path / f"{restart}.json"))
        for sender in range(10):
            sealer = V2Sealer(ring, Origin("events", sender, 1))
            for _ in range(3):
                opened = opened_of(receiver, sealer.seal([b"event"])[1])
                header, _ = ack_of(ring, receiver.acknowledge(opened, 1, 0, {}))
                seen.add((header.salt, header.seq))
    assert len(seen) == 300


def test_the_answer_uses_the_key_of_the_frame(ring: KeyRing, tmp_path: Path) -> None:
    """During a rotation the sender may not have the new primary yet."""
    rotated = KeyRing(7, {7: b"7" * 32, **ring.seeds})
    receiver = V2Receiver(rotated, "events", SenderTable(tmp_path / "senders.json"))
    opened = opened_of(receiver, V2Sealer(ring, ORIGIN).seal([b"event"])[1])
    assert ack_of(ring, receiver.acknowledge(opened, 1, 0, {}))[0].key_id == KEY_ID


def test_another_ring_counts_at_once_also_for_keys_that_were_derived(
    ring: KeyRing, receiver: V2Receiver, sealer: V2Sealer
) -> None:
    """The next frame under a revoked key is refused, under the new one taken: same sender, same boot, next seq."""
    receiver.acknowledge(opened_of(receiver, sealer.seal([b"event"])[1]), 1, 0, {})
    last = sealer.seal([b"event"])[1]
    rotated = KeyRing(7, {7: bytes(32)}, frozenset({KEY_ID}))
    receiver.use(rotated)
    assert refusal(receiver, last) is Reason.REVOKED_KEY
    sealer.use(rotated)
    opened = opened_of(receiver, sealer.seal([b"event"])[1])
    assert (opened.key_id, opened.seq) == (7, 2)
    assert ack_of(rotated, receiver.acknowledge(opened, 1, 0, {}))[0].key_id == 7
    receiver.use(ring)
    assert opened_of(receiver, last).seq == 1


def test_a_ring_does_not_change_under_a_frame_in_flight(
    ring: KeyRing, receiver: V2Receiver, sealer: V2Sealer
) -> None:
    """Its key might not be there to answer with: the caller has to finish first."""
    opened = opened_of(receiver, sealer.seal([b"event"])[1])
    with pytest.raises(ValueError, match="in flight"):
        receiver.use(ring)
    receiver.acknowledge(opened, 1, 0, {})
    receiver.use(ring)


def test_acknowledgements_never_repeat_a_nonce_over_changes_of_the_ring(
    ring: KeyRing, receiver: V2Receiver, sealer: V2Sealer
) -> None:
    """There and back again: the counter of the answers goes on."""
    other = KeyRing(7, {7: bytes(32), KEY_ID: ring.sealing_seed()})
    headers = []
    for now in (ring, other, ring, other):
        receiver.use(now)
        opened = opened_of(receiver, sealer.seal([b"event"])[1])
        headers.append(ack_of(now, receiver.acknowledge(opened, 1, 0, {}))[0])
    assert len({header.seq for header in headers}) == 4
    assert len({header.salt for header in headers}) == 1
