"""A configuration in a folder, and a watcher whose clock and readiness the test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from services.common.config.document import NAME, Author, Document
from services.common.config.memory import MemoryFile
from services.common.config.sections import Base
from services.common.config.store import ConfigStore
from services.common.config.tree import RAG, RagLive
from services.common.config.watcher import Hooks, Watcher, WatchTools
from services.common.durable import Disk
from services.common.sealed import Seals, SeenRevisions
from services.common.values.checked import CheckedValues
from services.common.values.files import FileValues
from services.common.values.seen import SeenFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.config.store import Changed
    from services.common.config.tree import Value

SEALS = Seals(7, {7: bytes(32)})
SOMEBODY = Author("ana", "", "2026-01-22T10:00:00+00:00")


class Config:
    """The configuration of a folder, for who changes it, and for those who read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ConfigStore(self.values())
        self.author = SOMEBODY

    def values(self, seen: SeenRevisions | None = None) -> CheckedValues[Document]:
        return CheckedValues(FileValues(self.folder, Disk()), SEALS, Document, seen or SeenRevisions())

    @property
    def file(self) -> Path:
        return self.folder / f"{NAME}.value"

    def set(self, **wanted: Value | None) -> Changed:
        """Change keys of the section of replicas."""
        flat = {f"{RAG}.{key}": value for key, value in wanted.items()}
        return self.store.change(lambda _: flat, self.author)


@dataclass
class Service:
    """A replica that takes configurations: what it was given, and what it says."""

    watcher: Watcher[RagLive]
    first: RagLive
    told: list[tuple[str, dict[str, Any]]]
    clock: list[float]
    applied: list[RagLive] = field(default_factory=list)
    unready: Callable[[RagLive], str] = lambda _: ""
    refuses: Callable[[RagLive], str] = lambda _: ""
    begun: bool = True

    def hooks(self) -> Hooks[RagLive]:
        return Hooks(
            self._apply,
            lambda: self.unready(self.applied[-1] if self.applied else self.first),
            lambda: self.begun,
        )

    def _apply(self, live: RagLive) -> None:
        if why := self.refuses(live):
            raise RuntimeError(why)
        self.applied.append(live)

    def passes(self, seconds: float) -> None:
        """Let time pass, looking as the thread does."""
        until = self.clock[0] + seconds
        while self.clock[0] < until:
            self.clock[0] += self.watcher.step()

    @property
    def weight(self) -> float:
        return self.watcher.live.weight_attack

    def events(self) -> list[str]:
        return [event for event, _ in self.told]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An empty configuration."""
    return Config(tmp_path / "values")


@pytest.fixture
def serve(config: Config, tmp_path: Path) -> Callable[..., Service]:
    """Start a service that remembers in files, as often as a test wants it anew; no thread runs."""

    def start(base: Base[RagLive] | None = None, **hooks: Any) -> Service:
        told: list[tuple[str, dict[str, Any]]] = []
        clock = [100.0]
        tools = WatchTools(
            MemoryFile(tmp_path / "memory.json", Disk()),
            lambda event, facts: told.append((event, facts)),
            lambda: clock[0],
        )
        seen = SeenFile(tmp_path / "seen.json", Disk())
        watcher = Watcher(base or Base(RAG, RagLive, RagLive()), config.values(seen), tools)
        service = Service(watcher, watcher.begin(), told, clock, **hooks)
        watcher._hooks = service.hooks()
        return service

    return start
