"""The log format: records that can be checked one by one, and recovery after a crash. See docs/formats.md.

    file   := header record*
    header := "APPIALOG" | u32 version | u32 zero | u64 file_id | u32 crc32c of the 24 bytes before | u32 zero
    record := u32 length | u32 crc32c | u8 type | u64 lsn | payload[length]

All little endian. A record's crc32c covers file_id, lsn, length, type and payload, so that a record of another file or
at another place never passes.
"""

from __future__ import annotations

import os
import secrets
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c
import lz4.block
import numpy as np

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.durable import AppendFile, Disk

EVENT, BLOCK, REFUSED, CLOSED, FEEDBACK = 1, 2, 3, 4, 5
EVENTS_A_BLOCK = 32
MAX_BLOCK = EVENTS_A_BLOCK * ((1 << 20) + 4)
MAX_PAYLOAD = MAX_BLOCK + (1 << 20)
"""A block of the largest events that do not compress still fits."""

_REMEMBERED = 1 << 18
"""Bytes of a block that is kept by each reader of a sealed log, for the next event of the same block."""
_MAGIC = b"APPIALOG"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQII")
_RECORD = struct.Struct("<IIBQ")
_SEED = struct.Struct("<QQIB")
_BLOCK = struct.Struct("<II")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True)
class Record:
    """One record as read: where it begins, its kind, its number and its bytes."""

    offset: int
    type: int
    lsn: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + _RECORD.size + len(self.payload)


@dataclass(frozen=True)
class Damage:
    """Bytes `[start, end)` of a log that hold no valid record; `tail` when nothing valid follows."""

    start: int
    end: int
    tail: bool


def _checksum(file_id: int, kind: int, lsn: int, payload: bytes) -> int:
    seed = google_crc32c.value(_SEED.pack(file_id, lsn, len(payload), kind))
    return int(google_crc32c.extend(seed, payload))


class LogWriter:
    """Appends records to one new log file. Not safe for several threads."""

    def __init__(self, disk: Disk, path: Path) -> None:
        """Create the log file `path`; it must not exist."""
        if path.exists():
            raise AppiaError(f"{path} exists already: a log file is never written twice")
        self.path = path
        self._file_id = secrets.randbits(64)
        self._file: AppendFile = disk.append_to(path)
        head = _HEADER.pack(_MAGIC, _VERSION, 0, self._file_id, 0, 0)[:24]
        self._file.write(head + struct.pack("<II", google_crc32c.value(head), 0))

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._file.size

    def append(self, kind: int, first_lsn: int, payloads: Sequence[bytes]) -> NDArray[np.int64]:
        """Append one record a payload, numbered from `first_lsn`; gives the offset of each, int64. Not durable yet."""
        parts: list[bytes] = []
        offsets = np.empty(len(payloads), np.int64)
        at = self._file.size
        for i, payload in enumerate(payloads):
            lsn = first_lsn + i
            crc = _checksum(self._file_id, kind, lsn, payload)
            parts += (_RECORD.pack(len(payload), crc, kind, lsn), payload)
            offsets[i] = at
            at += _RECORD.size + len(payload)
        self._file.write(b"".join(parts))
        return offsets

    def append_block(self, first_lsn: int, payloads: Sequence[bytes], level: int) -> NDArray[np.int64]:
        """Append up to `EVENTS_A_BLOCK` events as one compressed record.

        Args:
            first_lsn: the number of the first event.
            payloads: the events.
            level: 0 for plain LZ4, 1..12 for LZ4-HC.

        Returns:
            The position of each event for `LogReader.event`, int64: `offset << 8 | place in the block`.
        """
        lengths = np.array([len(p) for p in payloads], "<u4").tobytes()
        raw = lengths + b"".join(payloads)
        mode = {"mode": "high_compression", "compression": level} if level else {}
        packed = lz4.block.compress(raw, store_size=False, **mode)
        record = self.append(BLOCK, first_lsn, [_BLOCK.pack(len(payloads), len(raw)) + packed])
        return np.int64(record[0] << 8) + np.arange(len(payloads), dtype=np.int64)

    def sync(self) -> None:
        """Block until everything appended is on disk."""
        self._file.sync()

    def abandon(self, size: int) -> None:
        """Close a file that could not be written, cut back to `size` bytes where the system lets that be done."""
        with suppress(OSError):
            self._file.truncate(size)
        self._file.close()

    def close(self) -> None:
        """Sync and close."""
        self._file.sync()
        self._file.close()


