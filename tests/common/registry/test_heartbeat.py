"""How a heartbeat fares with a registry in a folder that goes bad and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from services.common.registry.files import FileRegistry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry

if TYPE_CHECKING:
    from pathlib import Path

Waiter = Callable[[Callable[[], bool], float], bool]

ENTRY = Entry("rag", "one", "tcp://x:1")


def test_a_heartbeat_survives_a_registry_that_goes_bad(tmp_path: Path, wait_until: Waiter) -> None:
    (tmp_path / "rag").write_text("a file where a folder should be")
    registry = FileRegistry(tmp_path)
    heart = Heartbeat(registry, ENTRY, dict)
    heart.start()
    assert wait_until(lambda: heart.last_error is not None, 10)
    (tmp_path / "rag").unlink()
    assert wait_until(lambda: len(registry.entries("rag")) == 1, 10)
    assert wait_until(lambda: heart.last_error is None, 10)
    heart.stop()
    assert registry.entries("rag") == []


def test_two_services_with_one_name_do_not_fight_and_one_is_told(tmp_path: Path, wait_until: Waiter) -> None:
    registry = FileRegistry(tmp_path)
    older, newer = (
        Heartbeat(registry, Entry("rag", "one", f"tcp://{who}:1"), dict) for who in ("old", "new")
    )
    older.start()
    assert wait_until(lambda: older.last_ok is not None, 10)
    newer.start()
    assert wait_until(lambda: "own name" in (older.last_error or ""), 10)
    assert [entry.address for entry in registry.entries("rag")] == ["tcp://new:1"]
    newer.stop()
    assert wait_until(lambda: [entry.address for entry in registry.entries("rag")] == ["tcp://old:1"], 10)
    older.stop()


def test_stopping_does_not_wait_for_the_next_beat(tmp_path: Path, wait_until: Waiter) -> None:
    heart = Heartbeat(FileRegistry(tmp_path), ENTRY, dict, 3600.0)
    heart.start()
    assert wait_until(lambda: heart.last_ok is not None, 10)
    began = time.monotonic()
    heart.stop()
    assert time.monotonic() - began < 60


def test_a_heartbeat_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    Heartbeat(FileRegistry(tmp_path), ENTRY, dict).stop()


def test_facts_that_break_the_rules_are_reported_and_the_entry_lapses(
    tmp_path: Path, wait_until: Waiter
) -> None:
    registry = FileRegistry(tmp_path)
    facts: dict[str, float] = {"load": 0.5}
    heart = Heartbeat(registry, ENTRY, lambda: facts)
    heart.start()
    assert wait_until(lambda: len(registry.entries("rag")) == 1, 10)
    facts["load"] = float("nan")
    assert wait_until(lambda: "finite" in (heart.last_error or ""), 10)
    assert wait_until(lambda: registry.entries("rag") == [], 10)
    facts["load"] = 0.75
    assert wait_until(lambda: [dict(entry.info) for entry in registry.entries("rag")] == [facts], 10)
    heart.stop()
