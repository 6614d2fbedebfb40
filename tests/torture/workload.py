"""What the torture of disks does with the ingester: its real parts, small models, and every action a process takes.

A `Process` is one life of the ingester, from its start to its end or its kill. A `Story` is several of them over one
state directory, drawn from a seed: events of several days, sent again and sent late, refused ones, feedback, indexing,
sealing, clean ends, and kills in the middle of anything. Whatever is acknowledged is noted on the tape.
"""

from __future__ import annotations

import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor as _Pool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from torture.calls import Killed, RecordingCalls

from services.common.chain.keys import SigningKey, SigningRing
from services.common.chain.store import ChainWriter, NoLinks
from services.common.days.embedders import Embedders
from services.common.days.index_builder import IndexTools
from services.common.days.layout import claim_layout
from services.common.days.names import INDICES, StateNames, read_pointer
from services.common.days.reindex import Reindexer
from services.common.days.sealing import Sealer
from services.common.days.switching import activate, roll_back
from services.common.durable import Disk
from services.common.embedding.cache import CacheSettings, NarrativeCache
from services.common.errors import AppiaError
from services.common.events.narrative import Narrator
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.vocabulary import load_vocabulary
from services.common.rest.log_keys import WrappingKey
from services.common.rest.storage_keys import NO_KEYS
from services.ingester.dead_letter import DeadLetter
from services.ingester.feedback import FeedbackDesk
from services.ingester.indexer import Finish, Indexer, IndexerTools
from services.ingester.intake import Intake, IntakeTools, SegmentKey
from services.ingester.queue import ByteQueue
from services.ingester.recovery import Recovery
from services.ingester.signing import Signing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torture.calls import Tape

    from services.common.chain.store import Links
    from services.common.days.sealing import SealReport
    from services.common.rest.log_keys import LogKeys
    from services.common.system_calls import SystemCalls
    from services.ingester.intake import Logged, Verdict
    from services.ingester.recovery import OpenSegment

DAY_S = 86_400
NOON = 1_769_040_000 + DAY_S // 2  # of 2026-01-22
DAYS = ("2026-01-21", "2026-01-22")
CAP = 1 << 20
PATIENCE_S = 60.0
ACTIONS = (
    *("new", "new", "new", "again", "again", "index", "index", "seal", "seal"),
    *("refused", "remark", "told", "reindex", "roll back"),
)


class SmallModel:
    """A fixed random projection: quick, and the same for the same input."""

    def __init__(self, name: str, dim: int, metric: str, version: int = 0) -> None:
        self.name, self.dim, self.metric = name, dim, metric
        self.model_id = f"{name}@{version:012x}"
        self._version = version
        self._weights: dict[int, NDArray[np.float64]] = {}
        self._known: dict[str, NDArray[np.float64]] = {}

    def embed(self, values: NDArray[np.float32] | Sequence[str], /) -> NDArray[np.float32]:
        if isinstance(values, np.ndarray):
            flat = values.reshape(len(values), -1 if values.size else int(np.prod(values.shape[1:])))
            return ((np.sign(flat) * np.log1p(np.abs(flat))) @ self._weight(flat.shape[1])).astype(np.float32)
        return np.array([self._text(text) for text in values], np.float32).reshape(-1, self.dim)

    def _weight(self, columns: int) -> NDArray[np.float64]:
        if columns not in self._weights:
            luck = np.random.default_rng(self._version)
            self._weights[columns] = luck.standard_normal((columns, self.dim))
        return self._weights[columns]

    def _text(self, text: str) -> NDArray[np.float64]:
        if text not in self._known:
            luck = np.random.default_rng(zlib.crc32(text.encode(), self._version))
            self._known[text] = luck.standard_normal(self.dim)
        return self._known[text]


def small_embedders(version: int = 0) -> Embedders:
    """Models of one version for all indices."""
    return Embedders(
        SmallModel("attack", 4, "l2", version),
        SmallModel("semantic", 6, "cosine", version),
        SmallModel("temporal", 5, "l2", version),
        SmallModel("entity", 3, "l2", version),
    )


