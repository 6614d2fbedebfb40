"""The one form of a decision: its time in any unit, its address, its texts; what its action means."""

from __future__ import annotations

import pytest

from services.common.decisions.decision import (
    MAX_BATCH,
    Effect,
    effect_of,
    in_one_form,
    read_batch,
    time_ns_of,
)
from services.common.events.network_security_pb2 import Detection, DetectionBatch
from services.common.events.parse import Refused

NOON = 1_769_083_200
NOW = (NOON + 60) * 10**9


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("seconds", [100_000_000, NOON, 99_999_999_999])
def test_the_unit_of_a_time_is_told_by_its_size(unit: int, seconds: int) -> None:
    """From 1973 to 5138 seconds, milliseconds, microseconds and nanoseconds are told apart."""
    assert time_ns_of(seconds * unit) == seconds * 10**9


@pytest.mark.parametrize(
    ("action", "effect"),
    [
        ("BLOCK", Effect.BLOCKS),
        ("drop_all", Effect.BLOCKS),
        ("Deny (rule 7)", Effect.BLOCKS),
        ("Blocked", Effect.BLOCKS),
        ("UNBLOCK", Effect.RELEASES),
        ("allow", Effect.RELEASES),
        ("monitor", Effect.WATCHES),
        ("rate-limit", Effect.WATCHES),
        ("would block", Effect.WATCHES),
        ("not blocked", Effect.WATCHES),
        ("", Effect.UNSAID),
        (" - ", Effect.UNSAID),
    ],
)
def test_what_an_action_does(action: str, effect: Effect) -> None:
    """By its first word: what only speaks of blocking blocks nothing."""
    assert effect_of(action) is effect


def test_the_one_form() -> None:
    """Canonical address, nanoseconds, no control characters, bounded texts; a confidence that is none is left out."""
    raw = Detection(
        src_ip=" ::ffff:192.0.2.1 ",
        timestamp=NOON * 1000,
        confidence=float("nan"),
        action="BLOCK\x1b[31m",
        description="a\nb" + "x" * 1000,
        duration_seconds=7,
    )
    found = in_one_form(raw, 0, NOW)
    assert (found.src_ip, found.timestamp, found.confidence) == ("192.0.2.1", NOON * 10**9, 0.0)
    assert (found.action, found.duration_seconds) == ("BLOCK [31m", 7)
    assert found.description.startswith("a bx")
    assert len(found.description) == 256
    assert in_one_form(found, 0, NOW) == found


def test_a_decision_without_a_time_has_that_of_its_batch() -> None:
    """And where that has none either, it is refused by itself."""
    batch = DetectionBatch(detections=[Detection(src_ip="192.0.2.1")])
    (refused,) = read_batch(batch.SerializeToString(), NOW)
    assert isinstance(refused, tuple)
    assert refused[1].reason == "decision_time"
    batch.batch_timestamp.FromSeconds(NOON)
    (taken,) = read_batch(batch.SerializeToString(), NOW)
    assert isinstance(taken, Detection)
    assert taken.timestamp == NOON * 10**9


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
def test_a_batch_is_bounded(count: int) -> None:
    """None, and more than a batch may hold, are refused as a whole."""
    batch = DetectionBatch(detections=[Detection(src_ip="192.0.2.1", timestamp=NOON)] * count)
    with pytest.raises(Refused, match="not_decisions"):
        list(read_batch(batch.SerializeToString(), NOW))
