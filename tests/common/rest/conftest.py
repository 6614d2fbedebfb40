"""A file of storage keys on a real disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.durable import Disk
from services.common.rest.storage_keys import StorageKeys, new_storage_keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def keys_file(tmp_path: Path, disk: Disk) -> Path:
    path = tmp_path / "keys" / "rest" / "storage.keys"
    new_storage_keys(disk, path)
    return path


@pytest.fixture
def told() -> list[str]:
    """What the keys reported."""
    return []


@pytest.fixture
def keys(keys_file: Path, told: list[str]) -> StorageKeys:
    return StorageKeys(keys_file, told.append)
