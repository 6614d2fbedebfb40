"""A state directory with real open segments and sealed days, small embedders, and replicas in processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.embedders import Embedders
from services.common.days.fusion import FusionWeights
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames, day_start_ns
from services.common.days.open_writer import ColumnWriter, SegmentLog, VectorSpec, VectorWriter
from services.common.days.opening import PLAIN
from services.common.days.sealing import Sealer
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.events.features import extract
from services.common.events.narrative import Narrator
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary
from services.common.logs import make_logger
from services.rag.answers import Tools, answers_with
from services.rag.catalog import Catalog
from services.rag.entities import Entities
from services.rag.explain import Explainer
from services.rag.hosts_on_demand import HostsOnDemand
from services.rag.operations import Operations, Replica
from services.rag.queries import Queries
from services.rag.searcher import Searcher
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.opening import Opening
    from services.common.rpc_server import Handler

CLASSES = ("BENIGN", "DDoS", "PortScan", "Bot ünder*", "")
HOSTS = ("192.168.10.5", "192.168.10.51", "10.1.2.3", "8.8.8.8", "2001:db8::1", "2001:db8:1::7", "172.16.0.1")
TAGS = ("lateral", "Exfil ünder", "web-01", "web-02")
DIM = 8


@dataclass(frozen=True)
class SmallEmbedder:
    """Random projection of numbers, or of the words of texts, by a fixed seed."""

    name: str
    metric: Any
    version: int = 1
    dim: int = DIM

    @property
    def model_id(self) -> str:
        return f"{self.name}@{self.version:012x}"

    def embed(self, inputs: Any) -> NDArray[np.float32]:
        if isinstance(inputs, np.ndarray):
            flat = np.log1p(np.abs(inputs.reshape(len(inputs), -1).astype(np.float64)))
            matrix = np.random.default_rng(self.version).normal(size=(flat.shape[1], DIM))
            return self._scaled(flat @ matrix)
        return self._scaled(np.array([sum(map(self._word, _words(text)), np.zeros(DIM)) for text in inputs]))

    def _word(self, word: str) -> NDArray[np.float64]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") + self.version
        return np.random.default_rng(seed).normal(size=DIM)

    def _scaled(self, vectors: NDArray[np.float64]) -> NDArray[np.float32]:
        if self.metric == "l2":
            return vectors.astype(np.float32)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return (vectors / lengths).astype(np.float32)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower()) or ["nothing"]


@dataclass(frozen=True)
class SmallModels:
    """`QueryModels` that have some small embedders and no other."""

    embedders: tuple[SmallEmbedder, ...]

    def _named(self, model_id: str) -> Any:
        for embedder in self.embedders:
            if embedder.model_id == model_id:
                return embedder
        raise AppiaError(f"The model {model_id} is not here.")

    rows = texts = windows = profiles = _named

    def active_profiles(self) -> SmallEmbedder:
        return [embedder for embedder in self.embedders if embedder.name == "entity"][-1]


@dataclass
class _Open:
    log: SegmentLog
    columns: ColumnWriter
    vectors: dict[str, VectorWriter]
    events: list[NetworkSecurityEvent] = field(default_factory=list)


class World:
    """Writes a state directory as the ingester does, with embedders that need no model files."""

    def __init__(self, root: Path, seed: int = 1) -> None:
        self.disk = Disk()
        self.state = StateNames(root)
        claim_layout(self.state, self.disk)
        self.rng = np.random.default_rng(seed)
        self.embedders = Embedders(
            SmallEmbedder("attack", "l2"),
            SmallEmbedder("semantic", "cosine"),
            SmallEmbedder("temporal", "cosine"),
            SmallEmbedder("entity", "l2"),
        )
        self.vocabulary = load_vocabulary()
        self.narrator = Narrator(self.vocabulary)
        self.events: dict[str, NetworkSecurityEvent] = {}
        self._open: dict[tuple[str, int], _Open] = {}

    def make(self, day: str, count: int, prefix: str = "e") -> list[NetworkSecurityEvent]:
        """Random events of a day, in no order of time."""
        return [self._event(day, f"{prefix}-{day}-{len(self.events) + i}") for i in range(count)]

    def _event(self, day: str, event_id: str) -> NetworkSecurityEvent:
        rng = self.rng
        event = NetworkSecurityEvent(event_id=event_id, originating_node_id=f"node-{rng.integers(3)}")
        event.event_timestamp.FromNanoseconds(day_start_ns(day) + int(rng.integers(86_400)) * 1_000_000_000)
        event.final_classification = CLASSES[rng.integers(len(CLASSES))]
        event.threat_category = ("NORMAL", "ATTACK")[rng.integers(2)]
        event.overall_threat_score = float(rng.integers(11)) / 10
        event.fast_detector_score = float(rng.integers(11)) / 10
        event.ml_detector_score = float(rng.integers(11)) / 10
        event.authoritative_source = int(rng.integers(7))  # type: ignore[assignment]
        event.fast_detector_triggered = bool(rng.integers(2))
        event.event_tags.extend(TAGS[i] for i in np.flatnonzero(rng.integers(0, 3, len(TAGS)) == 0))
        if rng.integers(2):
            event.custom_metadata["label"] = ("Attack", "attack-two")[rng.integers(2)]
        flow = event.network_features
        flow.source_ip, flow.destination_ip = (HOSTS[i] for i in rng.integers(len(HOSTS), size=2))
        flow.source_port, flow.destination_port = (
            int(rng.integers(1024, 60_000)),
            (53, 80, 443, 8080)[rng.integers(4)],
        )
        flow.protocol_number = (6, 17, 1)[rng.integers(3)]
        flow.total_forward_packets, flow.total_backward_packets = map(int, rng.integers(1, 2000, size=2))
        flow.total_forward_bytes, flow.total_backward_bytes = map(int, rng.integers(40, 10**6, size=2))
        return event

    def flood(self, day: str, hosts: int) -> list[NetworkSecurityEvent]:
        """Events nearly alike, so that they have one narrative, of some hosts: host i has 1 + i % 3 of them."""
        pattern = self._event(day, f"flood-{day}-{len(self.events)}")
        found: list[NetworkSecurityEvent] = []
        for number in range(hosts):
            for copy in range(1 + number % 3):
                event = NetworkSecurityEvent.FromString(pattern.SerializeToString())
                event.event_id = f"{pattern.event_id}-{number}-{copy}"
                event.event_timestamp.FromNanoseconds(day_start_ns(day) + (3600 + len(found)) * 1_000_000_000)
                flow = event.network_features
                flow.source_ip, flow.destination_ip = f"10.0.{number // 200}.{number % 200 + 1}", "10.9.9.9"
                flow.total_forward_bytes = 500_000 + len(found)
                found.append(event)
        return found

    def write(
        self, day: str, events: Sequence[NetworkSecurityEvent], segment: int = 1, *, index: bool = True
    ) -> None:
        """Append events to an open segment, and to its indices."""
        opened = self._opened(day, segment)
        payloads = [event.SerializeToString(deterministic=True) for event in events]
        table, features = tabulate(events, payloads), extract(payloads)
        narratives = self.narrator.narrate(table, features)
        positions = opened.log.append(payloads)
        opened.log.sync()
        opened.columns.append(table, narratives, positions)
        opened.events += events
        self.events.update((event.event_id, event) for event in events)
        if index:
            opened.vectors["attack"].append(self.embedders.attack.embed(features.values))
            opened.vectors["semantic"].append(self.embedders.semantic.embed(narratives))
            windows = np.zeros((len(events), 64, 6), np.float32)
            windows[:, 0] = self.rng.integers(0, 1000, (len(events), 6))
            opened.vectors["temporal"].append(self.embedders.temporal.embed(windows))

    def _opened(self, day: str, segment: int) -> _Open:
        if (day, segment) not in self._open:
            names = self.state.day(day).segment(segment)
            log = SegmentLog(self.disk, names, 0)
            specs = [
                VectorSpec(name, self.embedders.named(name).model_id, DIM, self.embedders.named(name).metric)
                for name in ("attack", "semantic", "temporal")
            ]
            vectors = {spec.index: VectorWriter(self.disk, names, spec) for spec in specs}
            self._open[day, segment] = _Open(log, ColumnWriter(self.disk, names), vectors)
        return self._open[day, segment]

    def seal(self, day: str, through: int = 1) -> None:
        """Seal a day as the ingester does."""
        self.sealer().seal(self.state.day(day), through)

    def sealer(self) -> Sealer:
        return Sealer(self.disk, self.vocabulary, self.embedders, lambda *_: None, retry_after_s=())

    def fill(self, day: str, count: int, *, sealed: bool) -> list[NetworkSecurityEvent]:
        """A day with random events, sealed or open."""
        events = self.make(day, count)
        self.write(day, events)
        if sealed:
            self.seal(day)
        return events

    def forget(self, day: str) -> None:
        """Close the segments of a day whose folder was removed: what is written next begins anew."""
        for key in [key for key in self._open if key[0] == day]:
            self._close(self._open.pop(key))

    def close(self) -> None:
        for opened in self._open.values():
            self._close(opened)

    @staticmethod
    def _close(opened: _Open) -> None:
        opened.log.close()
        opened.columns.close()
        for writer in opened.vectors.values():
            writer.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty state directory and what writes into it."""
    made = World(tmp_path / "state")
    yield made
    made.close()


