"""One run of the feed: records in, events out, and a summary that hides nothing."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.errors import UsageError
from services.common.events.network_security_pb2 import Detection, DetectionBatch, NetworkSecurityEvent
from services.common.wire.refusals import FrameRefused
from services.feed.readers import DECISIONS, reader_of
from services.feed.readers.port import Idle, ReadOptions, Refusal, Skipped
from services.feed.rounds import Rounds

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from services.feed.readers.port import Item
    from services.feed.sender import Sender

REFUSALS_SHOWN = 20
PROGRESS_SECONDS = 0.5
LONG_WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What to send and how.

    `rate` is in events per second (None: as fast as the receiver takes them); `limit` counts events over all
    rounds; `repeat` rounds are sent, each `shift_days` later than the one before; `strict` stops at the first
    refusal.
    """

    source: str
    format: str
    read: ReadOptions = field(default_factory=ReadOptions)
    rate: float | None = None
    limit: int | None = None
    repeat: int = 1
    shift_days: float = 7.0
    strict: bool = False

    def __post_init__(self) -> None:
        if self.rate is not None and not self.rate > 0:
            raise UsageError(f"The rate must be more than 0 events per second, not {self.rate:g}.")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"The limit must not be negative: {self.limit}.")
        if self.repeat < 1:
            raise UsageError(f"Records are sent at least once: repeat is {self.repeat}.")
        if self.repeat > 1 and (self.source == "-" or self.read.follow):
            raise UsageError("Only files can be repeated: not the standard input, and not a file that grows.")
        if self.repeat > 1 and reader_of(self.format).name in DECISIONS:
            raise UsageError("Decisions of firewalls belong to their events' time: they cannot be repeated.")


@dataclass(slots=True)
class FeedSummary:
    """What became of a run so far.

    `read` counts records that are or should have been events, so that read = sent + those the reader
    refused; `skipped` counts the others by kind. `refused` is by reason, of the reader and the receiver
    together; `refusals` shows the first 20 of the reader with their place.
    """

    read: int = 0
    sent: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1 where anything was refused, by the reader or the receiver."""
        return 1 if self.refused else 0

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for printing as JSON."""
        return {
            "read": self.read,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "duplicates": self.duplicates,
            "skipped": self.skipped,
            "refusals": self.refusals,
        }


def _no_progress(_: FeedSummary) -> None:
    return None


@dataclass(frozen=True, slots=True)
class FeedWatch:
    """What a run reports to and looks at.

    `progress` is called about twice a second and once at the end; `refused` is what the receiver refused so
    far, by reason (fill it from the sender's acknowledgements); `clock` is in seconds and never goes back.
    """

    progress: Callable[[FeedSummary], None] = _no_progress
    refused: Mapping[str, int] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic


def run_feed(options: FeedOptions, sender: Sender, watch: FeedWatch | None = None) -> FeedSummary:
    """Read, send and flush; return the summary. Blocks on the source, the rate and the receiver.

    Setting `options.read.stop` ends the reading early; what was sent is still flushed.

    Raises:
        UsageError: no such format or source.
        AppiaError: the receiver has not taken or acknowledged anything for too long.
    """
    return _Run(options, sender, watch or FeedWatch()).go()


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM; a second one acts as it would have without this.

    Only for the main thread.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: object) -> None:
        stop.set()
        restore()

    for number in signals:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()


class _Run:
    def __init__(self, options: FeedOptions, sender: Sender, watch: FeedWatch) -> None:
        self._options = options
        self._stop = options.read.stop
        self._reader = reader_of(options.format)
        self._sender = sender
        self._watch = watch
        self._rounds = Rounds(options.shift_days)
        self._summary = FeedSummary()
        self._refused: Counter[str] = Counter()
        self._started = watch.clock()
        self._reported = self._started

    def go(self) -> FeedSummary:
        for round_number, item in self._items():
            self._take(item, round_number)
            if self._is_over():
                break
        self._sender.flush()
        self._report()
        return self._summary

    def _items(self) -> Iterator[tuple[int, Item]]:
        for round_number in range(self._options.repeat):
            if self._is_over():
                return
            for item in self._reader.read(self._options.source, self._options.read):
                yield round_number, item

    def _is_over(self) -> bool:
        limit = self._options.limit
        full = limit is not None and self._summary.sent >= limit
        refused = self._options.strict and bool(self._refused or self._watch.refused)
        return full or refused or self._stop.is_set()

    def _take(self, item: Item, round_number: int) -> None:
        summary = self._summary
        if isinstance(item, Skipped):
            summary.skipped[item.kind] = summary.skipped.get(item.kind, 0) + 1
        elif isinstance(item, Refusal):
            summary.read += item.row
            self._refuse(item)
        elif isinstance(item, Idle):
            self._sender.flush()  # what waits in a batch must not wait for the next record
        else:
            summary.read += 1
            self._send(item, round_number)
        if self._watch.clock() - self._reported >= PROGRESS_SECONDS:
            self._report()

    def _send(self, record: NetworkSecurityEvent | Detection, round_number: int) -> None:
        name = _name(record)
        try:
            payload = self._payload(record, round_number)
            self._keep_pace()
            self._sender.send(payload)
        except FrameRefused as error:
            self._refuse(Refusal(name, 0, str(error.reason), error.detail))
        except ValueError as error:
            self._refuse(Refusal(name, 0, "time_out_of_range", str(error)))
        else:
            self._summary.sent += 1

    def _payload(self, record: NetworkSecurityEvent | Detection, round_number: int) -> bytes:
        """An event by itself; a decision as a batch of one, so that each is counted by its own."""
        if isinstance(record, NetworkSecurityEvent):
            self._rounds.apply(record, round_number)
            return record.SerializeToString(deterministic=True)
        return DetectionBatch(detections=[record]).SerializeToString(deterministic=True)

    def _keep_pace(self) -> None:
        if self._options.rate is None:
            return
        due = self._started + self._summary.sent / self._options.rate
        if due - self._watch.clock() >= LONG_WAIT_SECONDS:
            self._sender.flush()  # nothing lies in a batch while this waits
        wait = due - self._watch.clock()
        if wait > 0:
            self._stop.wait(wait)

    def _refuse(self, refusal: Refusal) -> None:
        self._refused[refusal.reason] += 1
        if len(self._summary.refusals) < REFUSALS_SHOWN:
            self._summary.refusals.append(str(refusal))

    def _report(self) -> None:
        summary, counts = self._summary, self._sender.counts
        self._reported = self._watch.clock()
        summary.acknowledged = counts.acknowledged
        summary.duplicates = counts.duplicates
        summary.refused = dict(self._refused + Counter(self._watch.refused))
        summary.seconds = self._reported - self._started
        self._watch.progress(summary)


def _name(record: NetworkSecurityEvent | Detection) -> str:
    if isinstance(record, NetworkSecurityEvent):
        return f"event {record.event_id}"
    return f"decision on {record.src_ip}"
