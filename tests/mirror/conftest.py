"""A source with real days, and a mirror of it that is driven step by step, or as a process."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from services.common.chain.follower import NO_VOUCHING
from services.common.days.fusion import FusionWeights
from services.common.days.held import read_held
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.logs import make_logger
from services.common.observing.beats import Beats
from services.common.rest.storage_keys import NO_KEYS
from services.common.system_calls import SystemCalls
from services.mirror.faults import Faults
from services.mirror.open_days import OpenDays
from services.mirror.open_events import Ground
from services.mirror.pace import Pace
from services.mirror.room import Room
from services.mirror.rounds import LOOK_S, Clocks, Parts, Rounds
from services.mirror.sealed import Tools
from services.mirror.sealed_days import SealedDays
from services.mirror.shared import SharedFiles
from services.mirror.source import FilesystemSource
from services.mirror.survey import Survey
from services.rag.answers import Tools as Answers
from services.rag.answers import answers_with
from services.rag.catalog import Catalog
from services.rag.entities import Entities
from services.rag.explain import Explainer
from services.rag.hosts_on_demand import HostsOnDemand
from services.rag.operations import Operations, Replica
from services.rag.queries import Queries
from services.rag.searcher import Searcher
from services.rag.text_search import TextSearch
from tests.rag.conftest import SmallModels, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = 1 << 60


class QuickCalls(SystemCalls):
    """The system without syncs: no power is cut here, and they are a third of the time."""

    def sync(self, fd: int) -> None:
        """Nothing."""

    def sync_data(self, fd: int) -> None:
        """Nothing."""


QUICK = Disk(QuickCalls())


class Filesystem(LocalFileSystem):  # type: ignore[misc] # fsspec has no types
    """The local disk, which can be cut off, or lie."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.left = LARGE  # bytes that are read before the link is cut
        self.change: Callable[[str, int, bytes], bytes] = lambda _path, _start, data: data
        self.read = 0

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        if self.left <= 0:
            raise ConnectionError("the link is cut")
        data: bytes = self.change(path, start or 0, super().cat_file(path, start=start, end=end))
        self.left -= len(data)
        self.read += len(data)
        return data

    def ls(self, path: str, detail: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002 - fsspec's signature
        if self.left <= 0:
            raise ConnectionError("the link is cut")
        return super().ls(path, detail=detail)


@dataclass
class Seconds:
    """A clock that a test moves; waiting moves it too."""

    now: float = 1000.0
    waited: float = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waited += seconds
        self.now += seconds


@dataclass
class Mirrored:
    """A mirror of a folder. `turn` does what a second of it would do; nothing runs by itself."""

    source: Path
    state: StateNames
    filesystem: Filesystem = field(default_factory=Filesystem)
    budget: int = 0
    bytes_per_s: int = 0
    vouching: Any = NO_VOUCHING
    keys: Any = NO_KEYS
    disk: Disk = field(default_factory=lambda: Disk(QuickCalls()))
    clock: Seconds = field(default_factory=Seconds)
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        claim_layout(self.state, self.disk)
        self.open()

    def open(self) -> None:
        """Build all parts, as a start does."""
        places = self.state, StateNames(Path())
        self.faults = Faults(self.clock, lambda part, why: self.told.append((part, why)))
        pace = Pace(self.bytes_per_s, self.clock, self.clock.wait)
        source = FilesystemSource(self.filesystem, str(self.source), pace, self.clock)
        self.open_days = OpenDays(Ground(self.disk, source, self.keys), places, self.faults)
        tools = Tools(self.disk, source, self.vouching, self.faults)
        self.sealed_days = SealedDays(tools, places, Room(self.state, self.disk, self.budget))
        parts = Parts(
            *places,
            disk=self.disk,
            source=source,
            pace=pace,
            survey=Survey(source, places[1], self.faults),
            open_days=self.open_days,
            sealed_days=self.sealed_days,
            shared=SharedFiles(self.disk, source, places),
            faults=self.faults,
        )
        self.rounds = Rounds(parts, "file:///there", 1.0, Clocks(self.clock, time.time_ns))
        self.rounds.begin(read_held(self.state.mirror))
        self.stop = threading.Event()
        self.stop.wait = self.clock.wait  # type: ignore[method-assign, assignment]

    def turn(self, times: int = 1) -> None:
        """Go round, each time with a look at all days."""
        for _ in range(times):
            self.clock.now += LOOK_S
            self.rounds.round(self.stop, Beats(self.clock))

    def settle(self) -> None:
        """Go round until nothing is left to do; the pauses after faults pass by."""
        for _ in range(3):
            self.clock.now += 600
            self.turn(2)

    def end(self) -> None:
        """Close what is open, as an orderly end does."""
        self.open_days.close()

    def restart(self) -> None:
        """As after kill -9: nothing was closed in order."""
        self.open()


@pytest.fixture
def make_mirror(tmp_path: Path) -> Iterator[Callable[..., Mirrored]]:
    """A mirror of a state directory, in a folder of its own."""
    made: list[Mirrored] = []

    def make(source: Path, **more: Any) -> Mirrored:
        made.append(Mirrored(source, StateNames(tmp_path / f"mirror-{len(made)}"), **more))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[World]:
    """A state directory to mirror."""
    world = World(tmp_path / "there")
    world.disk = QUICK
    yield world
    world.close()


def digests(
    folder: Path, leave: tuple[str, ...] = ("metadata.db", ".count", "-wal", "-shm")
) -> dict[str, str]:
    """Every file below a folder with its SHA-256, but for what is made locally."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(word in path.name for word in leave)
    }


@pytest.fixture(name="digests")
def _digests() -> Callable[..., dict[str, str]]:
    return digests


@pytest.fixture
def replica() -> Iterator[Callable[..., Any]]:
    """The operations of a replica over a state directory, as `tests/rag` makes them; closed at the end."""
    started: list[Catalog] = []

    def make(world: Any) -> Any:
        catalog = Catalog(world.state, make_logger("test"))
        started.append(catalog)
        catalog.start()
        assert catalog.wait_opened(30)
        queries = Queries(
            SmallModels((world.embedders.attack, world.embedders.semantic, world.embedders.temporal))
        )
        searcher = Searcher(queries, FusionWeights())
        models = SmallModels((world.embedders.entity,))
        own = Replica("rag-7", 42, "0.0", 0.0)
        tools = Answers(
            searcher, TextSearch(queries), Entities(models, HostsOnDemand(models)), Explainer(searcher), own
        )
        return Operations(catalog, answers_with(tools), own).handlers()

    yield make
    for catalog in started:
        catalog.stop()
