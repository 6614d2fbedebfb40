"""The order of the suite: what takes long begins first, so that no process is left alone with it at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

HERE = Path(__file__).parent
FIRST = ("torture", "integration", "deploy", "docs")
"""Folders with files of a minute and more; `--dist loadfile` hands files out whole, in the order of their items."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put these folders before the others; within each everything stays as it was."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)
