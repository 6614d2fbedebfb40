"""Copies what speaks of all days: the chain, remarks of analysts, decisions of firewalls, and the book of retention."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

from services.common.chain.link import LONGEST_LINE
from services.common.days.holds import Book, parse_book
from services.common.days.log_format import (
    ENCRYPTED,
    HEADER_BYTES,
    MAX_PAYLOAD,
    RECORD,
    checksum,
    unpack_header,
)
from services.common.rest.log_keys import BLOCK_BYTES
from services.mirror.appended import Appended, BeginAnew
from services.mirror.source import BadSource, Gone, read_small

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.log_files import LogFiles
    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.mirror.source import Source

MOST_BOOK = 16 << 20
MOST_CHAIN = 1 << 30
_AT_ONCE = 4 << 20


class SharedFiles:
    """Copies them when asked, a bounded part at a time. For one thread."""

    def __init__(self, disk: Disk, source: Source, places: tuple[StateNames, StateNames]) -> None:
        """Know nothing yet; `places` are the state directories here and there."""
        self._disk, self._source = disk, source
        self._local, self._remote = places
        self._sizes: dict[Path, int] = {}  # of files at the source as they were copied last

    def pull_chain(self) -> bool:
        """Copy new links; whether there are more. A chain that was begun anew there is copied whole.

        Raises:
            BadSource: it is no chain.
            AppiaError, OSError: it cannot be read, or not be written.
        """
        there = self._size_of(self._remote.links)
        if there == self._sizes.get(self._remote.links, 0):
            return False
        try:
            more = self._append_lines(self._local.links, self._remote.links, there)
        except BeginAnew:
            self._disk.write_file(self._local.links, self._whole_chain())
            more = False
        if not more:
            self._sizes[self._remote.links] = there
        return more

    def _append_lines(self, local: Path, remote: Path, there: int) -> bool:
        self._disk.make_folder(local.parent)
        keep = local.read_bytes().rfind(b"\n") + 1 if local.exists() else 0
        with closing(Appended(self._disk, local, remote, keep)) as file:
            if there < file.size:
                raise BeginAnew("the chain of the source is shorter than it was")
            data = file.fetch(self._source, min(there, file.size + _AT_ONCE))
            whole = data[: data.rfind(b"\n") + 1]
            if len(data) - len(whole) > LONGEST_LINE:
                raise BadSource("The chain of the source has a line that is too long for a link.")
            file.write(whole)
            file.sync()
            return file.size + LONGEST_LINE < there

    def _whole_chain(self) -> bytes:
        data = read_small(self._source, self._remote.links, MOST_CHAIN)
        return data[: data.rfind(b"\n") + 1]

    def pull_logs(self, local: LogFiles, remote: LogFiles) -> bool:
        """Copy what is new in numbered log files; whether there is more. The oldest may go, and go here too.

        Raises as `pull_chain`.
        """
        try:
            listed = self._source.sizes(remote.folder)
        except Gone:
            return False
        pattern = re.compile(rf"{remote.word}-(\d{{6}})\.log", re.ASCII)
        sizes = {int(match[1]): size for name, size in listed.items() if (match := pattern.fullmatch(name))}
        more = False
        for number in sorted(sizes):
            if self._sizes.get(remote.path(number), 0) != sizes[number]:
                places = local.path(number), remote.path(number)
                more |= self._pull_log(places, sizes[number], is_finished=number != max(sizes))
        for number in local.numbers():
            if sizes and number < min(sizes):
                self._disk.remove(local.path(number))
        return more

    def _pull_log(self, places: tuple[Path, Path], there: int, *, is_finished: bool) -> bool:
        local, remote = places
        self._disk.make_folder(local.parent)
        try:
            more = self._append_records(places, there, is_finished=is_finished)
        except BeginAnew:
            self._disk.remove(local)
            more = True
        if not more:
            self._sizes[remote] = there
        return more

    def _append_records(self, places: tuple[Path, Path], there: int, *, is_finished: bool) -> bool:
        """Whole records only, of a file that is not finished: what is being written may be cut off again."""
        local, remote = places
        size = local.stat().st_size if local.exists() else 0
        with closing(Appended(self._disk, local, remote)) as file:
            if there < size:
                raise BeginAnew(f"{remote} of the source is shorter than it was")
            data = file.fetch(self._source, min(there, size + _AT_ONCE + MAX_PAYLOAD))
            with local.open("rb") as known:
                head = known.read(HEADER_BYTES)
            end = len(data) if is_finished else _whole_records(data, head)
            file.write(data[:end])
            file.sync()
            return bool(end) and size + len(data) < there

    def pull_book(self) -> Book:
        """Copy the book of retention, and give what is in it; an empty one where the source has none.

        Raises:
            BadSource: it cannot be used.
            AppiaError, OSError: as `pull_chain`.
        """
        try:
            data = read_small(self._source, self._remote.retention, MOST_BOOK)
        except Gone:
            return Book()
        book = parse_book(data)
        local = self._local.retention
        if not local.exists() or local.read_bytes() != data:
            self._disk.write_file(local, data)
        return book

    def _size_of(self, path: Path) -> int:
        try:
            return max(self._source.sizes(path.parent).get(path.name, 0), 0)
        except Gone:
            return 0


def _whole_records(data: bytes, head: bytes) -> int:
    """How many bytes of `data` are whole records; `head` is the file's header, empty where `data` begins with it."""
    header = unpack_header(head or data[:HEADER_BYTES])
    if header is None:
        return 0
    version, file_id = header
    at = 0 if head else HEADER_BYTES + (BLOCK_BYTES if version == ENCRYPTED else 0)
    if at > len(data):
        return 0
    while at + RECORD.size <= len(data):
        length, crc, kind, lsn = RECORD.unpack_from(data, at)
        end = at + RECORD.size + length
        if end > len(data) or checksum(file_id, kind, lsn, data[at + RECORD.size : end]) != crc:
            break
        at = end
    return at
