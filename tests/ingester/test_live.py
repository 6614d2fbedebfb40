"""The parts of the ingester take a configuration in one turn of the intake."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from services.common.config.tree import IngesterLive
from services.common.durable import Disk
from services.ingester.dead_letter import DeadLetter
from services.ingester.indexer import Pace
from services.ingester.live import LiveParts, SettingsInUse, room_of
from services.ingester.queue import ByteQueue
from services.ingester.room import Gauge
from services.ingester.settings import IngesterSettings

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


class Parts:
    """The receiver, as far as a configuration reaches it."""

    def __init__(self, settings: IngesterSettings) -> None:
        self.gauge = Gauge(room_of(settings), lambda *_: None)
        self.turns = 0
        self.pace = Pace()

    def call(self, work: Any) -> None:
        self.turns += 1
        work()


def test_every_limit_is_another_after_one_turn(tmp_path: Path) -> None:
    """Room, queue, dead letter, pace and the settings of jobs change together; what files said of others stays."""
    settings = IngesterSettings(state=tmp_path, keys=tmp_path / "keys", name="it")
    parts: Any = Parts(settings)
    queue, letter = ByteQueue(settings.queue_bytes), DeadLetter(Disk(), tmp_path / "d", MIB, lambda: 0)
    live = LiveParts(SettingsInUse(settings), parts, letter, queue, parts)
    assert not parts.gauge.is_shut()
    new = IngesterLive(
        disk_stop_percent=0.0001,
        queue_bytes=5 * MIB,
        dead_letter_bytes=2 * MIB,
        batch_rows=64,
        commit_interval_s=0.5,
        vectors_attack="maximum",
    )
    live.apply(new)
    assert (parts.turns, parts.gauge.is_shut(), queue.budget) == (1, True, 5 * MIB)
    assert parts.pace == Pace(64, 0.5)
    in_use = live.settings()
    assert (in_use.name, in_use.policies["attack"].compression, in_use.dead_letter_bytes) == (
        "it",
        "maximum",
        2 * MIB,
    )
    live.apply(IngesterLive())
    assert (parts.gauge.is_shut(), queue.budget, live.settings()) == (False, 2 * MIB, settings)


def test_a_dead_letter_keeps_more_or_less(tmp_path: Path) -> None:
    """Grown, it keeps what it had no room for; made smaller, what is kept stays and nothing comes on top."""
    letter = DeadLetter(Disk(), tmp_path / "d", MIB, lambda: 0)
    big = bytes(MIB)
    letter.keep("reason", "", "", big)
    assert letter.not_kept == 1
    letter.resize(3 * MIB)
    letter.keep("reason", "", "", big)
    assert letter.not_kept == 1
    letter.resize(MIB)
    letter.keep("reason", "", "", b"more")
    assert letter.not_kept == 2
    letter.close()


def test_a_queue_that_grows_lets_who_waits_go_on() -> None:
    """A put that waits for room ends when the budget is larger."""
    queue = ByteQueue(10)
    queue.put("first", 8)
    waiting = threading.Thread(target=queue.put, args=("second", 8))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    queue.resize(20)
    waiting.join(5)
    assert not waiting.is_alive()
    assert (queue.peek(), queue.bytes) == ("first", 16)