class Mixed:
    """Two sealed days: the same events, embedded with other models on the second."""

    days = ("2026-01-20", "2026-01-21")

    def __init__(self, world: World) -> None:
        before, (first, second) = world.embedders, self.days
        self.old = world.fill(first, 60, sealed=True)
        self.newer = (
            SmallEmbedder("attack", "l2", 2),
            SmallEmbedder("semantic", "cosine", 2),
            SmallEmbedder("temporal", "l2", 2),
        )
        world.embedders = replace(before, **{embedder.name: embedder for embedder in self.newer})
        self.new = [self._twin(event) for event in self.old]
        world.write(second, self.new)
        world.seal(second)
        world.embedders = before

    @staticmethod
    def _twin(event: NetworkSecurityEvent) -> NetworkSecurityEvent:
        twin = NetworkSecurityEvent.FromString(event.SerializeToString())
        twin.event_id = f"twin-{event.event_id}"
        twin.event_timestamp.seconds += 86_400
        return twin


@pytest.fixture
def mixed(world: World) -> Mixed:
    """A world whose two days are of different models."""
    return Mixed(world)


@pytest.fixture
def make_world() -> Iterator[Callable[[Path], World]]:
    """More worlds."""
    made: list[World] = []

    def make(root: Path) -> World:
        made.append(World(root))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def follow() -> Iterator[Callable[..., Catalog]]:
    """Catalogs that are stopped at the end; files of days are opened as told."""
    started: list[Catalog] = []

    def start(world: World, opening: Opening = PLAIN) -> Catalog:
        catalog = Catalog(world.state, make_logger("test"), opening)
        started.append(catalog)
        catalog.start()
        assert catalog.wait_opened(30)
        return catalog

    yield start
    for catalog in started:
        catalog.stop()


