"""Writes and reads logs (`log_format.py`), finds what a crash or a disk damaged in them, and opens encrypted ones."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.log_blocks import pack_block, unpack_block
from services.common.days.log_format import (
    BLOCK,
    DECISIONS,
    ENCRYPTED,
    EVENT,
    HEADER_BYTES,
    MAX_PAYLOAD,
    PLAIN,
    RECORD,
    Damage,
    Record,
    checksum,
    pack_header,
    unpack_header,
)
from services.common.durable import is_full
from services.common.errors import AppiaError
from services.common.hkdf import KEY_BYTES
from services.common.rest.log_keys import (
    BLOCK_BYTES,
    KeyBlockDamaged,
    RecordCipher,
    key_id_of,
)
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.durable import AppendFile, Disk
    from services.common.rest.log_keys import LogKeys

_REMEMBERED = 1 << 18
"""Bytes of a block that is kept by each reader of a sealed log, for the next event of the same block."""
_SEEN = 9
_MAY_BEGIN = re.compile(
    b"(?s)(?=.{3}[\\x00-\\x%02x].{4}[\\x%02x-\\x%02x])" % (MAX_PAYLOAD >> 24, EVENT, DECISIONS)
)
"""Where a record may begin, by the `_SEEN` bytes up to its type: the first look at each byte of a damaged stretch."""


class LogWriter:
    """Appends records to one new log file. Not safe for several threads."""

    def __init__(self, disk: Disk, path: Path, keys: LogKeys = NO_KEYS) -> None:
        """Create the log file `path`, which must not exist; encrypted where `keys` have a key for new files."""
        if path.exists():
            raise AppiaError(f"{path} exists already: a log file is never written twice")
        self.path = path
        self.file_id = secrets.randbits(64)
        self._cipher: RecordCipher | None = None
        wrapping = keys.for_new_files()
        header = pack_header(PLAIN if wrapping is None else ENCRYPTED, self.file_id)
        block = b""
        if wrapping is not None:
            file_key = secrets.token_bytes(KEY_BYTES)
            block = wrapping.wrap(header, file_key)
            self._cipher = RecordCipher(file_key, self.file_id)
        self._synced = 0  # bytes that are on disk
        self._has_failed = False
        self._file: AppendFile = disk.append_to(path)
        try:
            self._file.write(header + block)
            self.sync()  # so that a file with a record has a start that can be read, see `was_begun`
        except OSError:
            self._file.close()
            disk.remove(path)  # nothing was said of it yet: where the disk is full, the next try begins anew
            raise

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._file.size

    def append(self, kind: int, first_lsn: int, payloads: Sequence[bytes]) -> NDArray[np.int64]:
        """Append one record a payload, numbered from `first_lsn`; gives the offset of each, int64. Not durable yet.

        Raises:
            OSError: they could not be written. Where the disk is full (`is_full`), nothing of them is in the file.
        """
        parts: list[bytes] = []
        offsets = np.empty(len(payloads), np.int64)
        at = self._file.size
        for i, payload in enumerate(payloads):
            lsn = first_lsn + i
            stored = payload if self._cipher is None else self._cipher.seal(kind, lsn, at, payload)
            crc = checksum(self.file_id, kind, lsn, stored)
            parts += (RECORD.pack(len(stored), crc, kind, lsn), stored)
            offsets[i] = at
            at += RECORD.size + len(stored)
        start = self._file.size
        try:
            self._file.write(b"".join(parts))
        except OSError as error:
            if is_full(error):
                self._cut_back(start)
            raise
        return offsets

    def _cut_back(self, size: int) -> None:
        try:
            self._file.truncate(size)
        except OSError as error:  # what comes next would lie behind half a record
            raise AppiaError(
                f"{self.path} could not be written whole, nor be cut back ({error.strerror}): see to the disk"
            ) from error

    def append_block(self, first_lsn: int, payloads: Sequence[bytes], level: int) -> NDArray[np.int64]:
        """Append up to `EVENTS_A_BLOCK` events as one compressed record.

        Args:
            first_lsn: the number of the first event.
            payloads: the events.
            level: 0 for plain LZ4, 1..12 for LZ4-HC.

        Returns:
            The position of each event for `LogReader.event`, int64: `offset << 8 | place in the block`.
        """
        record = self.append(BLOCK, first_lsn, [pack_block(payloads, level)])
        return np.int64(record[0] << 8) + np.arange(len(payloads), dtype=np.int64)

    def sync(self) -> None:
        """Block until everything appended is on disk.

        Where that fails, what was appended since the last time is cut off: the next start would read it from memory,
        and a power cut take it. Nothing may be appended after that, and no sync is tried again.
        """
        try:
            self._file.sync()
        except OSError:
            self._has_failed = True
            with suppress(OSError):
                self._file.truncate(self._synced)
            raise
        self._synced = self._file.size

    def abandon(self, size: int) -> None:
        """Close a file that could not be written, cut back to `size` bytes where the system lets that be done."""
        with suppress(OSError):
            self._file.truncate(size)
        self._file.close()

    def close(self) -> None:
        """Sync and close; a file that failed is closed only."""
        try:
            if not self._has_failed:
                self.sync()
        finally:
            self._file.close()


class LogReader:
    """Reads one log file by offset. Safe for several threads (reads by `pread`).

    An encrypted file can be opened, and its records be found and checked (`scan_stored`), without a key.
    """

    def __init__(self, path: Path, keys: LogKeys = NO_KEYS) -> None:
        """Open `path`; `keys` are asked when the first record of an encrypted file is wanted.

        Every method raises AppiaError where the disk cannot read what it needs.

        Raises:
            AppiaError: it is no log, of a newer release, or not encrypted although that is required.
        """
        self.path = path
        self._keys = keys
        self._cipher: RecordCipher | None = None
        self._last_block: tuple[int, list[bytes]] = -1, []
        self._fd = os.open(path, os.O_RDONLY)
        try:
            self._header = self._read_head(0, HEADER_BYTES)
            version, self.file_id = self._check_header()
            self.encrypted = version == ENCRYPTED
            self._block = self._read_head(HEADER_BYTES, BLOCK_BYTES) if self.encrypted else b""
        except AppiaError:
            self.close()
            raise
        self.start = HEADER_BYTES + len(self._block)

    def _pread(self, size: int, offset: int) -> bytes:
        """As the system's call; a bad sector is one file's fault, which must not end what serves the others."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise AppiaError(
                f"{self.path} cannot be read at {offset} ({error.strerror}): see to the disk, or restore the file"
            ) from error

    def _read_head(self, offset: int, size: int) -> bytes:
        raw = self._pread(size, offset)
        if len(raw) < size:
            raise AppiaError(
                f"{self.path} is too short to be a log ({offset + len(raw)} bytes): "
                "it was cut before its header was written"
            )
        return raw

    def _check_header(self) -> tuple[int, int]:
        """Version and file id."""
        found = unpack_header(self._header)
        if found is None:
            raise AppiaError(
                f"{self.path} does not begin with the header of a log: it is damaged or another file"
            )
        version, file_id = found
        if version > ENCRYPTED:
            raise AppiaError(
                f"{self.path} has log version {version}, this release reads up to {ENCRYPTED}: install a newer appia"
            )
        if version != ENCRYPTED and not self._keys.allows_plain:
            raise AppiaError(
                f"{self.path} is not encrypted, and require_encryption is set: "
                "take that setting out to read what was written before there was a storage key"
            )
        return version, file_id

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._fd).st_size

    def record(self, offset: int) -> Record | None:
        """The record that begins at `offset`; None when no valid one does.

        Raises:
            AppiaError: the file is encrypted, and its key not at hand.
        """
        stored = self._stored(offset)
        return None if stored is None else self._opened(stored)

    def _stored(self, offset: int) -> Record | None:
        """A record with its payload as it lies on disk; None where the checksum does not fit."""
        head = self._pread(RECORD.size + 1400, offset)
        if len(head) < RECORD.size:
            return None
        length, crc, kind, lsn = RECORD.unpack_from(head)
        if length > MAX_PAYLOAD:
            return None
        payload = head[RECORD.size : RECORD.size + length]
        if len(payload) < length:
            payload += self._pread(length - len(payload), offset + len(head))
        if len(payload) < length or checksum(self.file_id, kind, lsn, payload) != crc:
            return None
        return Record(offset, kind, lsn, payload, offset + RECORD.size + length)

    def _opened(self, stored: Record) -> Record | None:
        """The record with its data; None where somebody changed it and made the checksum fit."""
        if not self.encrypted:
            return stored
        data = self._file_cipher().open(stored.type, stored.lsn, stored.offset, stored.payload)
        return None if data is None else Record(stored.offset, stored.type, stored.lsn, data, stored.end)

    def _file_cipher(self) -> RecordCipher:
        if self._cipher is None:  # two threads may both make one, which does no harm
            try:
                wrapping = self._keys.find(key_id_of(self._header, self._block), self.path)
            except KeyBlockDamaged:
                raise AppiaError(
                    f"{self.path} is encrypted, and the block with its key is damaged: nothing in it can be read; "
                    "restore the file from a backup"
                ) from None
            file_key = wrapping.unwrap(self._header, self._block)
            if file_key is None:
                raise AppiaError(
                    f"the key in {self.path} was changed, or is of another file: restore it from a backup"
                )
            self._cipher = RecordCipher(file_key, self.file_id)
        return self._cipher

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
        if record is not None and record.type == BLOCK:
            with suppress(ValueError):  # of who can write files and make a checksum fit
                return unpack_block(record.payload)
        raise AppiaError(f"{self.path} has no valid block at {offset}: it is damaged, run `appia verify`")

    def scan(self, start: int | None = None) -> Iterator[Record | Damage]:
        """All records from offset `start` (None: the first), and the damage between them.

        A record that was changed so that its checksum fits, but not its seal, is damage too, and never a tail.

        Raises:
            AppiaError: the file is encrypted, and its key not at hand.
        """
        for found in self.scan_stored(start):
            if isinstance(found, Damage):
                yield found
            else:
                yield self._opened(found) or Damage(found.offset, found.end, tail=False)

    def scan_stored(self, start: int | None = None) -> Iterator[Record | Damage]:
        """As `scan`, with the payloads as they lie on disk; needs no key."""
        at, end, last_lsn = self.start if start is None else start, self.size, -1
        while at < end:
            record = self._stored(at)
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
            raw = self._pread(window + RECORD.size, base)
            for found in _MAY_BEGIN.finditer(raw, 0, window + _SEEN):
                i = found.start()
                if i + RECORD.size > len(raw):
                    break
                length, _, kind, lsn = RECORD.unpack_from(raw, i)
                plausible = length <= MAX_PAYLOAD and EVENT <= kind <= DECISIONS and lsn > last_lsn
                if (
                    plausible
                    and base + i + RECORD.size + length <= end
                    and self._stored(base + i) is not None
                ):
                    return base + i
        return None

    def read_damaged(self, damage: Damage) -> bytes:
        """The bytes of a damaged stretch, to set them aside."""
        return self._pread(damage.end - damage.start, damage.start)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
