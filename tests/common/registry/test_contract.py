"""What every registry promises, tried on each adapter."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import UsageError
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry, NameTaken, Registry, RegistryUnavailable

Waiter = Callable[[Callable[[], bool], float], bool]
Starter = Callable[[str, Path, str], subprocess.Popen[str]]

TTL_S = 3.0


def rag(name: str = "one", address: str = "tcp://127.0.0.1:5560", **info: str | float) -> Entry:
    return Entry("rag", name, address, info)


def seen(registry: Registry) -> list[tuple[str, str, dict[str, str | float]]]:
    return [(entry.name, entry.address, dict(entry.info)) for entry in registry.entries("rag")]


def test_a_registered_entry_is_listed_with_all_it_said(registry: Registry) -> None:
    registry.register(rag(days=12, load=0.25, note="größer"), TTL_S)
    assert seen(registry) == [("one", "tcp://127.0.0.1:5560", {"days": 12, "load": 0.25, "note": "größer"})]


def test_a_listing_says_how_long_an_entry_may_stay(registry: Registry) -> None:
    registry.register(rag(), TTL_S)
    [entry] = registry.entries("rag")
    assert entry.expires_in_s is not None
    assert 0 < entry.expires_in_s <= TTL_S


def test_an_empty_registry_lists_nothing(registry: Registry) -> None:
    assert registry.entries("rag") == []


def test_entries_are_listed_by_kind_and_sorted_by_name(registry: Registry) -> None:
    for name in ("b", "c", "a"):
        registry.register(rag(name), TTL_S)
    registry.register(Entry("ingester", "a", "tcp://x:1"), TTL_S)
    registry.register(Entry("rag2", "z", "tcp://x:1"), TTL_S)
    assert [entry.name for entry in registry.entries("rag")] == ["a", "b", "c"]
    assert [entry.name for entry in registry.entries("ingester")] == ["a"]


def test_another_client_sees_the_entry(registry: Registry, url: str, tmp_path: Path) -> None:
    registry.register(rag(), TTL_S)
    other = open_registry(url, tmp_path)
    assert seen(other) == seen(registry) != []
    other.close()


def test_a_withdrawn_entry_is_gone_at_once_and_twice_is_fine(registry: Registry) -> None:
    registration = registry.register(rag(), TTL_S)
    registration.withdraw()
    assert registry.entries("rag") == []
    registration.withdraw()


def test_a_withdrawn_registration_beats_no_more(registry: Registry) -> None:
    registration = registry.register(rag(), TTL_S)
    registration.withdraw()
    with pytest.raises(RegistryUnavailable, match="withdrawn"):
        registration.heartbeat({})
    assert registry.entries("rag") == []


def test_a_heartbeat_publishes_new_facts(registry: Registry) -> None:
    registration = registry.register(rag(days=1), TTL_S)
    registration.heartbeat({"days": 2})
    assert seen(registry) == [("one", "tcp://127.0.0.1:5560", {"days": 2})]


def test_heartbeats_keep_an_entry_beyond_its_lease(registry: Registry) -> None:
    registration = registry.register(rag(), TTL_S)
    for _ in range(4):
        time.sleep(1)
        registration.heartbeat({})
        assert len(registry.entries("rag")) == 1


def test_without_heartbeats_an_entry_ends_with_its_lease_and_a_late_one_puts_it_back(
    registry: Registry,
) -> None:
    registration = registry.register(rag(), TTL_S)
    time.sleep(TTL_S)
    assert registry.entries("rag") == []
    registration.heartbeat({"back": 1})
    assert seen(registry) == [("one", "tcp://127.0.0.1:5560", {"back": 1})]


def test_who_registers_a_name_last_holds_it_and_the_other_is_told(registry: Registry) -> None:
    older = registry.register(rag(address="tcp://old:1"), TTL_S)
    newer = registry.register(rag(address="tcp://new:1"), TTL_S)
    with pytest.raises(NameTaken, match="rag/one"):
        older.heartbeat({})
    older.withdraw()
    assert [entry.address for entry in registry.entries("rag")] == ["tcp://new:1"]
    newer.heartbeat({})


def test_the_older_holder_takes_its_name_back_when_the_newer_is_gone(registry: Registry) -> None:
    older = registry.register(rag(address="tcp://old:1"), TTL_S)
    registry.register(rag(address="tcp://new:1"), TTL_S).withdraw()
    older.heartbeat({})
    assert [entry.address for entry in registry.entries("rag")] == ["tcp://old:1"]


def test_a_process_killed_with_9_is_gone_within_its_lease(
    registry: Registry, url: str, tmp_path: Path, start_child: Starter, wait_until: Waiter
) -> None:
    child = start_child(url, tmp_path, "doomed")
    assert wait_until(lambda: len(registry.entries("rag")) == 1, 10)
    child.kill()
    died = time.monotonic()
    child.wait()
    assert wait_until(lambda: registry.entries("rag") == [], died + TTL_S - time.monotonic())


def test_a_heartbeat_thread_registers_beats_and_withdraws(registry: Registry, wait_until: Waiter) -> None:
    beats = iter(range(1000))
    heart = Heartbeat(registry, rag(), lambda: {"beat": next(beats)})
    heart.start()
    assert wait_until(lambda: [fact["beat"] for *_, fact in seen(registry)] == [2], 10)
    assert heart.last_ok is not None
    assert heart.last_error is None
    heart.stop()
    assert registry.entries("rag") == []


@pytest.mark.parametrize("ttl_s", [0, -1, 2.9, 3601, math.nan, math.inf])
def test_a_lease_that_cannot_be_kept_is_refused(registry: Registry, ttl_s: float) -> None:
    with pytest.raises(UsageError, match="3 to 3600 s"):
        registry.register(rag(), ttl_s)


@pytest.mark.parametrize("kind", ["", "a/b", "..", ".hidden", "ä", "x" * 65])
def test_a_kind_that_is_no_label_is_refused(registry: Registry, kind: str) -> None:
    with pytest.raises(UsageError, match="kind"):
        registry.entries(kind)


def test_a_record_over_64_kib_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="65536"):
        registry.register(rag(note="x" * 65536), TTL_S)


def test_a_closed_registry_refuses_calls(registry: Registry) -> None:
    registry.close()
    with pytest.raises(RegistryUnavailable, match="closed"):
        registry.entries("rag")
    with pytest.raises(RegistryUnavailable, match="closed"):
        registry.register(rag(), TTL_S)
