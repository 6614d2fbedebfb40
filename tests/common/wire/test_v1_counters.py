"""Counting what version 1 cannot promise: gaps, restarts, replays, repeated nonces."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from services.common.wire.v1 import SealedV1
from services.common.wire.v1_counters import NodeCounts, V1Counters
from services.common.wire.v1_seen import SeenFrames, Sighting


class Clock:
    """Seconds that a test turns by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters(clock: Clock) -> V1Counters:
    return V1Counters(SeenFrames(1 << 12, clock))


def frame(counter: int, tag: int = 1, boot: int = 0, key: int = 0) -> SealedV1:
    return SealedV1(key.to_bytes(8, "little"), None, boot, counter, tag.to_bytes(16, "little"))


def follow(counters: V1Counters, *numbers: int, tag: int = 1) -> NodeCounts:
    for number in numbers:
        counters.note("node", frame(number, tag))
    return counters.counts()["node"]


def test_a_sensor_without_loss_counts_nothing(counters: V1Counters) -> None:
    """Counters in a row, from wherever the receiver came in, are no gap."""
    assert follow(counters, 5, 6, 7, 8) == NodeCounts(frames=4)


def test_gaps_count_what_is_missing(counters: V1Counters) -> None:
    """Two holes of 1 and 96 frames."""
    assert follow(counters, 0, 2, 99) == NodeCounts(frames=3, gaps=2, missing=97)


def test_a_late_frame_fills_its_hole(counters: V1Counters) -> None:
    """A frame out of order is no restart, and is no longer missing."""
    assert follow(counters, 0, 3, 1, 2, 4) == NodeCounts(frames=5, gaps=1, missing=0, late=2)


def test_a_counter_from_zero_is_a_restart_and_an_alert(counters: V1Counters) -> None:
    """An old sensor that restarts repeats its nonces under the same key."""
    follow(counters, 0, 1, 2)
    assert follow(counters, 0, 1, tag=2) == NodeCounts(frames=5, restarts=1, nonces_reused=2)


def test_a_restart_whose_first_frames_were_lost_counts_them(counters: V1Counters) -> None:
    """After a restart the count begins at zero, so what came before the first frame seen is missing."""
    follow(counters, 1000)
    assert follow(counters, 7, 8) == NodeCounts(frames=3, gaps=1, missing=7, restarts=1)


def test_a_restart_before_the_first_counter_seen_is_found(counters: V1Counters) -> None:
    """A counter below where the receiver came in cannot be a late frame of the same run that was missed."""
    assert follow(counters, 5, 6, 0) == NodeCounts(frames=3, restarts=1)


def test_another_boot_prefix_is_a_restart_without_an_alert(counters: V1Counters) -> None:
    """What this project seals says by its prefix that it restarted, and repeats no nonce."""
    counters.note("node", frame(4, boot=100))
    counters.note("node", frame(0, boot=101, tag=2))
    counters.note("node", frame(1, boot=101))
    assert counters.counts()["node"] == NodeCounts(frames=3, restarts=1)


def test_a_random_first_counter_of_this_project_is_no_loss(counters: V1Counters) -> None:
    """Its counters begin at a multiple of 2**32: only what lies behind that was lost."""
    counters.note("node", frame((5 << 32) + 4, boot=100))
    counters.note("node", frame((9 << 32) + 3, boot=101))
    assert counters.counts()["node"] == NodeCounts(frames=2, gaps=1, missing=3, restarts=1)


def test_a_replay_is_told_from_a_reused_nonce(counters: V1Counters) -> None:
    """Same nonce and tag: the same frame. Same nonce, other tag: another one, an alert."""
    assert counters.note("node", frame(3)) is Sighting.NEW
    assert counters.note("node", frame(3)) is Sighting.REPLAY
    assert counters.note("other", frame(3)) is Sighting.REPLAY
    assert counters.note("other", frame(3, tag=2)) is Sighting.NONCE_REUSED
    assert counters.note("node", frame(3, key=1)) is Sighting.NEW
    assert counters.counts()["node"].replays == counters.counts()["other"].replays == 1
    assert counters.counts()["other"].nonces_reused == 1


def test_replays_do_not_disturb_the_count(counters: V1Counters) -> None:
    """An old frame played again is neither a restart nor late."""
    assert follow(counters, 0, 1, 2, 0, 1, 3) == NodeCounts(frames=6, replays=2)


def test_a_frame_is_remembered_for_24_hours_from_when_it_was_last_seen(
    counters: V1Counters, clock: Clock
) -> None:
    """A replay inside 24 h is one, also of a replay; later it is new."""
    counters.note("node", frame(3))
    clock.now += 24 * 3600 - 1
    assert counters.note("node", frame(3)) is Sighting.REPLAY
    clock.now += 24 * 3600 - 1
    assert counters.note("node", frame(3)) is Sighting.REPLAY
    clock.now += 24 * 3600
    assert counters.note("node", frame(3)) is Sighting.NEW


def test_the_memory_of_frames_is_bounded(clock: Clock) -> None:
    """A table for 64 frames takes 10,000, keeps its size, and knows the last ones."""
    seen = SeenFrames(64, clock)
    for number in range(10_000):
        clock.now += 1
        seen.note(frame(number))
    assert len(seen._table) == 2 * 64
    assert seen.note(frame(9_999)) is Sighting.REPLAY
    assert seen.note(frame(0)) is Sighting.NEW


def test_half_of_the_table_is_remembered(clock: Clock) -> None:
    """With half as many frames as places, next to none is forgotten early."""
    seen = SeenFrames(1 << 12, clock)
    for number in range(1 << 11):
        seen.note(frame(number))
    replays = sum(seen.note(frame(number)) is Sighting.REPLAY for number in range(1 << 11))
    assert replays > 0.95 * (1 << 11)


def test_the_number_of_nodes_is_bounded(clock: Clock) -> None:
    """Node names are written by whoever holds the key: only so many, and only so long, are kept."""
    counters = V1Counters(SeenFrames(64, clock), max_nodes=2)
    for number, node in enumerate(["a", "b", "a", "c" * 100_000]):
        counters.note(node, frame(number))
    assert set(counters.counts()) == {"a", "c" * 128}


def test_counts_are_given_while_frames_are_counted(clock: Clock) -> None:
    """Who asks for the counts does so from another thread; nodes that come and go meanwhile do no harm."""
    counters = V1Counters(SeenFrames(1 << 12, clock), max_nodes=500)
    stop = threading.Event()

    def count() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            counters.note(f"node-{number % 1000}", frame(number))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        # What the other thread manages in this time depends on the machine, so it is waited for.
        asked, most, until = 0, 0, time.monotonic() + 30
        while (asked < 5000 or most < 500) and time.monotonic() < until:
            most = max(most, len(counters.counts()))
            asked += 1
        assert most >= 500
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
