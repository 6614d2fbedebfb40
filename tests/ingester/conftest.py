"""Parts of the ingester on a real disk, with real sockets and threads; only the models are small."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest
import zmq

from services.common.days.embedders import Embedders
from services.common.days.layout import claim_layout
from services.common.days.log import LogReader
from services.common.days.log_format import EVENT, REFUSED, Damage, was_begun
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.rpc_client import RpcClient
from services.common.wire.keys import new_key_ring, read_key_ring
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.ingester.dead_letter import DeadLetter
from services.ingester.decisions import DecisionDesk, DeskTools
from services.ingester.intake import Intake, IntakeTools
from services.ingester.recovery import Recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from services.common.days.names import OpenNames

PROJECT = Path(__file__).parents[2]
DAY = "2026-01-22"
DAY_SECONDS = 1_769_040_000  # 2026-01-22T00:00:00Z
NOON = DAY_SECONDS + 43_200
CAP = 64 << 20


class SmallModel:
    """A fixed random projection of what it is given; it fails while `broken` is set."""

    def __init__(self, name: str, dim: int, metric: str) -> None:
        self.name, self.dim, self.metric = name, dim, metric
        self.model_id = f"{name}@{'0' * 12}"
        self.broken = False

    def embed(self, values: NDArray[np.float32] | Sequence[str], /) -> NDArray[np.float32]:
        if self.broken:
            raise RuntimeError("the model is broken")
        if isinstance(values, np.ndarray):
            flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
            weights = np.random.default_rng(3).standard_normal((flat.shape[1], self.dim))
            return ((np.sign(flat) * np.log1p(np.abs(flat))) @ weights).astype(np.float32)
        vectors = [np.random.default_rng(zlib.crc32(t.encode())).standard_normal(self.dim) for t in values]
        return np.array(vectors, np.float32).reshape(-1, self.dim)


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    seconds: float = NOON

    def ns(self) -> int:
        return int(self.seconds * 1_000_000_000)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Reports:
    """What a part told the service's log."""

    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, event: str, facts: dict[str, Any] | None = None) -> None:
        self.told.append((event, facts or {}))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.told if name == event]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def state(tmp_path: Path, disk: Disk) -> StateNames:
    names = StateNames(tmp_path / "state")
    claim_layout(names, disk)
    disk.make_folder(names.run)
    return names


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def embedders() -> Embedders:
    return Embedders(
        SmallModel("attack", 8, "l2"),
        SmallModel("semantic", 16, "cosine"),
        SmallModel("temporal", 12, "l2"),
        SmallModel("entity", 6, "l2"),
    )


@pytest.fixture
def make_event() -> Callable[..., bytes]:
    """`make_event(name, seconds)`: one serialized event at that time; fields as keywords replace what it has."""

    def make(name: str = "a", seconds: int = NOON, **fields: Any) -> bytes:
        event = NetworkSecurityEvent(event_id=f"event-{name}", originating_node_id="node-a")
        event.event_timestamp.seconds = seconds
        flow = event.network_features
        flow.source_ip, flow.destination_ip = f"10.0.0.{1 + zlib.crc32(name.encode()) % 9}", "192.0.2.1"
        flow.source_port, flow.destination_port, flow.protocol_number = 40_000, 443, 6
        flow.total_forward_bytes = zlib.crc32(name.encode()) % 5000
        for key, value in fields.items():
            setattr(event, key, value)
        return event.SerializeToString(deterministic=True)

    return make


@pytest.fixture
def make_events(make_event: Callable[..., bytes]) -> Callable[..., list[bytes]]:
    """`make_events(n, prefix)`: n events, one a second."""

    def make(count: int, prefix: str = "e", seconds: int = NOON) -> list[bytes]:
        return [make_event(f"{prefix}-{i}", seconds + i) for i in range(count)]

    return make


@pytest.fixture
def dead_letters(state: StateNames) -> Callable[[], list[dict[str, Any]]]:
    """Everything in the dead letter, in order."""

    def read() -> list[dict[str, Any]]:
        found = []
        for path in sorted(state.dead_letter.glob("*.log")):
            reader = LogReader(path)
            for record in reader.scan():
                assert not isinstance(record, Damage)
                assert record.type == REFUSED
                found.append(msgpack.unpackb(record.payload))
            reader.close()
        return found

    return read


@pytest.fixture
def logged() -> Callable[[OpenNames], list[bytes]]:
    """The events in the log of a segment, in order."""

    def read(names: OpenNames) -> list[bytes]:
        found = []
        for number in names.logs():
            if not was_begun(names.log(number)):
                continue  # the intake makes it at this moment
            reader = LogReader(names.log(number))
            found += [r.payload for r in reader.scan() if not isinstance(r, Damage) and r.type == EVENT]
            reader.close()
        return found

    return read


