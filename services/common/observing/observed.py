"""Puts together what shows a service: the pages, the metrics that every service has, and the word to its supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from services.common.observing.metrics import Kind, Metric, Sample, Source, label, make_registry
from services.common.observing.probe_server import METRICS, Answer, ProbeServer
from services.common.observing.systemd import Notifier
from services.common.observing.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from services.common.observing.condition import Condition
    from services.common.observing.probe_server import Page
    from services.common.observing.systemd import Supervised

BUILD = Metric(
    "appia_build_info", Kind.GAUGE, "Which process this is; the value is 1.", ("service", "name", "version")
)
READY = Metric("appia_ready", Kind.GAUGE, "1 while the service is ready, as /readyz says.")
WORKING = Metric("appia_working", Kind.GAUGE, "1 while what the service exists for moves, as /healthz says.")
REVISION = Metric(
    "appia_config_revision", Kind.GAUGE, "Revision of the live configuration in use; 0 without one."
)
REFUSED = Metric("appia_config_refused", Kind.GAUGE, "1 while a newer live configuration is refused.")
COMMON_METRICS = (BUILD, READY, WORKING, REVISION, REFUSED)


class Observing:
    """Shows a service from `start` to `stop`. `ready` says that its start is over."""

    def __init__(
        self,
        place: str,
        condition: Condition,
        sources: Sequence[Source],
        supervised: Supervised,
        log: FilteringBoundLogger,
    ) -> None:
        """Bind `place` (HOST:PORT on loopback; empty for nowhere).

        Raises:
            UsageError: the place is none.
            AppiaError: it cannot be bound.
        """
        registry = make_registry([_common(condition), *sources])
        pages = make_pages(condition, {"/metrics": lambda: Answer(200, generate_latest(registry), METRICS)})
        self._server = ProbeServer(place, pages, log) if place else None
        self._notifier = Notifier(supervised)
        self._watchdog = Watchdog(self._notifier, condition.stuck, log)

    @property
    def place(self) -> str:
        """Where it listens, ADDRESS:PORT; empty for nowhere."""
        return self._server.place if self._server else ""

    def start(self) -> None:
        """Begin to answer; does not block. The service is not ready yet."""
        if self._server:
            self._server.start()

    def ready(self) -> None:
        """Tell the supervisor that the start is over; from now on it is told that the service works, while it does."""
        self._notifier.ready()
        self._watchdog.start()

    def stop(self) -> None:
        """Tell the supervisor that the end begins, and answer nobody any more."""
        self._notifier.stopping()
        self._watchdog.stop()
        if self._server:
            self._server.stop()
        self._notifier.close()


def make_pages(condition: Condition, others: Mapping[str, Page]) -> dict[str, Page]:
    """The pages of a service: 200 where all is well, 503 with the reason where it is not."""

    def alive() -> Answer:
        why = condition.stuck()
        return Answer.of(503, why) if why else Answer.of(200, "It works.")

    def ready() -> Answer:
        found = condition.readiness()
        return Answer.of(200, "It is ready.") if found.ready else Answer.of(503, found.why)

    return {**others, "/healthz": alive, "/readyz": ready}


def _common(condition: Condition) -> Source:
    process = condition.process

    def read() -> Iterator[Sample]:
        configured = condition.configured()
        yield BUILD.of(1, label(process.service), label(process.name), label(process.version))
        yield READY.of(condition.readiness().ready)
        yield WORKING.of(not condition.stuck())
        yield REVISION.of(configured.revision)
        yield REFUSED.of(bool(configured.fault))

    return Source(COMMON_METRICS, read)
