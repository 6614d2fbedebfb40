"""Keys and chains on a real disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.chain.keys import new_signing_key, read_signing_ring
from services.common.chain.state import DayState, GenerationState, IndexState
from services.common.chain.store import ChainWriter
from services.common.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON_NS = 1_769_083_200_000_000_000  # 2026-01-22T12:00:00Z


def digest(number: int) -> str:
    """A SHA-256 of nothing real."""
    return f"{number:064x}"


def state_of(day: str, generation: int = 1, salt: int = 0) -> DayState:
    """A day with one generation and one index."""
    attack = IndexState(1, {1: digest(generation * 10 + 1 + salt)})
    return DayState(
        day, generation, {generation: GenerationState(digest(generation * 10 + salt), {"attack": attack})}
    )


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def keys(tmp_path: Path, disk: Disk) -> Path:
    """A folder of keys with one that signs."""
    new_signing_key(tmp_path / "keys", disk)
    return tmp_path / "keys"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the chain lies."""
    return tmp_path / "state" / "chain" / "links.jsonl"


@pytest.fixture
def writer(path: Path, keys: Path, disk: Disk) -> Callable[[], ChainWriter]:
    """Open the chain for writing, as a new process does."""

    def make() -> ChainWriter:
        ring = read_signing_ring(keys)
        assert ring is not None
        return ChainWriter(path, ring, disk, lambda: NOON_NS)

    return make