@dataclass
class Opened:
    """An intake behind a recovery, as a start of the ingester makes them."""

    intake: Intake
    dead_letter: DeadLetter
    recovered: list[Any]
    sentences: list[str]
    decisions: DecisionDesk
    is_closed_elsewhere: bool = False

    def add(self, payloads: Sequence[bytes], *, backfill: bool = False) -> tuple[int, int, dict[str, int]]:
        verdict = self.intake.add(payloads, backfill=backfill, origin="test")
        self.intake.commit()
        return verdict.accepted, verdict.duplicates, dict(verdict.refused)


@pytest.fixture
def start(state: StateNames, disk: Disk, clock: Clock) -> Iterator[Callable[[], Opened]]:
    """Recover the state directory and open its intake; the one before is left as a crash leaves it."""
    opened: list[Opened] = []

    def make() -> Opened:
        sentences: list[str] = []
        dead_letter = DeadLetter(disk, state.dead_letter, CAP, clock.ns)
        recovered = Recovery(disk, dead_letter, sentences.append).recover(state)
        intake = Intake(state, recovered, IntakeTools(disk, dead_letter, clock.ns, clock.monotonic))
        decisions = DecisionDesk(state, DeskTools(disk, dead_letter, clock.ns))
        opened.append(Opened(intake, dead_letter, recovered, sentences, decisions))
        return opened[-1]

    yield make
    for one in opened:
        if not one.is_closed_elsewhere:
            one.intake.close()
            one.decisions.close()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail with its name after 30 s, which no sound machine needs."""
    patience_s = float(os.environ.get("APPIA_TEST_EVENTUALLY_S", "30"))

    def wait(what: str, condition: Callable[[], object]) -> None:
        until = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < until, f"never came true: {what}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def models(state: StateNames) -> None:
    """The shipped models in the state directory, as links."""
    homes = [Path.home() / ".local" / "share" / "appia" / "models", PROJECT / ".appia" / "models"]
    homes.insert(0, Path(os.environ.get("APPIA_TEST_MODELS", homes[0])))
    home = next((home for home in homes if (home / "semantic" / "ACTIVE").exists()), None)
    if home is None:
        pytest.skip("no models are built: run `appia models build`")
    state.models.symlink_to(home)


class Ingester:
    """One process with its settings file."""

    def __init__(self, state: StateNames, settings: dict[str, Any]) -> None:
        values = {"state": str(state.root), "keys": str(state.keys), **settings}
        self._file = state.root.parent / "ingester.toml"
        self._file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        self._log = (state.root.parent / "ingester.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.ingester.main", "--settings", str(self._file)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.ready: dict[str, Any] = {}

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        waiting = select.poll()
        waiting.register(self.process.stdout, select.POLLIN)
        assert waiting.poll(60_000), "not ready after a minute"
        self.ready = json.loads(self.process.stdout.readline())

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return status

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.with_suffix(".log").read_text().splitlines()]


@pytest.fixture
def launch(state: StateNames) -> Iterator[Callable[..., Ingester]]:
    """Start an ingester; settings as keywords. It is ready on return unless `ready` is False."""
    running: list[Ingester] = []
    if not state.keys.exists():
        new_key_ring(state.keys)

    def make(*, ready: bool = True, **settings: Any) -> Ingester:
        running.append(Ingester(state, settings))
        if ready:
            running[-1].wait_until_ready()
        return running[-1]

    yield make
    for one in running:
        one.end(signal.SIGKILL)


@pytest.fixture
def ask() -> Iterator[Callable[..., dict[str, Any]]]:
    """Ask an ingester's control endpoint."""
    with zmq.Context() as context:

        def call(ingester: Ingester, op: str, **arguments: Any) -> dict[str, Any]:
            client = RpcClient(context, ingester.ready["endpoints"]["control"])
            try:
                return dict(client.call(op, arguments, 10.0))
            finally:
                client.close()

        yield call


@pytest.fixture
def send(state: StateNames) -> Callable[[Ingester, list[bytes]], int]:
    """Send events and give how many were acknowledged."""

    def run(ingester: Ingester, events: list[bytes]) -> int:
        settings = ReliableSettings(ingester.ready["endpoints"]["v2"], new_origin("events"), backfill=True)
        with zmq.Context() as context, ReliableSender(context, settings, read_key_ring(state.keys)) as sender:
            for event in events:
                sender.send(event)
            sender.flush()
            return sender.counts.acknowledged

    return run
