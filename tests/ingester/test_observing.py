"""What the ingester counts is told as it is, whoever named the sensors; its loops move also while they wait."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.common.access.rights import EVERYTHING, LOCAL, Principal
from services.common.observing.beats import Beats
from services.common.observing.condition import FACTS
from services.common.observing.metrics import MOST_LABELS, OTHERS, Source, make_registry
from services.common.wire.refusals import Reason
from services.ingester.control import told_to
from services.ingester.observing import INDEXER, INGESTER_METRICS, INTAKE, condition_of, samples
from services.ingester.queue import ByteQueue
from services.ingester.room import Gauge, Room

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STATUS: dict[str, Any] = {
    "accepted": 10,
    "duplicates": 2,
    "refused": {"bad_tag": 3, "too_old": 1},
    "frames": {"v2": 4},
    "dead_letter_not_kept": 0,
    "paused": False,
    "disk_percent": 42.5,
    "queue_bytes": 7,
    "index_lag": {"attack": 5, "semantic": 0},
    "index_faults": {"attack": "it is broken"},
    "hours_due": 1,
    "reused_ids": 0,
    "v1_nodes": {"n-1": {"missing": 6, "nonces_reused": 1}},
    "sensors": {"n-1": {"events": 9, "newest_ns": 1_769_040_000_500_000_000, "clock_s": -3}},
}


def scraped(status: dict[str, Any]) -> dict[tuple[str, ...], float]:
    registry = make_registry([Source(INGESTER_METRICS, lambda: samples(status))])
    text = generate_latest(registry).decode()
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def test_a_status_is_told_whole() -> None:
    """Every metric has a value, and those of the status are the same."""
    found = scraped(STATUS)
    assert {metric.name for metric in INGESTER_METRICS} <= {key[0] for key in found} | {"appia_jobs_total"}
    for key, value in {
        ("appia_events_accepted_total",): 10,
        ("appia_refused_total", "bad_tag"): 3,
        ("appia_refused_total", "too_old"): 1,
        ("appia_frames_total", "v1"): 0,
        ("appia_frames_total", "v2"): 4,
        ("appia_disk_used_ratio",): 0.425,
        ("appia_index_failing", "attack"): 1,
        ("appia_index_failing", "semantic"): 0,
        ("appia_v1_frames_missing", "n-1"): 6,
        ("appia_v1_nonces_reused_total", "n-1"): 1,
        ("appia_sensor_last_event_timestamp_seconds", "n-1"): 1_769_040_000.5,
        ("appia_sensor_clock_offset_seconds", "n-1"): -3,
    }.items():
        assert found[key] == value, key
    assert all(("appia_refused_total", reason.value) in found for reason in Reason)


def test_sensors_are_bounded_whoever_names_them() -> None:
    """Thousands of names, and such that look the same when shown, are no more than a bounded number of series."""
    seen = {"events": 1, "newest_ns": 10**18, "clock_s": 0}
    names = [f"n-{number}" for number in range(3000)] + ["a\nb", "a\tb", "x" * 100, "x" * 101]
    status = {
        **STATUS,
        "sensors": dict.fromkeys(names, seen),
        "v1_nodes": {name: {"missing": 1, "nonces_reused": 0} for name in names},
        "refused": {f"reason-{number}": 1 for number in range(500)},
    }
    found = scraped(status)
    assert len(found) < 6 * (MOST_LABELS + 1) + 60
    assert found["appia_v1_frames_missing", OTHERS] > 2000


class Receiving:
    """A receiver of which only the gauge is looked at."""

    def __init__(self, folder: Path) -> None:
        self.used = 10.0
        self.gauge = Gauge(Room(folder, 92.0), lambda *_: None)


def test_it_is_ready_while_events_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the intake goes round, nor while the disk is too full, nor when a loop hangs."""
    now, used = [0.0], [10.0]
    beats = Beats(lambda: now[0])
    receiver = Receiving(tmp_path)
    monkeypatch.setattr(Room, "used_percent", lambda _: used[0])
    condition = condition_of(SimpleNamespace(name="ingester"), receiver, beats)  # type: ignore[arg-type]
    assert condition.readiness().why == "It is starting."
    beats.beat(INTAKE)
    beats.beat(INDEXER)
    assert condition.readiness().ready
    used[0] = 93.4
    receiver.gauge.is_shut()
    assert condition.readiness().why == "No events are taken: 93.4 % of the disk are used."
    assert condition.stuck() == ""  # to start it again would not help
    used[0] = 50.0
    receiver.gauge.is_shut()
    now[0] = 130.0
    beats.beat(INTAKE)
    assert condition.stuck() == "No step was made by: the indexer for 130 s."
    assert condition.readiness().why == condition.stuck()


def test_who_waits_for_the_queue_says_so() -> None:
    """A full queue holds the intake for as long as the indexer takes; that is no silence, and it goes on afterwards."""
    queue, beaten, done = ByteQueue(10), threading.Event(), threading.Event()
    queue.put("first", 10)

    def put() -> None:
        queue.put("second", 5, beaten.set)
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    assert beaten.wait(20)
    assert not done.is_set()
    assert queue.get(1.0) == "first"
    assert done.wait(20)
    thread.join()
    assert (queue.get(1.0), queue.bytes) == ("second", 0)


def test_ping_tells_facts_to_those_who_may_look() -> None:
    """On plain text all; a key without the right only which process answers."""
    answer = {"service": "ingester", "ready": True, **dict.fromkeys(FACTS, "fact")}
    blind = Principal("ana", EVERYTHING.__class__(frozenset({"get"}), frozenset()))
    assert told_to(LOCAL, lambda *_: answer)({}, None) == answer  # type: ignore[arg-type]
    assert told_to(blind, lambda *_: answer)({}, None) == {"service": "ingester", "ready": True}  # type: ignore[arg-type]
