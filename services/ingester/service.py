"""The ingester as it runs: its threads, and the order in which they stop."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from services.common.config.tree import IngesterLive
    from services.common.config.watcher import Hooks, Watcher
    from services.common.embedding.cache import NarrativeCache
    from services.common.observing.observed import Observing
    from services.common.registry.heartbeat import Heartbeat
    from services.common.rpc_server import RpcServer
    from services.ingester.feedback import FeedbackDesk
    from services.ingester.fence import Fencing
    from services.ingester.indexer import Indexer
    from services.ingester.jobs import Jobs
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver
    from services.ingester.replay import Replay
    from services.ingester.watch import FolderWatch


@dataclass(frozen=True)
class Ingester:
    """The built service: every part that has to be started, stopped or closed."""

    receiver: Receiver
    indexer: Indexer
    indexing: ByteQueue
    jobs: Jobs
    watch: FolderWatch
    control: RpcServer
    heartbeat: Heartbeat
    config: Watcher[IngesterLive]
    taking: Hooks[IngesterLive]
    cache: NarrativeCache
    feedback: FeedbackDesk
    replay: Replay
    fencing: Fencing
    observing: Observing
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
        threads = self._start(failures, stop)
        stop.wait()
        self.log.info("stopping", failures=[str(failure) for failure in failures])
        self._stop(threads)
        if failures:
            raise _as_told(failures[0])

    def _start(self, failures: list[BaseException], stop: threading.Event) -> Mapping[str, threading.Thread]:
        bodies = {
            "intake": self.receiver.run,
            "indexer": self.indexer.run,
            "jobs": self.jobs.run,
            "watch": self.watch.run,
            "fence": lambda: self.fencing.run(self.receiver.stop),
        }
        threads = {name: _thread(name, body, failures, stop) for name, body in bodies.items()}
        self.observing.start()
        self.control.start()
        self.heartbeat.start()
        self.config.start(self.taking)
        self.observing.ready()
        return threads

    def _stop(self, threads: Mapping[str, threading.Thread]) -> None:
        """Whoever hands work to another part stops before it."""
        self.observing.stop()
        self.config.stop()
        self.heartbeat.stop()
        self.control.stop()
        self.feedback.close()
        self.replay.close()
        self.watch.stop()
        self.jobs.stop()
        threads["watch"].join()
        threads["jobs"].join()
        self.receiver.stop()
        self.fencing.stop()
        threads["intake"].join()
        threads["fence"].join()
        self.indexing.close()
        threads["indexer"].join()
        self.cache.close()


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


def _as_told(failure: BaseException) -> AppiaError:
    if isinstance(failure, AppiaError):
        return failure
    return AppiaError(f"The ingester stopped: {type(failure).__name__}: {failure}")
