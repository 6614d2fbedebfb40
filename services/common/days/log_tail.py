"""Reads numbered log files from the beginning, and then on from where they were read before.

One process writes; a file is finished when a later one is there, and the oldest may be removed.
"""

from __future__ import annotations

import errno
from contextlib import closing
from typing import TYPE_CHECKING

from services.common.days.log import LogReader
from services.common.days.log_format import Damage, was_begun
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.days.log_files import LogFiles
    from services.common.days.log_format import Record
    from services.common.rest.log_keys import LogKeys

MAX_FAULTS = 100
_FOR_A_MOMENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What is said where handles or memory are short: that passes, and another look finds what this one could not."""


class LogTail:
    """What is new in some log files. For one thread at a time."""

    def __init__(self, files: LogFiles, things: str, keys: LogKeys = NO_KEYS) -> None:
        """Read nothing yet; `things` are what its records hold, in the sentences about what is lost."""
        self._files = files
        self._things = things
        self._keys = keys
        self._read_to: dict[int, int] = {}  # of each file, where the next record begins
        self._sizes: dict[int, int] = {}  # of each file when it was last read, bytes
        self._finished: set[int] = set()
        self._faults: tuple[str, ...] = ()
        self._unread: dict[int, str] = {}  # of each file why it could not be read just now
        self.numbers: tuple[int, ...] = ()
        """Of the files that there were at the last `read`, ascending."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be read, one sentence each; everything else is read nevertheless."""
        return (*self._faults, *self._unread.values())[:MAX_FAULTS]

    def read(self) -> Iterator[tuple[int, Record]]:
        """Records that came since, in their order, each with the number of its file. Blocks for the reading.

        Behind a file for which this process has no handle left just now nothing is read: records keep their order.

        Raises:
            OSError: the folder cannot be listed.
        """
        self.numbers = tuple(self._files.numbers())
        self._forget_all_but(set(self.numbers))
        for number in self.numbers:
            if number not in self._finished:
                yield from self._records(number)
                if number in self._unread:
                    return
                if number != self.numbers[-1]:
                    self._finished.add(number)

    def lose(self, number: int, record: Record, why: str) -> None:
        """Note that a record does not hold what it should."""
        self._fault(f"{self._files.path(number).name} at {record.offset}: {why}")

    def _records(self, number: int) -> Iterator[tuple[int, Record]]:
        path = self._files.path(number)
        try:
            size = path.stat().st_size
            if size == self._sizes.get(number) or not was_begun(path):
                return
            with closing(LogReader(path, self._keys)) as log:
                for found in log.scan(self._read_to.get(number)):
                    if isinstance(found, Damage) and found.tail:
                        break  # it is being written, or was cut off there; looked at again when the file grows
                    self._read_to[number] = found.end
                    if isinstance(found, Damage):
                        self._fault(
                            f"{path.name} holds {found.end - found.start} damaged bytes at {found.start}: "
                            f"the {self._things} in them are lost"
                        )
                    else:
                        yield number, found
        except FileNotFoundError:
            return  # removed as one of the oldest since it was listed
        except (AppiaError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _FOR_A_MOMENT:
                self._unread[number] = f"{path.name} cannot be read just now ({error.strerror})"
                return
            self._fault(str(error))
        self._sizes[number] = size
        self._unread.pop(number, None)

    def _forget_all_but(self, numbers: set[int]) -> None:
        for number in (self._read_to.keys() | self._sizes.keys() | self._unread.keys()) - numbers:
            self._read_to.pop(number, None)
            self._sizes.pop(number, None)
            self._unread.pop(number, None)
        self._finished &= numbers

    def _fault(self, sentence: str) -> None:
        if sentence not in self._faults and len(self._faults) < MAX_FAULTS:
            self._faults = (*self._faults, sentence)
