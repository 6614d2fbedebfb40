"""What an origin shows of itself: what it sent, and to whom."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from services.common.observing.metrics import Kind, Metric, Source, largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.observing.metrics import Sample

SENT = Metric("appia_origin_sent_bytes_total", Kind.COUNTER, "Bytes of files that were sent.", ("key",))
HELD_BACK = Metric(
    "appia_origin_held_back_total", Kind.COUNTER, "Reads that were told to wait because of `bytes_per_s`."
)
ORIGIN_METRICS = (SENT, HELD_BACK)


class Sent:
    """Counts what is sent. Safe for several threads."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()
        self._held_back = 0

    def add(self, key: str, size: int) -> None:
        """So many bytes were sent to a key."""
        with self._lock:
            self._bytes[key] += size

    def held_back(self) -> None:
        """A read was told to wait."""
        with self._lock:
            self._held_back += 1

    def source(self) -> Source:
        """The counts as metrics."""
        return Source(ORIGIN_METRICS, self._read)

    def _read(self) -> Iterator[Sample]:
        with self._lock:
            sent, held_back = dict(self._bytes), self._held_back
        for key, size in largest(sent).items():
            yield SENT.of(size, key)
        yield HELD_BACK.of(held_back)
