"""Sealed days on a real disk: web traffic and scans that anybody can tell apart, by embedders without model files."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.embedders import Embedders
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames, day_start_ns
from services.common.days.open_writer import SegmentLog
from services.common.days.sealing import Sealer
from services.common.durable import Disk
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Projection:
    """A fixed random projection of numbers, or of the checksums of texts."""

    name: str
    metric: Any
    dim: int = 8
    version: int = 1

    @property
    def model_id(self) -> str:
        return f"{self.name}@{self.version:012x}"

    def embed(self, inputs: NDArray[np.float32] | Sequence[str]) -> NDArray[np.float32]:
        if isinstance(inputs, np.ndarray):
            flat = np.log1p(np.abs(inputs.reshape(len(inputs), int(np.prod(inputs.shape[1:])))))
            vectors = flat @ np.random.default_rng(self.version).normal(size=(flat.shape[1], self.dim))
        else:
            seeds = [zlib.crc32(text.encode()) for text in inputs]
            vectors = np.array([np.random.default_rng(seed).normal(size=self.dim) for seed in seeds])
            vectors = vectors.reshape(-1, self.dim)
        if self.metric == "cosine":
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors.astype(np.float32)


class DayMaker:
    """Writes logs of days and seals them."""

    def __init__(self, root: Path) -> None:
        self.state = StateNames(root)
        self.disk = Disk()
        self.embedders = Embedders(
            Projection("attack", "l2"),
            Projection("semantic", "cosine"),
            Projection("temporal", "l2"),
            Projection("entity", "l2"),
        )
        claim_layout(self.state, self.disk)

    def seal(self, day: str, payloads: Sequence[bytes]) -> None:
        """A sealed day of some events, in order of time."""
        names = self.state.day(day)
        log = SegmentLog(self.disk, names.segment(1), 0)
        log.append(list(payloads))
        log.sync()
        log.close()
        sealer = Sealer(self.disk, load_vocabulary(), self.embedders, lambda *_: None, retry_after_s=())
        assert not sealer.seal(names, 1).failed

    def use_model(self, index: str, version: int) -> None:
        """Seal days from now on with another model of an index."""
        changed = replace(self.embedders.named(index), version=version)  # type: ignore[type-var]
        self.embedders = replace(self.embedders, **{index: changed})


def make_event(day: str, number: int, label: str = "", final: str = "") -> NetworkSecurityEvent:
    """An event, 60 s after the one with the number before: a small probe if it is a scan, else a longer talk."""
    rng = np.random.default_rng(number)
    event = NetworkSecurityEvent(event_id=f"{day}-{number}", final_classification=final)
    event.event_timestamp.FromNanoseconds(day_start_ns(day) + number * 60 * SECOND_NS)
    if label:
        event.custom_metadata["label"] = label
    scans = "scan" in label + final
    flow = event.network_features
    flow.source_ip = "203.0.113.9" if scans else f"192.0.2.{number % 5 + 1}"
    flow.destination_ip, flow.protocol_number = "192.0.2.200", 6
    flow.source_port = 40_000 + number
    flow.destination_port = int(rng.integers(1, 1024)) if scans else 443
    flow.total_forward_packets = 1 if scans else int(rng.integers(50, 90))
    flow.total_forward_bytes = 40 if scans else int(rng.integers(50_000, 90_000))
    flow.flow_duration_microseconds = 20 if scans else int(rng.integers(10**6, 2 * 10**6))
    return event


@pytest.fixture
def payloads() -> Callable[..., list[bytes]]:
    """`payloads(day, count)`: events by turns "web" and "scan", by label or, every third, by final classification."""

    def make(day: str, count: int) -> list[bytes]:
        events = []
        for number in range(count):
            name = ("web", "scan")[number % 2]
            by_label = number % 3 != 0
            event = make_event(day, number, name if by_label else "", "seen" if by_label else name)
            events.append(event.SerializeToString(deterministic=True))
        return events

    return make


@pytest.fixture
def make_payload() -> Callable[..., bytes]:
    """`make_payload(day, number, label, final)`: one event."""
    return lambda *words: make_event(*words).SerializeToString(deterministic=True)


@pytest.fixture
def days(tmp_path: Path) -> DayMaker:
    """An empty state directory and what seals days in it."""
    return DayMaker(tmp_path / "state")
