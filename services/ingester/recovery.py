"""What a start does with the days it finds: retires what was sealed, reads every open log, cuts bad tails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.generations import retire
from services.common.days.identity import identities, sort_identities
from services.common.days.log import EVENT, Damage, LogReader
from services.common.days.open_writer import FILE_SHIFT, SegmentLog, SegmentLogReader
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.common.days.names import DayNames, OpenNames, StateNames
    from services.common.durable import Disk
    from services.ingester.dead_letter import DeadLetter

_BATCH = 1024
_LOG_HEADER = 32


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
        segments = [self._read(day.day, day.segment(number)) for number in day.segments()]
        whole = [segment for segment, damaged in segments if not damaged]
        salvaged = [
            self._salvage(day, segment, state_number=max(day.segments()))
            for segment, damaged in segments
            if damaged
        ]
        return [*whole, *salvaged]

    def _read(self, day: str, names: OpenNames) -> tuple[OpenSegment, bool]:
        """Read a segment's log files; True where a middle is damaged."""
        positions: list[int] = []
        found: list[NDArray[np.void]] = [identities([])]
        damaged = False
        newest = 0
        for number in names.logs():
            path = names.log(number)
            newest = max(newest, path.stat().st_mtime_ns)
            if path.stat().st_size < _LOG_HEADER:
                self.disk.remove(path)  # a crash came before its header was whole: it never held an event
                continue
            reader = LogReader(path)
            batch: list[bytes] = []
            for record in reader.scan():
                if isinstance(record, Damage):
                    self.dead_letter.keep(
                        "damaged_log",
                        f"bytes {record.start} to {record.end}",
                        str(path.name),
                        reader.read_damaged(record),
                    )
                    self.report(
                        f"{path}: bytes {record.start} to {record.end} hold no valid record and were set aside"
                    )
                    if record.tail:
                        self._cut(names, number, record.start)
                    else:
                        damaged = True
                elif record.type == EVENT:
                    positions.append(record.offset | (number << FILE_SHIFT))
                    batch.append(record.payload)
                if len(batch) >= _BATCH:
                    found.append(identities(batch))
                    batch = []
            found.append(identities(batch))
            reader.close()
        everything = sort_identities(np.concatenate(found))
        return OpenSegment(day, names, np.array(positions, np.int64), everything, newest), damaged

    def _cut(self, names: OpenNames, number: int, size: int) -> None:
        self.dead_letter.sync()
        file = self.disk.append_to(names.log(number))
        file.truncate(size)
        file.sync()
        file.close()

    def _salvage(self, day: DayNames, damaged: OpenSegment, state_number: int) -> OpenSegment:
        """Copy what is readable of a damaged segment to a new one, whose rows have no holes, and drop the old one."""
        self.dead_letter.sync()
        names = day.segment(state_number + damaged.names.number)
        reader = SegmentLogReader(damaged.names)
        log = SegmentLog(self.disk, names, 0)
        payloads = (reader.event(position) for position in damaged.positions.tolist())
        positions = [log.append([payload]) for payload in payloads if payload is not None]
        log.close()
        reader.close()
        self.disk.remove(damaged.names.folder)
        return OpenSegment(
            damaged.day, names, np.concatenate(positions), damaged.identities, damaged.last_write_ns
        )