def unpack_block(payload: bytes) -> list[bytes]:
    """The events of a BLOCK record.

    Raises:
        ValueError: the block is malformed.
    """
    if len(payload) < _BLOCK.size:
        raise ValueError(f"a block of {len(payload)} bytes has no header")
    count, size = _BLOCK.unpack_from(payload)
    if size > MAX_BLOCK:
        raise ValueError(f"a block claims {size} bytes, at most {MAX_BLOCK} are allowed")
    try:
        raw = lz4.block.decompress(payload[_BLOCK.size :], uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise ValueError(str(error)) from error
    if len(raw) != size or size < 4 * count:
        raise ValueError(f"block of {count} events is {len(raw)} bytes instead of {size}")
    ends = np.cumsum(np.frombuffer(raw, "<u4", count), dtype=np.int64) + 4 * count
    if count and ends[-1] != size:
        raise ValueError(f"events of a block end at {ends[-1]} instead of {size}")
    starts = np.concatenate(([4 * count], ends[:-1]))
    return [raw[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


class LogReader:
    """Reads one log file by offset. Safe for several threads (reads by `pread`)."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            AppiaError: it is no log, or of a newer release.
        """
        self.path = path
        self._last_block: tuple[int, list[bytes]] = -1, []
        self._fd = os.open(path, os.O_RDONLY)
        try:
            self._file_id = self._read_header()
        except AppiaError:
            self.close()
            raise

    def _read_header(self) -> int:
        raw = os.pread(self._fd, _HEADER.size, 0)
        if len(raw) < _HEADER.size:
            raise AppiaError(
                f"{self.path} is too short to be a log ({len(raw)} bytes): it was cut before its header was written"
            )
        magic, version, _, file_id, crc, _ = _HEADER.unpack(raw)
        if magic != _MAGIC or crc != google_crc32c.value(raw[:24]):
            raise AppiaError(
                f"{self.path} does not begin with the header of a log: it is damaged or another file"
            )
        if version > _VERSION:
            raise AppiaError(
                f"{self.path} has log version {version}, this release reads up to {_VERSION}: install a newer appia"
            )
        return int(file_id)

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._fd).st_size

    def record(self, offset: int) -> Record | None:
        """The record that begins at `offset`; None when no valid one does."""
        head = os.pread(self._fd, _RECORD.size + 1400, offset)
        if len(head) < _RECORD.size:
            return None
        length, crc, kind, lsn = _RECORD.unpack_from(head)
        if length > MAX_PAYLOAD:
            return None
        payload = head[_RECORD.size : _RECORD.size + length]
        if len(payload) < length:
            payload += os.pread(self._fd, length - len(payload), offset + len(head))
        if len(payload) < length or _checksum(self._file_id, kind, lsn, payload) != crc:
            return None
        return Record(offset, kind, lsn, payload)

    def event(self, position: int) -> bytes:
        """One event of a sealed log by its position (`offset << 8 | place in the block`).

        Raises:
            AppiaError: there is no valid record, or it has no such event.
        """
        events = self._block_of_event(position >> 8)
        place = position & 0xFF
        if place >= len(events):
            raise AppiaError(
                f"{self.path}: the block at {position >> 8} has {len(events)} events and no number {place}"
            )
        return events[place]

    def _block_of_event(self, offset: int) -> list[bytes]:
        """`block`, but not once more for each of its events: the last one that is small is remembered."""
        known = self._last_block
        if known[0] != offset:
            events = self.block(offset)
            known = offset, events
            if sum(map(len, events)) <= _REMEMBERED:
                self._last_block = known  # one assignment: another thread has the old pair or the new one
        return known[1]

    def block(self, offset: int) -> list[bytes]:
        """The events of the block at `offset`.

        Raises:
            AppiaError: no valid block begins there.
        """
        record = self.record(offset)
        if record is None or record.type != BLOCK:
            raise AppiaError(f"{self.path} has no valid block at {offset}: it is damaged, run `appia verify`")
        return unpack_block(record.payload)

    def scan(self, start: int = _HEADER.size) -> Iterator[Record | Damage]:
        """All records from offset `start`, and the damage between them."""
        at, end, last_lsn = start, self.size, -1
        while at < end:
            record = self.record(at)
            if record is None:
                good = self._next_good(at + 1, end, last_lsn)
                yield Damage(at, end if good is None else good, tail=good is None)
                if good is None:
                    return
                at = good
                continue
            yield record
            last_lsn = record.lsn
            at = record.end

    def _next_good(self, start: int, end: int, last_lsn: int) -> int | None:
        """The next offset where a valid record with a higher number begins."""
        window = 1 << 20
        for base in range(start, end, window):
            raw = os.pread(self._fd, window + _RECORD.size, base)
            for i in range(min(window, len(raw) - _RECORD.size + 1)):
                length, _, kind, lsn = _RECORD.unpack_from(raw, i)
                plausible = length <= MAX_PAYLOAD and EVENT <= kind <= FEEDBACK and lsn > last_lsn
                if (
                    plausible
                    and base + i + _RECORD.size + length <= end
                    and self.record(base + i) is not None
                ):
                    return base + i
        return None

    def read_damaged(self, damage: Damage) -> bytes:
        """The bytes of a damaged stretch, to set them aside."""
        return os.pread(self._fd, damage.end - damage.start, damage.start)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
