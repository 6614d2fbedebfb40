"""The indexer: one thread that decodes what the intake logged and gives it to the four sinks, side by side.

A sink that fails is opened again with growing pauses, and catches up from the log; the others go on meanwhile.
What late events change is corrected beside new batches in a quarter of the time, and in all of it when nothing comes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.open_writer import SegmentLogReader
from services.common.durable import close_all
from services.common.errors import AppiaError
from services.common.events.features import extract
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.rest.storage_keys import NO_KEYS
from services.ingester.alarms import Alarms
from services.ingester.guarded_sink import SINKS, GuardedSink
from services.ingester.intake import Logged, SegmentKey
from services.ingester.sinks import Decoded

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.events.narrative import Narrator
    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.common.rest.log_keys import LogKeys
    from services.ingester.queue import ByteQueue
    from services.ingester.recovery import OpenSegment
    from services.ingester.sinks import History

SETTLING_SHARE, MOST_S = 0.25, 0.1
"""Of the time, how much goes into corrections while events come; and after one batch at most."""
IDLE_S, LAST_S = 0.02, 5.0
"""How long corrections go on before the queue is looked at, and at the end of a segment at most: sealing makes all."""
OPEN_SEGMENTS = 8
_TOLD = 128  # characters of a name in the log


@dataclass(frozen=True)
class Pace:
    """How much is committed at once: at most `batch_rows` rows, or what came within `commit_interval_s`."""

    batch_rows: int = 1024
    commit_interval_s: float = 0.0


@dataclass(frozen=True)
class IndexerTools:
    """What the indexer needs from outside."""

    disk: Disk
    narrator: Narrator
    embedders: Embedders
    monotonic: Callable[[], float]
    report: Callable[[str, dict[str, Any]], None]  # takes an event name and facts for the service's log
    keys: LogKeys = NO_KEYS
    beat: Callable[[], None] = lambda: None  # called with each batch, and while there is none
    pace: Pace = field(default_factory=Pace)


@dataclass
class _Segment:
    """A segment that is being indexed."""

    key: SegmentKey
    log: SegmentLogReader
    sinks: list[GuardedSink]
    positions: deque[NDArray[np.int64]] = field(default_factory=deque)  # of rows from `first` on
    first: int = 0
    rows: int = 0

    def add(self, positions: NDArray[np.int64]) -> None:
        self.positions.append(positions)
        self.rows += len(positions)

    def positions_from(self, row: int) -> NDArray[np.int64]:
        everything = np.concatenate([np.empty(0, np.int64), *self.positions])
        self.positions = deque([everything])
        return everything[row - self.first :]

    def forget_positions(self) -> None:
        """Drop the positions of rows that every sink has."""
        needed = min(sink.rows for sink in self.sinks)
        while self.positions and self.first + len(self.positions[0]) <= needed:
            self.first += len(self.positions.popleft())

    def close(self) -> None:
        close_all([*self.sinks, self.log])


@dataclass(frozen=True)
class Finish:
    """Asks the indexer to let go of a day's segments up to one of them; `done` is set when it has."""

    upto: SegmentKey
    done: threading.Event


