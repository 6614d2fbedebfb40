"""What a start does with the days it finds: retires what was sealed, reads every open log, cuts bad tails."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.counts import read_counts
from services.common.days.generations import retire
from services.common.days.identity import IdentitySet, identities, sort_identities
from services.common.days.log import LogReader
from services.common.days.log_format import EVENT, Damage, Record, was_begun
from services.common.days.names import EVENT_INDICES
from services.common.days.open_writer import FILE_SHIFT, SegmentLog, SegmentLogReader
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import DayNames, OpenNames, StateNames
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys
    from services.ingester.dead_letter import DeadLetter

_BATCH = 1024
_PIECE = 1 << 20  # bytes of a damaged stretch in one record of the dead letter


@dataclass(frozen=True)
class OpenSegment:
    """An open segment as its log has it."""

    day: str
    names: OpenNames
    positions: NDArray[np.int64]  # of each row
    identities: NDArray[np.void]  # sorted
    last_write_ns: int

    @property
    def rows(self) -> int:
        """Events in the log."""
        return len(self.positions)


@dataclass(frozen=True)
class Recovery:
    """Recovers days. Blocks: about 4 microseconds an event of the open logs."""

    disk: Disk
    dead_letter: DeadLetter
    report: Callable[[str], None]  # takes one sentence for the log of the service
    keys: LogKeys = NO_KEYS

    def recover(self, state: StateNames) -> list[OpenSegment]:
        """The open segments of all days. A day that cannot be read is reported and left alone; the rest goes on."""
        found: list[OpenSegment] = []
        for day in state.days():
            try:
                found += self._recover_day(state.day(day))
            except AppiaError as error:
                self.report(f"day {day} is left alone: {error}")
        return found

    def _recover_day(self, day: DayNames) -> list[OpenSegment]:
        self.disk.remove(day.staging)
        retire(day, self.disk)
        read = [self._read(day.day, day.segment(number)) for number in day.segments()]
        kept = [segment for segment, damaged in read if not damaged]
        for segment, damaged in read:
            if damaged:
                kept.append(self._salvage(day, segment, kept))
        for segment in kept:
            if not segment.rows:
                self.disk.remove(segment.names.folder)
        return [segment for segment in kept if segment.rows]

    def _read(self, day: str, names: OpenNames) -> tuple[OpenSegment, bool]:
        """Read a segment's log files; True where a middle is damaged, or more rows were indexed than there are.

        They are synced first: what a killed process left unsynced is read like all else, is a duplicate when it comes
        again, and is acknowledged then.
        """
        self.disk.sync_folder(names.folder.parent)
        self.disk.sync_folder(names.folder)
        positions, found = [np.empty(0, np.int64)], [identities([])]
        damaged = False
        newest = 0
        for number in names.logs():
            path = names.log(number)
            newest = max(newest, path.stat().st_mtime_ns)
            if not was_begun(path):
                self.disk.remove(path)
                continue
            self.disk.sync_file(path)
            batch: list[Record] = []
            for record in self._records(names, number):
                if isinstance(record, Damage):
                    damaged = damaged or not record.tail
                elif record.type == EVENT:
                    batch.append(record)
                if len(batch) >= _BATCH:
                    _take(batch, number, positions, found)
            _take(batch, number, positions, found)
        segment = OpenSegment(
            day, names, np.concatenate(positions), sort_identities(np.concatenate(found)), newest
        )
        return segment, damaged or not self._counters_fit(names, segment.rows)

    def _records(self, names: OpenNames, number: int) -> Iterator[Record | Damage]:
        """What is in a log file. Damaged bytes are set aside, and cut off where nothing follows them."""
        path = names.log(number)
        with closing(LogReader(path, self.keys)) as reader:
            for found in reader.scan():
                if isinstance(found, Damage):
                    self._set_aside(path, reader, found)
                    if found.tail:
                        self._cut(names, number, found.start)
                yield found

    def _set_aside(self, path: Path, reader: LogReader, damage: Damage) -> None:
        for start in range(damage.start, damage.end, _PIECE):
            piece = Damage(start, min(start + _PIECE, damage.end), damage.tail)
            detail = f"bytes {piece.start} to {piece.end}"
            self.dead_letter.keep("damaged_log", detail, str(path), reader.read_damaged(piece))
        self.report(f"{path}: bytes {damage.start} to {damage.end} hold no valid record and were set aside")

    def _counters_fit(self, names: OpenNames, rows: int) -> bool:
        """Whether no index says that it has rows which the log has not, so that row i is one event everywhere."""
        for name in ("metadata", *EVENT_INDICES):
            try:
                committed, _ = read_counts(names.counts(name))
            except AppiaError as error:
                self.report(f"{error}; it is written again")
                return False
            if committed > rows:
                self.report(
                    f"{names.folder}: {name} has {committed} rows and the log {rows}: they are written again"
                )
                return False
        return True

    def _cut(self, names: OpenNames, number: int, size: int) -> None:
        self.dead_letter.sync()
        with self.disk.append_to(names.log(number)) as file:
            file.truncate(size)
            file.sync()

    def _salvage(self, day: DayNames, damaged: OpenSegment, others: Sequence[OpenSegment]) -> OpenSegment:
        """Copy what is readable of a damaged segment to a new one, whose rows have no holes, and drop the old one.

        What `others` have is left out: a crash may have come between a copy and the end of the old segment.
        """
        self.dead_letter.sync()
        names = day.segment(max(day.segments()) + 1)
        known = IdentitySet([segment.identities for segment in others])
        reader = SegmentLogReader(damaged.names, self.keys)
        log = SegmentLog(self.disk, names, 0, self.keys)
        positions, found = [np.empty(0, np.int64)], [identities([])]
        for start in range(0, damaged.rows, _BATCH):
            part = damaged.positions[start : start + _BATCH].tolist()
            payloads = [payload for payload in map(reader.event, part) if payload is not None]
            new = known.add_new(payloads).tolist()
            payloads = [payload for payload, is_new in zip(payloads, new, strict=True) if is_new]
            positions.append(log.append(payloads))
            found.append(identities(payloads))
        log.close()
        reader.close()
        self.disk.remove(damaged.names.folder)
        everything = sort_identities(np.concatenate(found))
        return OpenSegment(damaged.day, names, np.concatenate(positions), everything, damaged.last_write_ns)


def _take(
    batch: list[Record], number: int, positions: list[NDArray[np.int64]], found: list[NDArray[np.void]]
) -> None:
    """Empty `batch`, of log file `number`, into the lists: as arrays they take a tenth of the memory."""
    offsets = np.array([record.offset for record in batch], np.int64)
    positions.append(offsets | (number << FILE_SHIFT))
    found.append(identities([record.payload for record in batch]))
    batch.clear()
