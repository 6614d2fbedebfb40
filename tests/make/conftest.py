"""Where the scripts of make/ are, and how the tests run them: as a user would, in a process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def scripts() -> Path:
    return Path(__file__).parents[2] / "make"