def make_event(name: str, seconds: int) -> bytes:
    """One serialized event at that time, which differs from all others by its name."""
    event = NetworkSecurityEvent(event_id=f"event-{name}", originating_node_id="node-a")
    event.event_timestamp.seconds = seconds
    flow = event.network_features
    flow.source_ip, flow.destination_ip = f"10.0.0.{1 + zlib.crc32(name.encode()) % 4}", "192.0.2.1"
    flow.source_port, flow.destination_port, flow.protocol_number = 40_000, 443, 6
    flow.total_forward_bytes = zlib.crc32(name.encode()) % 5000
    return event.SerializeToString(deterministic=True)


class Kit:
    """What takes longer to make than a whole start, and never changes."""

    def __init__(self) -> None:
        """Make it."""
        self.vocabulary = load_vocabulary()
        self.narrator = Narrator(self.vocabulary)
        self.embedders = (small_embedders(0), small_embedders(1))
        signing = SigningKey(bytes(range(32)))
        self.ring = SigningRing(signing, {signing.public.id: signing})

    def embedder(self, index: str, model_id: str) -> Any:
        """The model with an id."""
        found = (embedders.named(index) for embedders in self.embedders)
        return next(embedder for embedder in found if embedder.model_id == model_id)


class OneKey:
    """Encrypts all new logs with one storage key."""

    allows_plain = True

    def for_new_files(self) -> WrappingKey:
        """See `LogKeys`."""
        return WrappingKey(bytes(range(32)))

    def find(self, key_id: int, path: Path) -> WrappingKey:  # noqa: ARG002 - the port asks for it
        """See `LogKeys`."""
        return self.for_new_files()


@dataclass(frozen=True)
class World:
    """Where processes live and what they are made of; nothing in it is of one process."""

    state: StateNames
    kit: Kit = field(default_factory=Kit)
    make_disk: Callable[[SystemCalls], Disk] = Disk
    is_signed: bool = False
    keys: LogKeys = NO_KEYS
    clock: Callable[[], int] = lambda: NOON * 1_000_000_000  # it is noon, all the time
    monotonic: Callable[[], float] = lambda: float(NOON)


class WorldSigning(Signing):
    """Signs with the key of the kit, where days are signed."""

    def __init__(self, world: World, disk: Disk) -> None:
        """Read no file."""
        super().__init__(world.state, world.state.keys, disk, world.clock)
        object.__setattr__(self, "_ring", world.kit.ring if world.is_signed else None)

    def links(self) -> Links:
        """See `Signing.links`."""
        ring: SigningRing | None = self._ring  # type: ignore[attr-defined]
        return NoLinks() if ring is None else ChainWriter(self.state.links, ring, self.disk, self.clock)


