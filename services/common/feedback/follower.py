"""Reads the log of feedback, from the beginning or on from where it was read before.

The files are logs of records of type FEEDBACK (docs/formats.md), each a serialized `HumanFeedback`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.log_format import FEEDBACK
from services.common.days.log_tail import LogTail
from services.common.errors import AppiaError
from services.common.feedback.book import Book, Page
from services.common.feedback.remark import Remark
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from services.common.days.log_format import Record
    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys


class FeedbackFollower:
    """Keeps a book of all remarks of a state directory. `poll` is for one thread at a time; pages are for any."""

    def __init__(self, state: StateNames, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._tail = LogTail(state.feedback_files, "remarks", keys)
        self.book = Book()
        self.page = self.book.page()
        self.faults: tuple[str, ...] = ()
        """What could not be read, one sentence each; everything else is read nevertheless."""
        self.next_lsn = 0

    def poll(self) -> bool:
        """Read what is new; True when a remark or a fault is. Blocks for the reading only.

        Raises:
            OSError: the folder cannot be listed.
        """
        known = len(self.book), self.faults
        for number, record in self._tail.read():
            self.next_lsn = max(self.next_lsn, record.lsn + 1)
            if record.type == FEEDBACK:  # others are of a newer release
                self._take(number, record)
        self.faults = self._tail.faults
        if known == (len(self.book), self.faults):
            return False
        self.page = self.book.page()
        return True

    def _take(self, number: int, record: Record) -> None:
        try:
            self.book.add(Remark.of_bytes(record.payload))
        except AppiaError as error:
            self._tail.lose(number, record, str(error))


def read_feedback(state: StateNames, keys: LogKeys = NO_KEYS) -> Page:
    """All remarks there are now. Blocks for the reading, about 10 microseconds a remark.

    Raises:
        AppiaError: something cannot be read; what it is to be used for must not go on without it.
    """
    follower = FeedbackFollower(state, keys)
    follower.poll()
    if follower.faults:
        raise AppiaError(
            f"The feedback in {state.feedback} cannot be read whole: {'; '.join(follower.faults)}."
        )
    return follower.page
