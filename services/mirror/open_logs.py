"""Copies the log files of an open segment, each up to the record of the last committed row in it.

What lies beyond may still be cut off by who writes, and something else be written in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.common.days.log_format import MAX_PAYLOAD, RECORD
from services.common.days.open_writer import FILE_SHIFT, SegmentLogReader
from services.common.durable import close_all
from services.mirror.appended import Appended
from services.mirror.source import BadSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.names import OpenNames
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys
    from services.mirror.source import Source

_GUESS = 4096  # bytes of a record that are asked for before its length is known
_LAST_FILE = 999_999
_OFFSET = (1 << FILE_SHIFT) - 1


class Logs:
    """The log files. For one thread; what is pulled is on disk after `sync`."""

    def __init__(
        self, disk: Disk, places: tuple[OpenNames, OpenNames], committed: NDArray[np.int64], keys: LogKeys
    ) -> None:
        """Open no file yet; `committed` are the positions of the rows that are here, int64, ascending."""
        self._disk = disk
        self._local, self._remote = places
        self._committed = committed
        self._reader = SegmentLogReader(self._local, keys)
        self._files: dict[int, Appended] = {}
        self._touched: set[int] = set()

    def pull(self, source: Source, positions: NDArray[np.int64]) -> None:
        """Pull up to the records of these rows.

        Raises:
            BadSource: a row lies in no log file, or its record is none.
            AppiaError: as `Appended.fetch`.
        """
        numbers = positions >> FILE_SHIFT
        for number in np.unique(numbers).tolist():
            if not 0 < number <= _LAST_FILE:
                raise BadSource(f"A row of {self._remote.folder} of the source lies in no log.")
            last = int(positions[numbers == number].max()) & _OFFSET
            file = self._file(number)
            if last >= file.size:
                self._touched.add(number)
                self._pull_to(source, file, last)

    def _pull_to(self, source: Source, file: Appended, last: int) -> None:
        """One file up to the end of the record that begins at the offset `last`."""
        data = file.fetch(source, last + _GUESS)
        at = last - file.size
        head = data[at : at + RECORD.size]
        length = RECORD.unpack(head)[0] if len(head) == RECORD.size else MAX_PAYLOAD + 1
        if length > MAX_PAYLOAD:
            raise BadSource(f"A log of {self._remote.folder} of the source has no record at {last}.")
        end = last + RECORD.size + length
        file.write(data[: end - file.size])
        file.write(file.fetch_exactly(source, end))

    def event(self, position: int) -> bytes:
        """The event of a row that is here.

        Raises:
            BadSource: its record is damaged.
            AppiaError: it is encrypted, and its key not at hand.
        """
        payload = self._reader.event(position)
        if payload is None:
            place = position & _OFFSET
            raise BadSource(f"A log of {self._remote.folder} of the source is damaged at {place}.")
        return payload

    def _file(self, number: int) -> Appended:
        """A file, cut back to what committed rows need: what a crash left behind them may be anything."""
        if number not in self._files:
            local = self._local.log(number)
            keep = self._kept(number) if local.exists() else 0
            self._files[number] = Appended(self._disk, local, self._remote.log(number), keep)
        return self._files[number]

    def _kept(self, number: int) -> int:
        mine = self._committed[self._committed >> FILE_SHIFT == number]
        if not len(mine):
            return 0
        last = int(mine.max()) & _OFFSET
        with self._local.log(number).open("rb") as file:
            file.seek(last)
            head = file.read(RECORD.size)
        return last + RECORD.size + int(RECORD.unpack(head)[0]) if len(head) == RECORD.size else 0

    def sync(self) -> None:
        """Block until what was pulled is on disk."""
        for number in self._touched:
            self._files[number].sync()
        self._touched.clear()

    def close(self) -> None:
        """Close the files."""
        close_all([*self._files.values(), self._reader])