class Process:
    """One life of the ingester, as `services/ingester/building.py` puts it together, without sockets.

    What it was handed and what it acknowledged is noted on the tape, if there is one.
    """

    def __init__(self, world: World, calls: SystemCalls, tape: Tape | None = None, models: int = 0) -> None:
        """Start with one of the two versions of the models: recover, open everything.

        Raises what the start of the ingester raises.
        """
        self.world, self.calls, self.tape = world, calls, tape
        self.clock, self.monotonic = world.clock, world.monotonic
        self._models = models
        self._is_over = False
        self._cache: NarrativeCache | None = None
        self.sentences: list[str] = []
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.state, self.disk = world.state, world.make_disk(calls)
        claim_layout(self.state, self.disk)
        self.disk.make_folder(self.state.run)
        self.dead_letter = DeadLetter(self.disk, self.state.dead_letter, CAP, self.clock, world.keys)
        self.signing = WorldSigning(world, self.disk)
        self.signing.prepare(self.sentences.append)
        self.recovered: list[OpenSegment] = Recovery(
            self.disk, self.dead_letter, self.sentences.append, world.keys
        ).recover(self.state)
        tools = IntakeTools(self.disk, self.dead_letter, self.clock, self.monotonic, world.keys)
        self.intake = Intake(self.state, self.recovered, tools)
        self.desk = FeedbackDesk(self.state, self.disk, self.clock, world.keys)
        self.logged: list[Logged] = []
        self._indexing: Indexing | None = None

    def note(self, kind: str, what: Any) -> None:
        """Note something on the tape."""
        if self.tape is not None:
            self.tape.note(kind, what)

    def take(self, payloads: Sequence[bytes]) -> Verdict:
        """Take a frame's events in and acknowledge them, as the receiver does."""
        self.note("handed", tuple(payloads))
        verdict = self.intake.add(payloads, backfill=True, origin="torture")
        self.logged += self.intake.commit()
        self.note("taken", tuple(payloads))
        return verdict

    def remark(self, number: int) -> None:
        """Take a remark of an analyst."""
        told = {"feedback_id": f"remark-{number}", "event_id": f"event-{number}", "analyst": "ana"}
        self.note("told", told["feedback_id"])
        self.desk.take({**told, "note": f"seen {number}"})
        self.note("remarked", told["feedback_id"])

    @property
    def embedders(self) -> Embedders:
        """The models, texts through the cache on disk."""
        made = self.world.kit.embedders[self._models]
        if self._cache is None:
            settings = CacheSettings(texts_per_generation=4)
            self._cache = NarrativeCache(self.state.cache, made.semantic, settings, self.disk)
        return replace(made, semantic=self._cache)

    def index(self) -> None:
        """Give all that was logged to the indices, and wait until they have it."""
        if self._indexing is None:
            self._indexing = Indexing(self)
        self._indexing.put(self.logged)
        self.logged = []

    def seal(self, day: str) -> None:
        """Seal a day, as the jobs of sealing do."""
        upto = self.intake.rotate(day)
        if upto is None:
            return
        self.index()
        self.let_go(upto)
        self.seal_through(day, upto.number)
        self.intake.forget(day)

    def let_go(self, upto: SegmentKey) -> None:
        """Let the indexer close a day's segments; after `index`."""
        assert self._indexing is not None
        self._indexing.finish(upto)

    def seal_through(self, day: str, number: int) -> SealReport:
        """Do what the sealer does: fold the segments of a day up to a number into a generation."""
        sealer = Sealer(
            self.disk,
            self.world.kit.vocabulary,
            self.embedders,
            _no_progress,
            retry_after_s=(),
            keys=self.world.keys,
            links=self.signing.links(),
        )
        report = sealer.seal(self.state.day(day), number)
        self.note("sealed", (day, report.generation))
        return report

    def reindex(self, day: str, index: str) -> None:
        """Make an index of a sealed day anew with the model of this life, and serve it."""
        with suppress(AppiaError):  # the day is not sealed, or the version is of this model already
            tools = IndexTools(self.embedders, _no_progress, {}, self.disk)
            links = self.signing.links()
            Reindexer(self.disk, tools, self.world.keys, links).build(self.state.day(day), index)
            activate(self.state.day(day), index, self.disk, links)

    def roll_back(self, day: str, index: str) -> None:
        """Serve the version before."""
        with suppress(AppiaError):
            roll_back(self.state.day(day), index, self.disk, self.signing.links())

    def end(self) -> None:
        """End in order."""
        self._is_over = True
        if self._indexing is not None:
            self._indexing.end()
        if self._cache is not None:
            self._cache.close()
            self._cache = None
        self.desk.close()
        self.intake.close()

    def kill(self) -> None:
        """End as kill -9 does: nothing more is written. Files are given back."""
        if isinstance(self.calls, RecordingCalls):
            self.calls.kill()
        if not self._is_over:
            with suppress(Exception):
                self.end()
        if isinstance(self.calls, RecordingCalls):
            self.calls.bury()


