"""The recorder's scripts, imported from the folder they live in."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

RECORDER = Path(__file__).parents[2] / "samples" / "recorder"
MODULES = ("label", "lab", "plan")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(RECORDER)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


@pytest.fixture
def label(recorder: dict[str, ModuleType]) -> ModuleType:
    return recorder["label"]


@pytest.fixture
def lab(recorder: dict[str, ModuleType]) -> ModuleType:
    return recorder["lab"]


@pytest.fixture
def plan(recorder: dict[str, ModuleType]) -> ModuleType:
    return recorder["plan"]
