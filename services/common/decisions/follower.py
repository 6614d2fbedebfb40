"""Reads the log of decisions, from the beginning or on from where it was read before.

The files are logs of records of type DECISIONS (docs/formats.md), of which the oldest are removed.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from services.common.days.log_format import DECISIONS
from services.common.days.log_tail import LogTail
from services.common.decisions.book import Book, Page
from services.common.decisions.record import Taken
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.days.log_format import Record
    from services.common.days.names import StateNames
    from services.common.rest.log_keys import LogKeys

    Group = tuple[int, Taken]
    """The number of the first decision, and the decisions."""

_AT_ONCE = 16
"""Groups that are read before they are added: few, so that the log is never in memory as a whole."""


class DecisionTail:
    """What is new in the log of decisions of a state directory. For one thread at a time.

    `first` is the number of the first decision that is still there, `next` that of the next one.
    """

    def __init__(self, state: StateNames, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._tail = LogTail(state.decisions, "decisions", keys)
        self._begins: dict[int, int] = {}  # of each file, the number of its first decision
        self.first = 0
        self.next = 0

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be read, one sentence each; everything else is read nevertheless."""
        return self._tail.faults

    def read(self) -> Iterator[Group]:
        """Groups of decisions that came since, in their order. Blocks for the reading.

        Raises:
            OSError: the folder cannot be listed.
        """
        for number, record in self._tail.read():
            if record.type == DECISIONS:  # others are of a newer release
                yield from self._taken(number, record)
        gone = self._begins.keys() - set(self._tail.numbers)
        for number in gone:
            del self._begins[number]
        if gone or not self.first:
            self.first = min(self._begins.values(), default=self.next)

    def _taken(self, number: int, record: Record) -> Iterator[Group]:
        self._begins.setdefault(number, record.lsn)
        try:
            taken = Taken.of_bytes(record.payload)
        except AppiaError as error:
            self._tail.lose(number, record, str(error))
            return
        self.next = max(self.next, record.lsn + len(taken.decisions))
        yield record.lsn, taken


class DecisionFollower:
    """Keeps a book of all decisions of a state directory. `poll` is for one thread at a time; pages are for any."""

    def __init__(self, state: StateNames, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._tail = DecisionTail(state, keys)
        self._book = Book()
        self.page = Page()
        self.faults: tuple[str, ...] = ()

    def poll(self) -> bool:
        """Read what is new; True when something is. Blocks for the reading, about 5 microseconds a decision.

        Raises:
            OSError: the folder cannot be listed.
        """
        before = self.page.first, self.page.end, self.faults
        new = self._tail.read()
        while groups := list(islice(new, _AT_ONCE)):
            self._book.add(groups)
        self._book.forget(self._tail.first)
        self.faults = self._tail.faults
        if before == (self._book.first, self._book.end, self.faults):
            return False
        self.page = self._book.page()
        return True