class Indexing:
    """The indexer in its thread, fed step by step, so that the order of its operations is the same each time."""

    def __init__(self, process: Process) -> None:
        """Start the thread; what recovery found is caught up with first."""
        world = process.world
        self._process = process
        self._queue = ByteQueue(1 << 24)
        self.failures: list[BaseException] = []
        tools = IndexerTools(
            process.disk,
            world.kit.narrator,
            process.embedders,
            process.monotonic,
            lambda event, facts: process.reports.append((event, facts)),
            world.keys,
        )
        self.indexer = Indexer(process.state, process.recovered, self._queue, tools)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.indexer.run()
        except BaseException as error:  # noqa: BLE001 - the caller's thread is told
            self.failures.append(error)

    def put(self, logged: Sequence[Logged]) -> None:
        """Hand in, and wait until it is indexed and corrected. Raises what ended the thread."""
        for item in logged:
            self._queue.put(item, item.size)
        self._ask(SegmentKey("", 0))
        self._wait(lambda: not self.indexer.due() or self.indexer.faults())
        self._ask(SegmentKey("", 0))

    def finish(self, upto: SegmentKey) -> None:
        """Let go of a day's segments."""
        self._ask(upto)
        self._ask(SegmentKey("", 0))  # the step before has closed what it closes when this is taken

    def _ask(self, upto: SegmentKey) -> None:
        done = threading.Event()
        self._queue.put(Finish(upto, done), 0)
        self._wait(done.is_set)

    def _wait(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if self.failures:
                raise self.failures[0]
            if time.monotonic() > until:
                raise TimeoutError("the indexer does not come to an end")
            time.sleep(0.0002)

    def end(self) -> None:
        """Close the queue and wait for the thread."""
        self._queue.close()
        self._thread.join(PATIENCE_S)


class Story:
    """Several processes, one after the other, over one state directory."""

    def __init__(self, world: World, tape: Tape, luck: random.Random) -> None:
        """Nothing has happened yet."""
        self._world, self._tape, self._luck = world, tape, luck
        self._events = 0
        self._remarks = 0
        self._sent: list[bytes] = []

    def tell(self, lives: int) -> None:
        """Live so many lives: some end in order, most are killed, between operations or in the middle of any."""
        for _ in range(lives):
            self._live()

    def _live(self) -> None:
        luck = self._luck
        kill_after = luck.choice((None, luck.randint(0, 60), luck.randint(0, 300), luck.randint(0, 900)))
        calls = RecordingCalls(self._tape, kill_after)
        process = None
        try:
            process = Process(self._world, calls, self._tape, models=int(luck.random() < 0.25))
            for _ in range(luck.randint(2, 7)):
                self._act(process)
            if luck.random() < 0.3:
                process.end()
        except Killed:
            pass
        finally:
            if process is not None:
                process.kill()

    def _act(self, process: Process) -> None:
        luck = self._luck
        action = luck.choice(ACTIONS)
        if action == "new":
            process.take(self._new(luck.randint(1, 6)))
        elif action == "again":  # a sender that got no answer
            process.take(self._sent[-luck.randint(1, 8) :] + self._new(luck.choice((0, 2))))
        elif action == "refused":
            process.take([b"no event " + luck.randbytes(luck.choice((3, 700)))])
        elif action == "remark":
            self._remarks += 1
            process.remark(self._remarks)
        elif action == "told":
            process.remark(max(1, self._remarks - luck.randint(0, 2)))
        elif action == "index":
            process.index()
        elif action == "seal":
            process.seal(luck.choice(DAYS))
        elif action == "reindex":
            process.reindex(luck.choice(DAYS), luck.choice(INDICES))
        elif action == "roll back":
            process.roll_back(luck.choice(DAYS), luck.choice(INDICES))

    def _new(self, count: int) -> list[bytes]:
        luck = self._luck
        events = []
        for _ in range(count):
            self._events += 1
            seconds = NOON - luck.choice((0, 0, DAY_S)) + self._events
            events.append(make_event(f"{self._events}", seconds))
        self._sent += events
        return events


@contextmanager
def in_turn(luck: random.Random) -> Iterator[None]:
    """Let what works side by side take turns, and draw the ids of log files from `luck`: a seed makes the same tape."""

    class OneWorker(_Pool):
        def __init__(self, _workers: int, name: str = "") -> None:
            super().__init__(1, name)

    with (
        mock.patch("services.common.days.sealing.ThreadPoolExecutor", OneWorker),
        mock.patch("services.ingester.indexer.ThreadPoolExecutor", OneWorker),
        mock.patch("services.common.days.log.secrets.randbits", luck.getrandbits),
    ):
        yield


def _no_progress(_step: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def served(state: StateNames, day: str) -> int:
    """The generation of a day that is served; 0 for none."""
    return read_pointer(state.day(day).current) or 0
