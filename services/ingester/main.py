"""`appia-ingester --settings FILE`: builds everything, connects it, runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from services.common.days.names import StateNames, claim_layout
from services.common.durable import Disk
from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.events.narrative import Narrator
from services.common.events.vocabulary import load_vocabulary
from services.common.logs import make_logger
from services.common.private_folders import UMASK, check_unwritable
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rest.storage_keys import open_log_keys
from services.common.settings import load_settings
from services.common.system_calls import SYSTEM, SystemCalls
from services.ingester.control import open_control
from services.ingester.dead_letter import DeadLetter
from services.ingester.feedback import FeedbackDesk
from services.ingester.fence import Fencing, lock_state, make_fencing
from services.ingester.indexer import Indexer, IndexerTools
from services.ingester.intake import Intake, IntakeTools
from services.ingester.models import ingester_embedders
from services.ingester.queue import ByteQueue
from services.ingester.receiver import Endpoints, Receiver, ReceiverTools
from services.ingester.recovery import Recovery
from services.ingester.reindexing import describe_indices
from services.ingester.replay import Replay, ReplayTools
from services.ingester.room import Room
from services.ingester.sealing_jobs import (
    ACTIVATE,
    ADOPT,
    REINDEX,
    ROLL_BACK,
    SIGN_REMOVAL,
    SealingJobs,
    SealingTools,
)
from services.ingester.settings import IngesterSettings
from services.ingester.signing import Signing
from services.ingester.watch import FolderWatch, WatchTools
from services.ingester.wire_keys import open_wire_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from services.common.embedding.cache import NarrativeCache
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler, RpcServer

KIND = "ingester"
_M_ARENA_MAX = -8  # malloc.h of glibc


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ingester; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="appia-ingester", description="Takes events in, keeps them, embeds them, seals days."
    )
    parser.add_argument(
        "--settings", type=Path, required=True, help="TOML file; docs/settings.md lists the keys"
    )
    options = parser.parse_args(argv)
    os.umask(UMASK)
    try:
        settings = load_settings(IngesterSettings, options.settings)
        end_if_it_fails(lambda: run(settings))
    except AppiaError as error:
        sys.stderr.write(f"appia-ingester: {error}\n")
        return error.exit_code
    return 0


def run(settings: IngesterSettings, calls: SystemCalls = SYSTEM) -> None:
    """Run until a signal asks to stop, or something fails that must not be gone on from. Files change by `calls`.

    Raises:
        AppiaError: what an operator has to see to.
    """
    _bound_arenas()
    log = make_logger(KIND)
    state, disk = StateNames(settings.state), Disk(calls)
    claim_layout(state, disk)
    if settings.keys.exists():  # where it does not, reading the keys says so
        check_unwritable(settings.keys)
    disk.make_folder(state.run)
    lock = lock_state(state, disk)
    try:
        fencing = make_fencing(settings, state, disk, lambda event, facts: log.warning(event, **facts))
        fencing.take()
        _raise_file_limit()
        with zmq.Context() as context:
            ingester = _build(context, settings, log, (state, disk, fencing))
            _announce(ingester)
            ingester.run()
        fencing.give_back()
    finally:
        os.close(lock)


@dataclass
class Ingester:
    """The built service: what runs, in the order in which it is stopped."""

    receiver: Receiver
    indexer: Indexer
    indexing: ByteQueue
    sealing: SealingJobs
    watch: FolderWatch
    control: RpcServer
    heartbeat: Heartbeat
    cache: NarrativeCache
    feedback: FeedbackDesk
    replay: Replay
    fencing: Fencing
    log: FilteringBoundLogger

    def run(self) -> None:
        """Start all threads, wait for a signal or a failure, stop them in order.

        Raises:
            AppiaError: a thread failed; what was acknowledged is safe.
        """
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        failures: list[BaseException] = []
        bodies = {
            "intake": self.receiver.run,
            "indexer": self.indexer.run,
            "sealing": self.sealing.run,
            "watch": self.watch.run,
            "fence": lambda: self.fencing.run(self.receiver.stop),
        }
        threads = {name: _thread(name, body, failures, stop) for name, body in bodies.items()}
        self.control.start()
        self.heartbeat.start()
        stop.wait()
        self.log.info("stopping", failures=[str(failure) for failure in failures])
        self.heartbeat.stop()
        self.control.stop()
        self.feedback.close()
        self.replay.close()
        self.watch.stop()
        self.sealing.stop()
        threads["watch"].join()
        threads["sealing"].join()
        self.receiver.stop()
        self.fencing.stop()
        threads["intake"].join()
        threads["fence"].join()
        self.indexing.close()
        threads["indexer"].join()
        self.cache.close()
        if failures:
            first = failures[0]
            raise (
                first
                if isinstance(first, AppiaError)
                else AppiaError(f"The ingester stopped: {type(first).__name__}: {first}")
            )

    def status(self) -> dict[str, Any]:
        """Counters for `status` requests."""
        tools = self.receiver.counts()
        return {
            **tools,
            "index_lag": self.indexer.lag(),
            "hours_due": self.indexer.due(),
            "index_faults": self.indexer.faults(),
            "reused_ids": self.indexer.reused_ids,
            "queue_bytes": self.indexing.bytes,
            "refused_requests": self.control.entrance.gate.refusals.counts,
            "writer": self.fencing.status(),
        }


def _thread(
    name: str, body: Callable[[], None], failures: list[BaseException], stop: threading.Event
) -> threading.Thread:
    def guarded() -> None:
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - the main thread decides what a dead thread means
            failures.append(error)
            stop.set()

    thread = threading.Thread(target=guarded, name=name)
    thread.start()
    return thread


def _build(
    context: zmq.Context[zmq.Socket[bytes]],
    settings: IngesterSettings,
    log: FilteringBoundLogger,
    place: tuple[StateNames, Disk, Fencing],
) -> Ingester:
    """Build all parts and pass each what it needs."""
    state, disk, fencing = place

    def report(event: str, facts: dict[str, Any]) -> None:
        log.warning(event, **facts)

    wire = open_wire_keys(settings, state, disk, report)
    keys = open_log_keys(
        settings.storage_key,
        lambda sentence: log.warning("storage_keys", what=sentence),
        require_encryption=settings.require_encryption,
    )
    embedders, cache = ingester_embedders(state, settings.models, settings.model_threads, disk)
    dead_letter = DeadLetter(disk, state.dead_letter, settings.dead_letter_bytes, time.time_ns, keys)
    signing = Signing(state, settings.keys, disk, time.time_ns)
    signing.prepare(lambda sentence: log.warning("chain", what=sentence))
    recovered = Recovery(
        disk, dead_letter, lambda sentence: log.warning("recovery", what=sentence), keys
    ).recover(state)
    indexing = ByteQueue(settings.queue_bytes)
    intake = Intake(state, recovered, IntakeTools(disk, dead_letter, time.time_ns, time.monotonic, keys))
    endpoints = Endpoints(settings.v2, settings.v1_pull, settings.v1_sub, settings.allow_public_v1)
    room = Room(state.root, settings.disk_stop_percent, settings.disk_warn_percent)
    receiver = Receiver(
        context,
        endpoints,
        ReceiverTools(
            wire.frames, intake, dead_letter, indexing, room, report, settings.v1_backfill, wire.follow
        ),
    )
    narrator = Narrator(load_vocabulary())
    indexer = Indexer(
        state, recovered, indexing, IndexerTools(disk, narrator, embedders, time.monotonic, report, keys)
    )
    sealing = SealingJobs(
        state,
        settings,
        SealingTools(intake, receiver, indexing, disk, signing, time.time_ns, time.monotonic, report),
    )
    watch = FolderWatch(
        settings.watch, state.run / "watch.json", WatchTools(disk, wire.artifacts, receiver.submit, report)
    )
    replay = Replay(state.dead_letter, ReplayTools(disk, dead_letter, intake, receiver, indexing, keys))
    feedback = FeedbackDesk(state, disk, time.time_ns, keys)
    for fault in feedback.faults:
        log.warning("feedback", what=fault)
    parts: list[Ingester] = []
    handlers = {
        "status": lambda _args, _deadline: parts[0].status(),
        "feedback": lambda args, _deadline: feedback.take(args),
        "replay": lambda args, _deadline: replay.take(args),
        "indices": lambda args, _deadline: describe_indices(state, settings.models, args),
        **_job_handlers(sealing),
    }
    control = open_control(context, settings, handlers, log)
    entry = Entry(
        KIND,
        settings.name,
        receiver.v2_endpoint,
        {"pid": os.getpid(), "control": control.endpoint, **control.entrance.facts},
    )
    registry = open_registry(settings.registry, state.root, settings.registry_keys)
    heartbeat = Heartbeat(registry, entry, lambda: entry.info)
    parts.append(
        Ingester(
            receiver,
            indexer,
            indexing,
            sealing,
            watch,
            control,
            heartbeat,
            cache,
            feedback,
            replay,
            fencing,
            log,
        )
    )
    return parts[0]


def _job_handlers(sealing: SealingJobs) -> Mapping[str, Handler]:
    """The control operations that need nothing but the jobs of sealing."""
    return {
        "ping": lambda _args, _deadline: {"service": KIND, "pid": os.getpid()},
        "seal": lambda args, _deadline: {"job": sealing.request(str(args.get("day", "")))},
        "seal_status": lambda args, _deadline: sealing.status(str(args.get("job", ""))),
        **{kind: _index_handler(sealing, kind) for kind in (REINDEX, ACTIVATE, ROLL_BACK)},
        **{kind: _signature_handler(sealing, kind) for kind in (ADOPT, SIGN_REMOVAL)},
    }


def _index_handler(sealing: SealingJobs, kind: str) -> Handler:
    def queue(args: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        return {"job": sealing.request_index(kind, str(args.get("day", "")), str(args.get("index", "")))}

    return queue


def _signature_handler(sealing: SealingJobs, kind: str) -> Handler:
    def queue(args: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        return {"job": sealing.request_signature(kind, str(args.get("day", "")))}

    return queue


def _announce(ingester: Ingester) -> None:
    """One line on standard output that tells the supervisor where to find what."""
    endpoints = {
        "v2": ingester.receiver.v2_endpoint,
        "v1_pull": ingester.receiver.v1_endpoint,
        "control": ingester.control.endpoint,
    }
    sys.stdout.write(
        json.dumps({"ready": True, "service": KIND, "pid": os.getpid(), "endpoints": endpoints}) + "\n"
    )
    sys.stdout.flush()


def _bound_arenas() -> None:
    """Let threads share two malloc arenas (mallopt(3)) where the C library has them: it saves some 20 MB here.

    Each thread that had one of its own would keep the largest batch it ever worked on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def _raise_file_limit() -> None:
    """Days in progress keep some twenty files open each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
