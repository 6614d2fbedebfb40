"""Days on a real disk, with events of several hosts and small embedders."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from services.common.chain.keys import new_signing_key, read_signing_ring
from services.common.chain.store import ChainWriter, read_chain
from services.common.days.embedders import Embedders
from services.common.days.layout import claim_layout
from services.common.days.manifest import MANIFEST, Manifest, digest_file, read_manifest
from services.common.days.names import StateNames
from services.common.days.open_reader import OpenSegmentReader
from services.common.days.open_writer import SegmentLog
from services.common.days.proof import prove_day
from services.common.days.sealed_reader import SealedReader
from services.common.days.sealing import Sealer
from services.common.days.verify import verify_day
from services.common.durable import Disk
from services.common.events.features import extract
from services.common.events.narrative import Narrator
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary
from services.ingester.sinks import AttackSink, Decoded, MetadataSink, SemanticSink, TemporalSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import DayNames, GenerationNames, OpenNames

DAY = "2026-01-22"
DAY_SECONDS = 1_769_040_000  # 2026-01-22T00:00:00Z
NOON_NS = (DAY_SECONDS + 43_200) * 1_000_000_000


class Projection:
    """A small embedder: a fixed random projection of what it is given."""

    def __init__(self, name: str, dim: int, metric: str, version: str = "0" * 12) -> None:
        self.name, self.dim, self.metric = name, dim, metric
        self.model_id = f"{name}@{version}"

    def embed(self, values: NDArray[np.float32] | Sequence[str], /) -> NDArray[np.float32]:
        if isinstance(values, np.ndarray):
            flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
            weights = np.random.default_rng(3).standard_normal((flat.shape[1], self.dim))
            vectors = (np.sign(flat) * np.log1p(np.abs(flat))) @ weights
        else:
            seeds = [zlib.crc32(text.encode()) for text in values]
            vectors = np.array([np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds])
            vectors = vectors.reshape(-1, self.dim)
        if self.metric == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def state(tmp_path: Path, disk: Disk) -> StateNames:
    names = StateNames(tmp_path / "state")
    claim_layout(names, disk)
    return names


@pytest.fixture
def embedders() -> Embedders:
    return Embedders(
        Projection("attack", 8, "l2"),
        Projection("semantic", 16, "cosine"),
        Projection("temporal", 12, "l2"),
        Projection("entity", 6, "l2"),
    )


@pytest.fixture
def make_payloads() -> Callable[..., list[bytes]]:
    """`make_payloads(n, seed)`: n events of a few hosts on one day, in the order in which they come."""

    def build(count: int, seed: int = 1, day_seconds: int = DAY_SECONDS) -> list[bytes]:
        rng = np.random.default_rng(seed)
        return [_payload(f"{seed}-{i}", rng, day_seconds) for i in range(count)]

    return build


def _payload(name: str, rng: np.random.Generator, day_seconds: int) -> bytes:
    event = NetworkSecurityEvent(event_id=f"event-{name}", originating_node_id="node-a")
    event.event_timestamp.seconds = day_seconds + int(rng.integers(0, 86_400))
    event.event_timestamp.nanos = int(rng.integers(0, 1_000_000)) * 1000
    flow = event.network_features
    flow.source_ip = f"10.0.0.{rng.integers(1, 9)}"
    flow.destination_ip = (
        f"2001:db8::{rng.integers(1, 9):x}" if rng.random() < 0.2 else f"192.0.2.{rng.integers(1, 9)}"
    )
    flow.source_port, flow.destination_port = (
        int(rng.integers(1024, 65536)),
        int(rng.choice([22, 53, 80, 443])),
    )
    flow.protocol_number = 6
    flow.total_forward_packets, flow.total_backward_packets = (int(n) for n in rng.integers(0, 100, 2))
    flow.total_forward_bytes = int(rng.integers(0, 10_000))
    event.final_classification = str(rng.choice(["BENIGN", "MALICIOUS"]))
    event.overall_threat_score = float(rng.random())
    return event.SerializeToString(deterministic=True)


@pytest.fixture
def write_segment(disk: Disk, embedders: Embedders) -> Callable[..., None]:
    """`write_segment(names, payloads)`: an open segment with its log and all indices, as the ingester writes it."""

    def write(names: OpenNames, payloads: list[bytes], batch: int = 64) -> None:
        log = SegmentLog(disk, names, 0)
        narrator = Narrator(load_vocabulary())
        sinks = [
            cls(disk, names, embedders) for cls in (MetadataSink, AttackSink, SemanticSink, TemporalSink)
        ]
        for start in range(0, len(payloads), batch):
            part = payloads[start : start + batch]
            positions = log.append(part)
            log.sync()
            table, features = tabulate([parse_event(payload) for payload in part], part), extract(part)
            decoded = Decoded(start, table, features, narrator.narrate(table, features), positions)
            for sink in sinks:
                sink.apply(decoded)
        for sink in sinks:
            sink.close()
        log.close()

    return write


@pytest.fixture
def sealer(disk: Disk, embedders: Embedders) -> Sealer:
    return Sealer(
        disk=disk,
        vocabulary=load_vocabulary(),
        embedders=embedders,
        progress=lambda _step, _done, _total: None,
        retry_after_s=(0.0,),
        sleep=lambda _seconds: None,
    )


@pytest.fixture
def read_open() -> Iterator[Callable[[OpenNames], OpenSegmentReader]]:
    """Open a reader of an open segment, closed after the test."""
    readers: list[OpenSegmentReader] = []

    def read(names: OpenNames) -> OpenSegmentReader:
        readers.append(OpenSegmentReader(DAY, names))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()


@pytest.fixture
def read_sealed() -> Iterator[Callable[[GenerationNames], SealedReader]]:
    """Open a reader of a generation, closed after the test."""
    readers: list[SealedReader] = []

    def read(names: GenerationNames) -> SealedReader:
        readers.append(SealedReader(DAY, names))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()


@pytest.fixture
def links(state: StateNames, disk: Disk) -> ChainWriter:
    """The chain of the state directory, with a key of its own."""
    new_signing_key(state.keys, disk)
    ring = read_signing_ring(state.keys)
    assert ring is not None
    return ChainWriter(state.links, ring, disk, lambda: NOON_NS)


@pytest.fixture
def signing_sealer(sealer: Sealer, links: ChainWriter) -> Sealer:
    """A sealer that signs."""
    return replace(sealer, links=links)


def faults(state: StateNames) -> list[str]:
    """What the chain says is wrong with the day, and with its files."""
    chain = read_chain(state.links, None)
    assert chain.faults == ()
    names = state.day(DAY)
    return [*prove_day(DAY, [names], chain).faults, *verify_day(names).faults]


def put(path: Path, data: bytes) -> None:
    """Write a sealed file as somebody with the rights of the ingester can."""
    path.chmod(0o644)
    path.write_bytes(data)


def forge(folder: Path, name: str) -> None:
    """Alter a file and make the manifest fit."""
    path = folder / name
    put(path, path.read_bytes() + b"x")
    manifest: Manifest = read_manifest(folder)
    fitting = replace(manifest, artifacts={**manifest.artifacts, name: digest_file(path)})
    put(folder / MANIFEST, fitting.to_json())


@pytest.fixture
def day(
    state: StateNames, write_segment: Callable[..., None], make_payloads: Callable[..., list[bytes]]
) -> DayNames:
    """A day with one open segment."""
    write_segment(state.day(DAY).segment(1), make_payloads(60))
    return state.day(DAY)
