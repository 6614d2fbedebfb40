"""What the tests of the readers share: the hand-made files, and reading one to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import Item, ReadOptions

ROOT = Path(__file__).resolve().parents[2]

ReadAll: TypeAlias = Callable[..., list[Item]]


@pytest.fixture
def feeds() -> Path:
    """The folder of the hand-made files."""
    return ROOT / "tests" / "data" / "feeds"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real traffic, which is not part of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} with real traffic is not here")
    return folder


@pytest.fixture
def read_all() -> ReadAll:
    """Read a source with the reader of a format; options as in ReadOptions."""

    def read(name: str, source: object, **options: object) -> list[Item]:
        return list(reader_of(name).read(str(source), ReadOptions(**options)))  # type: ignore[arg-type]

    return read


@pytest.fixture
def only_events() -> Callable[[list[Item]], list[NetworkSecurityEvent]]:
    """Return the items, having checked that all of them are events."""

    def check(items: list[Item]) -> list[NetworkSecurityEvent]:
        assert [item for item in items if not isinstance(item, NetworkSecurityEvent)] == []
        return [item for item in items if isinstance(item, NetworkSecurityEvent)]

    return check
