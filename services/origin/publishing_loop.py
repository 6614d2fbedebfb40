"""Publishes again and again in a thread of its own, and says how that goes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from services.common.errors import AppiaError
from services.common.observing.metrics import Kind, Metric, Source
from services.common.rpc import NotFound
from services.origin.source import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from structlog.typing import FilteringBoundLogger

    from services.common.observing.metrics import Sample

PUBLISH = "publish"
"""The key of the answer to `ping`."""
LONGEST_PAUSE_S = 60.0
STOP_S = 5.0
"""For so long the end waits for a place that hangs."""

BYTES = Metric("appia_published_bytes_total", Kind.COUNTER, "Bytes of files that were read to be published.")
BEHIND = Metric(
    "appia_publish_behind_seconds", Kind.GAUGE, "Since what is published was all that there is, seconds."
)
FAILING = Metric("appia_publish_failing", Kind.GAUGE, "1 while publishing fails; the log has the reason.")
PUBLISH_METRICS = (BYTES, BEHIND, FAILING)


class Publishes(Protocol):
    """What is done in each round."""

    def publish(self, now_s: float) -> None:
        """Bring the place up to date. Blocks; raises `OSError`, `AppiaError`, or `Stopped` at the end."""


@dataclass(frozen=True)
class Publication:
    """How publishing goes.

    `behind_s` is since when what is there was all that there is, seconds; `fault` why it fails, empty for no reason.
    """

    behind_s: float
    fault: str


class PublishingLoop:
    """Runs from `start` to `stop`. `seen` and `source` are for any thread."""

    def __init__(
        self,
        publisher: Publishes,
        every_s: float,
        bytes_read: Callable[[], int],
        stop: threading.Event,
        log: FilteringBoundLogger,
    ) -> None:
        """`stop` is the event that `publisher` heeds too; `bytes_read` counts what it read."""
        self._publisher = publisher
        self._every_s = every_s
        self._bytes_read = bytes_read
        self._stop = stop
        self._log = log
        self._complete_s = time.monotonic()
        self._fault = ""
        # A place that hangs for ever, as a network share can, must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def seen(self) -> Publication:
        """How it goes now. What came since the last look is not late yet."""
        since_s = time.monotonic() - self._complete_s
        return Publication(since_s if since_s > 2 * self._every_s else 0.0, self._fault)

    def ping(self) -> dict[str, Any]:
        """What `ping` tells those of it who may look."""
        seen = self.seen
        return {PUBLISH: {"behind_s": round(seen.behind_s, 3), "faults": [seen.fault] if seen.fault else []}}

    def source(self) -> Source:
        """The same as metrics."""

        def read() -> Iterator[Sample]:
            seen = self.seen
            yield BYTES.of(self._bytes_read())
            yield BEHIND.of(seen.behind_s)
            yield FAILING.of(bool(seen.fault))

        return Source(PUBLISH_METRICS, read)

    def start(self) -> None:
        """Begin; does not block."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is gone on with after the next start. Blocks for five seconds at most."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        pause_s = self._every_s
        while not self._stop.is_set():
            began_s = time.monotonic()
            pause_s = self._every_s if self._round(began_s) else min(pause_s * 2, LONGEST_PAUSE_S)
            self._stop.wait(pause_s)

    def _round(self, began_s: float) -> bool:
        """Whether all that was there when it began is published."""
        try:
            self._publisher.publish(began_s)
        except (NotFound, Stopped):  # a day changed under it: the next round sees it as it is then
            return True
        except (AppiaError, OSError) as error:
            fault = str(error) or type(error).__name__
            if fault != self._fault:
                self._log.warning("publishing_fails", error=fault)
            self._fault = fault
            return False
        if self._fault:
            self._log.info("publishing_works_again")
        self._fault, self._complete_s = "", began_s
        return True
