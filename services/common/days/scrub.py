"""Checks all of a day: every byte of its sealed files, its database, every record of its open logs.

Reading may be held to a rate, so that a check of everything goes on beside the work that the disk is for; what was read
is dropped from the page cache, where it would push out what questions need.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.common.days.chunk import METADATA
from services.common.days.consistency import CORRUPT, REPAIR, check_day, look_at_day
from services.common.days.log import LogReader
from services.common.days.log_format import EVENT, Damage
from services.common.days.metadata import check_database
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.consistency import DayState, Models, OpenPart
    from services.common.days.log_format import Record
    from services.common.days.names import DayNames, OpenNames
    from services.common.rest.log_keys import LogKeys

_PIECE = 1 << 20
_LOOKS = 3


def _silent(_bytes: int) -> None:
    """Tell nobody."""


class Pace:
    """Gives digests of files, not faster than a rate."""

    def __init__(
        self,
        bytes_per_s: float = 0.0,
        progress: Callable[[int], None] = _silent,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing yet.

        Args:
            bytes_per_s: the rate; 0 for as fast as it goes.
            progress: told the bytes read in all, after each piece of a mebibyte.
            sleep: blocks for some seconds.
            clock: gives seconds that never go back.
        """
        self._bytes_per_s, self._progress = bytes_per_s, progress
        self._sleep, self._clock = sleep, clock
        self._read = 0
        self._began = clock()

    def digest(self, path: Path) -> str:
        """SHA-256 (hex) of a file. Blocks as long as the rate makes it; raises `OSError`."""
        found = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                found.update(piece)
                self._count(len(piece))
            if self._bytes_per_s:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return found.hexdigest()

    def _count(self, read: int) -> None:
        self._read += read
        self._progress(self._read)
        if self._bytes_per_s:
            ahead_s = self._read / self._bytes_per_s - (self._clock() - self._began)
            if ahead_s > 0:
                self._sleep(ahead_s)


@dataclass(frozen=True)
class Scrubber:
    """Checks days whole. Changes nothing; records of encrypted logs are checked by their seal where there are keys."""

    models: Models
    pace: Pace
    keys: LogKeys = NO_KEYS

    def check_day(self, names: DayNames) -> DayState:
        """The state of a day after every byte was read. Blocks; a day that changed meanwhile is checked again."""
        found = self._check(names)
        for _ in range(_LOOKS - 1):
            if found.is_consistent or _served(found) == _served(check_day(names, self.models)):
                break
            found = self._check(names)
        return found

    def _check(self, names: DayNames) -> DayState:
        found = look_at_day(names, self.models, self.pace.digest)
        chunk = found.chunk
        if chunk is not None and not chunk.why:
            path = names.generation(found.generation).chunk / METADATA
            faults = "; ".join(f"{path}: {fault}" for fault in check_database(path))
            chunk = chunk.spoilt(CORRUPT, faults, REPAIR) if faults else chunk
        opened = tuple(self._check_open(names, one) for one in found.open)
        return replace(found, chunk=chunk, open=opened, full=True)

    def _check_open(self, names: DayNames, part: OpenPart) -> OpenPart:
        try:
            events, _, faults = check_segment(names.segment(part.segment), self.keys)
        except (AppiaError, OSError) as error:
            return replace(part, faults=(*part.faults, str(error)))
        return replace(part, rows=max(part.rows, events), faults=(*part.faults, *faults))


def check_segment(names: OpenNames, keys: LogKeys = NO_KEYS) -> tuple[int, int, list[str]]:
    """Events and log files of an open segment, and a sentence for each stretch without a valid record. Blocks.

    Raises:
        AppiaError: a log cannot be opened.
    """
    events, faults = 0, []
    logs = names.logs()
    for number in logs:
        with closing(LogReader(names.log(number), keys)) as reader:
            for record in _scan(reader, keys):
                if not isinstance(record, Damage):
                    events += record.type == EVENT
                elif not (record.tail and number == logs[-1]):
                    faults.append(
                        f"{names.log(number)}: bytes {record.start} to {record.end} hold no valid record"
                    )
    return events, len(logs), faults


def _scan(reader: LogReader, keys: LogKeys) -> Iterator[Record | Damage]:
    """Every record; with its seal where there are keys, and else by its checksum, which needs none."""
    return reader.scan_stored() if reader.encrypted and keys is NO_KEYS else reader.scan()


def _served(state: DayState) -> tuple[object, ...]:
    """What of a day is served: while that is the same, what was found is of it."""
    return state.generation, *((part.name, part.version) for part in state.indices)
