"""Reads the log of decisions, from the beginning or on from where it was read before.

The files are logs of records of type DECISIONS (docs/formats.md). One process writes; a file is finished when a later
one is there, and the oldest ones are removed.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from services.common.days.log import LogReader
from services.common.days.log_format import DECISIONS, Damage, was_begun
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

MAX_FAULTS = 100
_AT_ONCE = 16
"""Groups that are read before they are added: few, so that the log is never in memory as a whole."""


class DecisionTail:
    """What is new in the log of decisions of a state directory. For one thread at a time.

    `faults` says in one sentence each what could not be read; everything else is read nevertheless. `first` is the
    number of the first decision that is still there, `next` that of the next one.
    """

    def __init__(self, state: StateNames, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet."""
        self._files = state.decisions
        self._keys = keys
        self._read_to: dict[int, int] = {}  # of each file, where the next record begins
        self._sizes: dict[int, int] = {}  # of each file when it was last read, bytes
        self._begins: dict[int, int] = {}  # of each file, the number of its first decision
        self._finished: set[int] = set()
        self.faults: tuple[str, ...] = ()
        self.first = 0
        self.next = 0

    def read(self) -> Iterator[Group]:
        """Groups of decisions that came since, in their order. Blocks for the reading.

        Raises:
            OSError: the folder cannot be listed.
        """
        numbers = self._files.numbers()
        for number in numbers:
            if number not in self._finished:
                yield from self._groups(number)
                if number != numbers[-1]:
                    self._finished.add(number)
        self._let_go(set(numbers))

    def _let_go(self, numbers: set[int]) -> None:
        """Forget the files that were removed."""
        gone = self._begins.keys() - numbers
        for number in gone:
            del self._begins[number]
        if gone or not self.first:
            self.first = min(self._begins.values(), default=self.next)

    def _groups(self, number: int) -> Iterator[Group]:
        path = self._files.path(number)
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
                    yield from self._taken(number, found)
        except FileNotFoundError:
            return  # removed as one of the oldest since it was listed
        except (AppiaError, OSError) as error:
            self._fault(f"{error}")

    def _taken(self, number: int, found: Record | Damage) -> Iterator[Group]:
        name = self._files.path(number).name
        if isinstance(found, Damage):
            size = found.end - found.start
            self._fault(f"{name} holds {size} damaged bytes at {found.start}: the decisions in them are lost")
            return
        if found.type != DECISIONS:
            return  # of a newer release
        self._begins.setdefault(number, found.lsn)
        try:
            taken = Taken.of_bytes(found.payload)
        except AppiaError as error:
            self._fault(f"{name} at {found.offset}: {error}")
            return
        self.next = max(self.next, found.lsn + len(taken.decisions))
        yield found.lsn, taken

    def _fault(self, sentence: str) -> None:
        if sentence not in self.faults and len(self.faults) < MAX_FAULTS:
            self.faults = (*self.faults, sentence)


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