class Indexer:
    """Takes `Logged` batches from a queue until it is closed. `run` is the body of its thread."""

    def __init__(
        self, state: StateNames, recovered: Sequence[OpenSegment], queue: ByteQueue, tools: IndexerTools
    ) -> None:
        """Begin with the segments that recovery found; they catch up first."""
        self._state = state
        self._queue = queue
        self._tools = tools
        self.pace = tools.pace  # any thread may put another one here
        self._segments: OrderedDict[SegmentKey, _Segment] = OrderedDict()
        for found in recovered:
            self._segment(SegmentKey(found.day, found.names.number)).add(found.positions)
        self._pool = ThreadPoolExecutor(len(SINKS), "sink")
        self._alarms = Alarms(tools.report)
        self.reused_ids = 0  # events under an id that another one of their sensor has; for any thread
        self._turn = 0  # which segment's corrections come first
        self._settled_s = tools.monotonic()  # when corrections were made last

    def run(self) -> None:
        """Work until the queue is closed and empty, then close everything.

        Raises:
            AppiaError: a log cannot be read any more. The queue is closed then, so that nobody waits for it.
        """
        try:
            self._work()
        finally:
            self._queue.close()
            self._pool.shutdown()
            close_all(self._segments.values())

    def _work(self) -> None:
        self._catch_up()
        while True:
            self._tools.beat()
            item = self._queue.get(timeout_s=0.0 if self._unsettled() else 0.5)
            if isinstance(item, Logged):
                self._take(self._gather(item))
            elif isinstance(item, Finish):
                self._finish(item)
            elif self._queue.closed:
                self._settle(LAST_S)
                return
            else:
                self._settle(IDLE_S, reopen=True)
            self._catch_up()

    def lag(self) -> dict[str, int]:
        """For each index how many logged rows it has still to take, over all segments. For any thread."""
        segments = list(self._segments.values())
        return {
            name: sum(
                max(segment.rows - sink.rows, 0)
                for segment in segments
                for sink in segment.sinks
                if sink.name == name
            )
            for name in SINKS
        }

    def due(self) -> int:
        """Vectors that late events changed and that are not made again yet, over all segments. For any thread."""
        return sum(sink.due for segment in list(self._segments.values()) for sink in segment.sinks)

    def faults(self) -> dict[str, str]:
        """For each index that fails at present the reason. For any thread."""
        sinks = [sink for segment in list(self._segments.values()) for sink in segment.sinks]
        return {sink.name: sink.fault for sink in sinks if sink.fault is not None}

    def _gather(self, first: Logged) -> list[Logged]:
        """What follows in the queue for the same segment, up to a batch."""
        gathered, rows, pace = [first], len(first.payloads), self.pace
        until_s = self._tools.monotonic() + pace.commit_interval_s
        while rows < pace.batch_rows:
            item = self._queue.peek(max(0.0, until_s - self._tools.monotonic()))
            if not isinstance(item, Logged) or item.segment != first.segment:
                break
            self._queue.get(timeout_s=0)
            gathered.append(item)
            rows += len(item.payloads)
        return gathered

    def _take(self, logged: Sequence[Logged]) -> None:
        segment = self._segment(logged[0].segment)
        for part in logged:
            segment.add(part.positions)
        payloads = [payload for part in logged for payload in part.payloads]
        events = [event for part in logged for event in part.events]
        positions = np.concatenate([part.positions for part in logged])
        batch = self._decode(logged[0].first_row, payloads, events, positions)
        ready = [sink for sink in segment.sinks if sink.is_due and sink.open(self._history(segment))]
        list(self._pool.map(lambda sink: self._apply(sink, batch), ready))

    def _apply(self, sink: GuardedSink, batch: Decoded) -> None:
        """Commit a batch; the quickest of the sinks then corrects what is due, while the others work still."""
        self._give(sink, batch)
        if sink.name == "temporal":
            share_s = SETTLING_SHARE * (self._tools.monotonic() - self._settled_s)
            self._settle(min(share_s, MOST_S))

    def _give(self, sink: GuardedSink, batch: Decoded) -> bool:
        """Commit a batch, and say which of its events have the id of another: both are kept, one may be forged."""
        if not sink.apply(batch):
            return False
        for node, event_id in sink.reused:
            self.reused_ids += 1
            self._alarms.tell(
                "event_id_reused", node[:_TOLD], {"node": node[:_TOLD], "event_id": event_id[:_TOLD]}
            )
        return True

    def _settle(self, seconds: float, *, reopen: bool = False) -> None:
        """Correct what is due for about so long, each segment in its turn; closed ones only on request."""
        until_s = self._tools.monotonic() + seconds
        unsettled = self._unsettled()
        self._turn += 1
        for place in range(len(unsettled)):
            segment, sink = unsettled[(self._turn + place) % len(unsettled)]
            if sink.is_open:
                sink.settle(until_s)
            elif reopen and sink.open(self._history(segment)):
                sink.settle(self._tools.monotonic() + LAST_S)  # to have to open it once only
            if self._tools.monotonic() >= until_s:
                break
        self._settled_s = self._tools.monotonic()

    def _unsettled(self) -> list[tuple[_Segment, GuardedSink]]:
        return [
            (segment, sink)
            for segment in self._segments.values()
            for sink in segment.sinks
            if sink.due and sink.is_due
        ]

    def _decode(
        self,
        first_row: int,
        payloads: Sequence[bytes],
        events: Sequence[NetworkSecurityEvent],
        positions: NDArray[np.int64],
    ) -> Decoded:
        self._tools.beat()  # what a sink catches up with is many batches
        table = tabulate(events, payloads)
        features = extract(payloads)
        return Decoded(first_row, table, features, self._tools.narrator.narrate(table, features), positions)

    def _catch_up(self) -> None:
        """Give the rows that they lack to the sinks which are behind and due.

        Only the files of the latest segments stay open; the others open again when something comes for them.
        """
        segments = list(self._segments.values())
        for place, segment in enumerate(segments):
            for sink in segment.sinks:
                if sink.rows < segment.rows and sink.is_due:
                    self._catch_up_sink(segment, sink)
            segment.forget_positions()
            if place < len(segments) - OPEN_SEGMENTS:
                segment.close()

    def _catch_up_sink(self, segment: _Segment, sink: GuardedSink) -> None:
        if not sink.open(self._history(segment)) or sink.rows >= segment.rows:
            return
        for batch in self._read(segment, sink.rows, segment.rows):
            if not self._give(sink, batch):
                return

    def _history(self, segment: _Segment) -> History:
        return lambda first, end: self._read(segment, first, end)

    def _read(self, segment: _Segment, first: int, end: int) -> Iterator[Decoded]:
        """Rows `[first, end)` of a segment, decoded from its log."""
        positions = segment.positions_from(first)[: end - first]
        rows = self.pace.batch_rows
        for start in range(0, len(positions), rows):
            part = positions[start : start + rows]
            payloads = [_payload(segment, position) for position in part.tolist()]
            yield self._decode(first + start, payloads, [parse_event(payload) for payload in payloads], part)

    def _segment(self, key: SegmentKey) -> _Segment:
        segment = self._segments.get(key)
        if segment is None:
            names = self._state.day(key.day).segment(key.number)
            sinks = [GuardedSink(name, names, self._tools) for name in SINKS]
            segment = self._segments[key] = _Segment(key, SegmentLogReader(names, self._tools.keys), sinks)
        self._segments.move_to_end(key)
        return segment

    def _finish(self, request: Finish) -> None:
        for key in [
            k for k in self._segments if k.day == request.upto.day and k.number <= request.upto.number
        ]:
            segment = self._segments.pop(key)
            for sink in segment.sinks:
                sink.settle(self._tools.monotonic() + LAST_S)
            segment.close()
        request.done.set()


def _payload(segment: _Segment, position: int) -> bytes:
    payload = segment.log.event(position)
    if payload is None:
        raise AppiaError(
            f"the log of {segment.key.day} is damaged at {position}: restart the ingester to set it aside"
        )
    return payload
