"""Whether the intake needs the machine for itself: work that can wait begins only while it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.ingester.indexer import Indexer
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver

BEHIND_ROWS = 8192
"""Rows that an index may have still to take: half a second of the fastest intake that was measured."""
BEHIND_SHARE = 0.25
"""Share of the queue to the indexer that may be filled."""


@dataclass(frozen=True)
class Pressure:
    """What shows that the intake is behind: its queue, its indices, a disk without room."""

    receiver: Receiver
    indexer: Indexer
    indexing: ByteQueue

    def is_behind(self) -> bool:
        """Look now; for any thread. An index that fails does not count: what it lacks may be what waits here."""
        faults = self.indexer.faults()
        lag = (rows for index, rows in self.indexer.lag().items() if index not in faults)
        return (
            self.receiver.gauge.is_paused
            or self.indexing.bytes > BEHIND_SHARE * self.indexing.budget
            or max(lag, default=0) > BEHIND_ROWS
        )
