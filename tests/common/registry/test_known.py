"""What a client knows while the registry answers, is away, or has forgotten everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.errors import UsageError
from services.common.registry.files import FileRegistry
from services.common.registry.known import KnownSet
from services.common.registry.port import Entry

if TYPE_CHECKING:
    from pathlib import Path

LEASE_S = 3.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    return FileRegistry(tmp_path)


@pytest.fixture
def known(registry: FileRegistry, clock: Clock) -> KnownSet:
    return KnownSet(registry, "rag", LEASE_S, clock)


def rag(name: str, address: str = "tcp://x:1") -> Entry:
    return Entry("rag", name, address)


def names(known: KnownSet) -> list[str]:
    return [entry.name for entry in known.entries()]


def test_nothing_is_known_before_the_first_refresh(registry: FileRegistry, known: KnownSet) -> None:
    registry.register(rag("one"), LEASE_S)
    assert names(known) == []
    assert known.last_ok is None


def test_a_refresh_brings_what_is_registered(registry: FileRegistry, known: KnownSet, clock: Clock) -> None:
    registry.register(rag("b"), LEASE_S)
    registry.register(rag("a"), LEASE_S)
    clock.now = 7.0
    assert known.refresh()
    assert names(known) == ["a", "b"]
    assert known.last_ok == 7.0
    assert known.last_error is None


def test_the_last_known_set_stays_while_the_registry_is_away(
    registry: FileRegistry, known: KnownSet, clock: Clock, tmp_path: Path
) -> None:
    registry.register(rag("one"), LEASE_S)
    known.refresh()
    (tmp_path / "rag").rename(tmp_path / "elsewhere")
    (tmp_path / "rag").write_text("not a folder")
    clock.now = 3600.0
    assert not known.refresh()
    assert names(known) == ["one"]
    assert known.last_ok == 0.0
    assert known.last_error is not None
    (tmp_path / "rag").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "rag")
    assert known.refresh()
    assert known.last_error is None


def test_an_entry_that_left_while_others_stay_is_gone_at_the_next_refresh(
    registry: FileRegistry, known: KnownSet
) -> None:
    registry.register(rag("stays"), LEASE_S)
    leaving = registry.register(rag("leaves"), LEASE_S)
    known.refresh()
    leaving.withdraw()
    known.refresh()
    assert names(known) == ["stays"]


def test_an_empty_registry_is_believed_only_after_one_lease(
    registry: FileRegistry, known: KnownSet, clock: Clock
) -> None:
    only = registry.register(rag("one"), LEASE_S)
    known.refresh()
    only.withdraw()
    for clock.now in (1.0, 2.0, 3.9):
        assert known.refresh()
        assert names(known) == ["one"]
    clock.now = 4.0
    assert known.refresh()
    assert names(known) == []


def test_after_an_outage_an_empty_registry_is_doubted_anew(
    registry: FileRegistry, known: KnownSet, clock: Clock, tmp_path: Path
) -> None:
    only = registry.register(rag("one"), LEASE_S)
    known.refresh()
    only.withdraw()
    known.refresh()
    (tmp_path / "rag").rmdir()
    (tmp_path / "rag").write_text("not a folder")
    clock.now = 3600.0
    assert not known.refresh()
    (tmp_path / "rag").unlink()
    assert known.refresh()
    assert names(known) == ["one"]
    clock.now = 3603.0
    assert known.refresh()
    assert names(known) == []


def test_an_entry_reported_dead_is_left_out_for_one_lease(
    registry: FileRegistry, known: KnownSet, clock: Clock
) -> None:
    registry.register(rag("one"), LEASE_S)
    registry.register(rag("two"), LEASE_S)
    known.refresh()
    known.report_dead(known.entries()[0])
    assert names(known) == ["two"]
    clock.now = 2.9
    known.refresh()
    assert names(known) == ["two"]
    clock.now = 3.0
    assert names(known) == ["one", "two"]


def test_a_name_that_comes_back_at_another_address_is_used_at_once(
    registry: FileRegistry, known: KnownSet
) -> None:
    registry.register(rag("one", "tcp://old:1"), LEASE_S)
    known.refresh()
    known.report_dead(known.entries()[0])
    registry.register(rag("one", "tcp://new:1"), LEASE_S)
    known.refresh()
    assert [entry.address for entry in known.entries()] == ["tcp://new:1"]


def test_a_kind_that_is_no_label_is_refused(registry: FileRegistry) -> None:
    with pytest.raises(UsageError, match="kind"):
        KnownSet(registry, "a/b")


def test_a_set_that_was_never_started_can_be_stopped(known: KnownSet) -> None:
    known.stop()
