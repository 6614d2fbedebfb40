"""The file of a case: a ZIP archive in the one form that this module writes: one content has one sequence of bytes.

Files are stored and not compressed, one right behind the other, all of one date, then the directory (APPNOTE.TXT of
PKWARE, 4.3.7, 4.3.12 and 4.3.16). Every unzip opens it. Who reads compares with what would be written, so nothing can
hide between the files, and there is nothing to expand.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

MOST_FILES = 4096
MOST_BYTES = 1 << 28  # of a whole case: it is made in memory
_LONGEST_NAME = 256
_PIECE = 1 << 20

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_LOCAL_MARK, _ENTRY_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION, _MADE_BY = 20, (3 << 8) | 20  # 3: Unix, so that the mode counts
_TIME, _DATE = 0, (1 << 5) | 1  # midnight of 1980-01-01, the first that the format knows
_MODE = 0o100644 << 16


@dataclass(frozen=True)
class Member:
    """A file in an archive: where its content begins, its bytes, and its CRC-32."""

    name: str
    start: int
    size: int
    crc: int


class CaseArchive:
    """An archive that is open for reading. For one thread."""

    def __init__(self, file: BinaryIO, members: Mapping[str, Member], faults: tuple[str, ...]) -> None:
        """Take what `read_archive` found."""
        self._file = file
        self.members = members
        self.faults = faults

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of a file, piece by piece; less than it should be where the archive was cut off meanwhile."""
        member = self.members[name]
        self._file.seek(member.start)
        left = member.size
        while left and (piece := self._file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece

    def content(self, name: str) -> bytes:
        """The content of a file, of at most `MOST_BYTES`."""
        return b"".join(self.pieces(name))


def archive_of(files: Mapping[str, bytes]) -> bytes:
    """The archive of files by name, in the order given.

    Raises:
        AppiaError: they are too many, or too large together.
    """
    total = sum(map(len, files.values()))
    if len(files) > MOST_FILES or total > MOST_BYTES:
        raise AppiaError(
            f"The case would have {len(files):,} files and {total:,} bytes, and may have {MOST_FILES:,} and "
            f"{MOST_BYTES:,}: put fewer events into one, or fewer neighbours with -k."
        )
    parts: list[bytes] = []
    entries: list[bytes] = []
    offset = 0
    for name, data in files.items():
        member = Member(name, offset + _LOCAL.size + len(name), len(data), zlib.crc32(data))
        parts += [_local(member), data]
        entries.append(_entry(member))
        offset = member.start + member.size
    return b"".join((*parts, *entries, _end(len(files), sum(map(len, entries)), offset)))


def read_archive(file: BinaryIO, path: Path, allowed: Callable[[str], bool]) -> CaseArchive:
    """Read the directory of an archive, and check that every byte of the file is what `archive_of` would have written.

    Contents are not read. What is wrong with single files is in `faults`; these are left out.

    Args:
        file: open for reading; stays open.
        path: names it in messages.
        allowed: whether a case may have a file of this name.

    Raises:
        AppiaError: it is no archive, or one of another shape.
    """
    size = file.seek(0, 2)
    if size > MOST_BYTES + MOST_FILES * 1024:
        raise AppiaError(f"{path} has {size:,} bytes: no case is larger than {MOST_BYTES:,}")
    file.seek(max(size - _END.size, 0))
    count, length, offset = _read_end(file.read(), size, path)
    file.seek(offset)
    found, faults = _read_entries(file.read(length), count)
    members: dict[str, Member] = {}
    for member in found:
        if not allowed(member.name):
            faults.append(f"{member.name[:80]!r} is no name of a file in a case")
        elif member.name in members:
            faults.append(f"{member.name} is in the archive twice")
        else:
            members[member.name] = member
    if not faults:
        faults += _gaps(file, found, offset)
    return CaseArchive(file, members, tuple(faults))


def _local(member: Member) -> bytes:
    name = member.name.encode("ascii")
    fields = _VERSION, 0, 0, _TIME, _DATE, member.crc, member.size, member.size, len(name), 0
    return _LOCAL.pack(_LOCAL_MARK, *fields) + name


def _entry(member: Member) -> bytes:
    name = member.name.encode("ascii")
    sizes = member.crc, member.size, member.size, len(name), 0, 0, 0, 0
    at = member.start - _LOCAL.size - len(name)
    head = _ENTRY.pack(_ENTRY_MARK, _MADE_BY, _VERSION, 0, 0, _TIME, _DATE, *sizes, _MODE, at)
    return head + name


def _end(count: int, length: int, offset: int) -> bytes:
    return _END.pack(_END_MARK, 0, 0, count, count, length, offset, 0)


def _read_end(data: bytes, size: int, path: Path) -> tuple[int, int, int]:
    """How many files there are, the length of the directory, and where it begins."""
    if len(data) == _END.size:
        _, _, _, count, _, length, offset, _ = _END.unpack(data)
        is_one = data == _end(count, length, offset) and offset + length + _END.size == size
        if is_one and count <= MOST_FILES and length <= count * (_ENTRY.size + _LONGEST_NAME):
            return count, length, offset
    raise AppiaError(
        f"{path} is no case as `appia export-case` writes them: it is another file, its end was cut off, or something "
        "was put behind it"
    )


def _read_entries(data: bytes, count: int) -> tuple[list[Member], list[str]]:
    """The files that the directory names, and what is wrong with it."""
    found: list[Member] = []
    faults: list[str] = []
    at = 0
    for _ in range(count):
        if len(data) < at + _ENTRY.size:
            return found, [*faults, "the directory of the archive ends too early"]
        fields = _ENTRY.unpack_from(data, at)
        flags, method, crc, packed, size, name_size, extra, comment, offset = (
            *fields[3:5],
            *fields[7:13],
            fields[16],
        )
        raw = data[at + _ENTRY.size : at + _ENTRY.size + name_size]
        whole = data[at : at + _ENTRY.size + name_size + extra + comment]
        at += len(whole)
        name = raw.decode("ascii", "backslashreplace")
        member = Member(name, offset + _LOCAL.size + name_size, size, crc)
        fault = _fault(fields, (flags, method, packed, size), name)
        if not fault and (not raw.isascii() or len(raw) > _LONGEST_NAME or whole != _entry(member)):
            fault = f"{name[:80]!r} was packed by another program than appia"
        if fault:
            faults.append(fault)
        else:
            found.append(member)
    return found, faults if at == len(data) else [*faults, "there is more in the directory of the archive"]


def _fault(fields: tuple[int, ...], kind: tuple[int, int, int, int], name: str) -> str:
    """What is wrong with an entry that has a plainer reason than its bytes; empty where nothing is."""
    flags, method, packed, size = kind
    shown = repr(name[:80])
    if flags & 1:
        return f"{shown} is encrypted, and nothing in a case is"
    if method or packed != size:
        return f"{shown} is compressed ({packed:,} bytes for {size:,}), and nothing in a case is"
    if fields[15] != _MODE:
        return f"{shown} is no plain file"
    return ""


def _gaps(file: BinaryIO, members: list[Member], end: int) -> list[str]:
    """Whether each file begins where the one before ends, behind the head that it should have."""
    at = 0
    for member in members:
        head = _local(member)
        file.seek(at)
        if member.start != at + len(head) or file.read(len(head)) != head or member.start + member.size > end:
            return [
                f"{member.name} does not lie where it should: something was put before it, or lies over it"
            ]
        at = member.start + member.size
    return [] if at == end else ["something was put behind the last file of the archive"]
