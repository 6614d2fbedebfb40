"""A sink that may fail without holding up the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ingester.sinks import AttackSink, MetadataSink, SemanticSink, Sink, TemporalSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.common.days.metadata import SensorId
    from services.common.days.names import OpenNames
    from services.ingester.indexer import IndexerTools
    from services.ingester.sinks import Decoded, History

SINKS: dict[str, Callable[..., Sink]] = {
    "metadata": MetadataSink,
    "attack": AttackSink,
    "semantic": SemanticSink,
    "temporal": TemporalSink,
}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


class GuardedSink:
    """A sink that may fail: it is opened when needed, closed at an error, and tried again after a pause."""

    def __init__(self, name: str, names: OpenNames, tools: IndexerTools) -> None:
        """Open nothing yet."""
        self.name = name
        self.fault: str | None = None
        self._names = names
        self._tools = tools
        self._sink: Sink | None = None
        self._rows = 0
        self._due = 0
        self._pause_s = FIRST_PAUSE_S
        self._not_before = 0.0

    @property
    def rows(self) -> int:
        """Rows committed, as far as known."""
        return self._sink.rows if self._sink is not None else self._rows

    @property
    def is_due(self) -> bool:
        """Whether it may be tried now."""
        return self._tools.monotonic() >= self._not_before

    @property
    def due(self) -> int:
        """How much there is to `settle`, as far as known."""
        sink = self._sink
        return sink.due if sink is not None else self._due

    @property
    def reused(self) -> Sequence[SensorId]:
        """See `Sink.reused`."""
        return self._sink.reused if self._sink is not None else ()

    @property
    def is_open(self) -> bool:
        """Whether its files are open."""
        return self._sink is not None

    def open(self, history: History) -> bool:
        """Open the sink unless it is. False where that fails."""
        if self._sink is not None:
            return True
        return self._guard(lambda: self._open(history))

    def _open(self, history: History) -> None:
        sink = SINKS[self.name](self._tools.disk, self._names, self._tools.embedders)
        try:
            sink.prime(history)
        except BaseException:
            sink.close()
            raise
        self._sink = sink

    def apply(self, batch: Decoded) -> bool:
        """Commit a batch that begins at `rows`; False where it failed, or begins elsewhere."""
        sink = self._sink
        if sink is None or sink.rows != batch.first_row:
            return False
        if not self._guard(lambda: sink.apply(batch)):
            return False
        self._pause_s = FIRST_PAUSE_S  # only now, as a sink may open well and then fail each time
        return True

    def settle(self, until_s: float) -> None:
        """Correct what is due until that moment, a little at least."""
        sink = self._sink
        if sink is not None and sink.due:
            self._guard(lambda: sink.settle(lambda: self._tools.monotonic() >= until_s))

    def _guard(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever breaks one index must not stop the others
            self.fault = f"{type(error).__name__}: {error}"
            self._tools.report(
                "index_failed", {"index": self.name, "segment": str(self._names.folder), "error": self.fault}
            )
            self.close()
            self._not_before = self._tools.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return False
        self.fault = None
        return True

    def close(self) -> None:
        """Close the sink; it opens again when needed."""
        if self._sink is not None:
            self._rows, self._due = self._sink.rows, self._sink.due
            self._sink.close()
            self._sink = None