@pytest.fixture
def small_queries() -> Callable[..., Queries]:
    """Questions by small embedders, given or else those of a world."""

    def make(world: World, *more: SmallEmbedder) -> Queries:
        own: Any = world.embedders
        return Queries(SmallModels((own.attack, own.semantic, own.temporal, *more)))

    return make


@pytest.fixture
def small_entities() -> Callable[..., Entities]:
    """Questions about hosts by small embedders: those of a world, and more, of which the last of hosts is active."""

    def make(world: World, *more: SmallEmbedder, monotonic: Callable[[], float] = time.monotonic) -> Entities:
        own: Any = world.embedders
        models = SmallModels((own.entity, *more))
        return Entities(models, HostsOnDemand(models, monotonic))

    return make


@pytest.fixture
def replica(follow: Any, small_queries: Any, small_entities: Any) -> Callable[[World], Mapping[str, Handler]]:
    """The operations of a replica named rag-7 over a world, by name."""

    def make(world: World) -> Mapping[str, Handler]:
        own = Replica("rag-7", 42, "0.0", 0.0)
        queries = small_queries(world)
        explainer = Explainer(Searcher(queries, FusionWeights()))
        tools = Tools(
            Searcher(queries, FusionWeights()), TextSearch(queries), small_entities(world), explainer, own
        )
        return Operations(follow(world), answers_with(tools), own).handlers()

    return make


@pytest.fixture
def small_embedder() -> type[SmallEmbedder]:
    """The class of the embedders."""
    return SmallEmbedder


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition, with a limit that only a broken program reaches."""

    def wait(condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < limit, "the condition never came true"
            time.sleep(0.01)

    return wait


class Process:
    """One `appia-rag` process."""

    def __init__(self, settings: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.rag.main", "--settings", str(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, Any]:
        """The line that says where it listens."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        return dict(json.loads(line))

    def end(self, number: signal.Signals) -> int:
        """Send a signal, wait, and give the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_replica(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start replicas of a world as processes; those still running are killed at the end."""
    started: list[Process] = []

    def start(state: Path, name: str = "rag-1", **more: Any) -> Process:
        settings = tmp_path / f"replica-{len(started)}.toml"
        values = {"state": str(state), "name": name, "workers": 2, **more}
        # For plain texts, numbers and booleans JSON is TOML.
        settings.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        started.append(Process(settings))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="session")
def world_class() -> type[World]:
    """For fixtures that last longer than a test."""
    return World


@dataclass(frozen=True)
class CommandServer:
    """A command that listens over HTTP, in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    def end(self) -> int:
        """Ask it to end, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture
def start_server() -> Iterator[Callable[..., CommandServer]]:
    """Starts `appia WORDS` on a free port of loopback, over the replicas at some endpoints."""
    started: list[CommandServer] = []

    def start(words: Sequence[str], endpoints: Sequence[str]) -> CommandServer:
        whom = [word for endpoint in endpoints for word in ("--endpoint", endpoint)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("APPIA_")}
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "appia"), *words, "--json", *whom],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        started.append(CommandServer(process, json.loads(process.stdout.readline())["url"]))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.end()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()
