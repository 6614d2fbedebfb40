"""Reads the log of feedback, from the beginning or on from where it was read before.

The files are logs of records of type FEEDBACK (docs/formats.md), each a serialized `HumanFeedback`. One process writes;
a file is finished when a later one is there.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from services.common.days.log import LogReader
from services.common.days.log_format import FEEDBACK, Damage, was_begun
from services.common.errors import AppiaError
from services.common.feedback.book import Book, Page
from services.common.feedback.remark import Remark
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from services.common.days.log_format import Record
    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys


class FeedbackFollower:
    """Keeps a book of all remarks of a state directory. `poll` is for one thread at a time; pages are for any.

    `faults` says in one sentence each what could not be read; everything else is read nevertheless.
    """

    def __init__(self, state: StateNames, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._state = state
        self._keys = keys
        self._read_to: dict[int, int] = {}  # of each file, where the next record begins
        self._sizes: dict[int, int] = {}  # of each file when it was last read, bytes
        self._finished: set[int] = set()
        self.book = Book()
        self.page = self.book.page()
        self.faults: tuple[str, ...] = ()
        self.next_lsn = 0

    def poll(self) -> bool:
        """Read what is new; True when a remark or a fault is. Blocks for the reading only.

        Raises:
            OSError: the folder cannot be listed.
        """
        known = len(self.book), self.faults
        numbers = self._state.feedback_logs()
        for number in numbers:
            if number not in self._finished:
                self._read(number)
                if number != numbers[-1]:
                    self._finished.add(number)
        if known == (len(self.book), self.faults):
            return False
        self.page = self.book.page()
        return True

    def _read(self, number: int) -> None:
        path = self._state.feedback_log(number)
        try:
            size = path.stat().st_size
            if size == self._sizes.get(number) or not was_begun(path):
                return
            self._sizes[number] = size
            with closing(LogReader(path, self._keys)) as log:
                for found in log.scan(self._read_to.get(number)):
                    if isinstance(found, Damage) and found.tail:
                        return  # it is being written, or was cut off there; looked at again when the file grows
                    self._read_to[number] = found.end
                    self._take(path.name, found)
        except (AppiaError, OSError) as error:
            self._fault(f"{error}")

    def _take(self, name: str, found: Record | Damage) -> None:
        if isinstance(found, Damage):
            size = found.end - found.start
            self._fault(f"{name} holds {size} damaged bytes at {found.start}: the remarks in them are lost")
            return
        self.next_lsn = max(self.next_lsn, found.lsn + 1)
        if found.type != FEEDBACK:
            return  # of a newer release
        try:
            self.book.add(Remark.of_bytes(found.payload))
        except AppiaError as error:
            self._fault(f"{name} at {found.offset}: {error}")

    def _fault(self, sentence: str) -> None:
        if sentence not in self.faults:
            self.faults = (*self.faults, sentence)


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
