"""The file of a chain: read by everybody, written by the one ingester.

A link is synced before anything that it speaks of is pointed at. What a crash leaves of a link at the end of the file
was never pointed at, and is cut off by the next writer.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from services.common.chain.check import ChainWalk, CheckedChain, check_chain
from services.common.chain.link import (
    FIRST_PREVIOUS,
    LONGEST_LINE,
    Link,
    Place,
    begin_link,
    day_link,
    key_link,
    read_link,
)
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.chain.keys import PublicKey, SigningRing
    from services.common.chain.state import DayState
    from services.common.durable import Disk

_AT_ONCE = 3  # most links that one append writes: the first or a change of keys, and that of the day


class Links(Protocol):
    """What those who publish days need of a chain."""

    def state_of(self, day: str) -> DayState | None:
        """The day as its last link has it; None for a day without links."""

    def append(self, what: str, state: DayState) -> None:
        """Sign a link about a day; it is durable when this returns. Raises `AppiaError` and `OSError`."""


class NoLinks:
    """Stands where nothing is signed."""

    def state_of(self, day: str) -> DayState | None:  # noqa: ARG002 - the port asks for it
        """No day has links."""
        return None

    def append(self, what: str, state: DayState) -> None:
        """Nothing happens."""


def read_lines(path: Path, start: int = 0) -> tuple[list[bytes], int]:
    """Whole lines of a chain from byte `start` on, and the byte after them; none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    return whole.split(b"\n")[:-1], start + len(whole)


def last_link(path: Path) -> Link | None:
    """The last link in a file, unchecked; None where there is none that can be read. Reads the end of the file."""
    try:
        lines, _ = read_lines(path, max(path.stat().st_size - 2 * LONGEST_LINE, 0))
        return read_link(lines[-1]) if lines else None
    except (AppiaError, FileNotFoundError):
        return None


def read_chain(path: Path, trusted: PublicKey | None) -> CheckedChain:
    """Read and check the chain in a file, see `check_chain`; an empty one where there is no file."""
    return check_chain(read_lines(path)[0], trusted)


class ChainWriter:
    """Appends to a chain. For any thread; one process at a time, which the ingester sees to."""

    def __init__(self, path: Path, ring: SigningRing, disk: Disk, clock: Callable[[], int]) -> None:
        """Sign with the active key of `ring`; `clock` gives nanoseconds since 1970. Nothing is read yet."""
        self._path, self._ring, self._disk, self._clock = path, ring, disk, clock
        self._lock = threading.Lock()  # guards what follows
        self._walk = ChainWalk(None)
        self._chain = CheckedChain()
        self._end = -1  # byte behind the last link that is known; -1 to read anew

    def state_of(self, day: str) -> DayState | None:
        """The day as its last link has it.

        Raises:
            AppiaError: the chain is damaged, or of another key.
        """
        with self._lock:
            self._follow()
            return self._chain.state_of(day)

    def append(self, what: str, state: DayState) -> None:
        """Sign a link about a day. Blocks until it is on disk.

        Raises:
            AppiaError: the chain is damaged, or of another key.
            OSError: it could not be written; the next append looks at what is there.
        """
        with self._lock:
            self._follow()
            if not self._chain.links:
                self._write(begin_link(os.urandom(16).hex(), self._place(), self._ring.active))
            elif self._chain.keys[-1] != self._ring.active.public:
                old = self._ring.keys[self._chain.keys[-1].id]
                self._write(key_link(self._ring.active, self._place(), old))
            self._write(day_link(what, state, self._place(), self._ring.active))

    def _follow(self) -> None:
        """Know what is in the file. A link that a crash tore at its end is cut off."""
        size = self._path.stat().st_size if self._path.exists() else 0
        if size == self._end:
            return
        lines, end = read_lines(self._path)
        chain = check_chain(lines, None)
        if chain.faults and lines and not check_chain(lines[:-1], None).faults:
            # A line of which not all blocks reached the disk; nothing was pointed at after it.
            end -= len(lines.pop()) + 1
            chain = check_chain(lines, None)
        if chain.faults:
            raise AppiaError(
                f"The chain {self._path} is damaged ({chain.faults[0].sentence}), so nothing is signed on top of it: "
                "restore it from a backup, or move it aside to begin a new one; docs/chain.md says how."
            )
        self._check_key(chain)
        if end < size:
            self._cut(end)
        self._write_again(lines[-_AT_ONCE:], end)
        self._walk = ChainWalk(None)
        self._walk.take(lines)
        self._chain, self._end = chain, end

    def _check_key(self, chain: CheckedChain) -> None:
        if chain.keys and chain.keys[-1].id not in self._ring.keys:
            raise AppiaError(
                f"The chain {self._path} was signed last with the key {chain.keys[-1].id}, which is not among the "
                f"signing keys: restore that key, or move the chain aside to begin a new one."
            )

    def _cut(self, end: int) -> None:
        with self._disk.append_to(self._path) as file:
            file.truncate(end)
            file.sync()

    def _write_again(self, lines: list[bytes], end: int) -> None:
        """Put the last links in their place once more and sync them.

        A writer before may have failed to sync them: they are read from memory then, would be lost in a power cut, and
        another sync alone would not write them.
        """
        data = b"".join(line + b"\n" for line in lines)
        if not data:
            return
        with self._disk.patch(self._path) as file:
            file.write(end - len(data), data)
            file.sync()

    def _place(self) -> Place:
        links = self._chain.links
        now = datetime.fromtimestamp(self._clock() // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not links:
            return Place(1, FIRST_PREVIOUS, now)
        return Place(links[-1].number + 1, links[-1].digest, now)

    def _write(self, link: Link) -> None:
        self._end = -1  # until it is known to be on disk
        self._disk.make_folder(self._path.parent)
        with self._disk.append_to(self._path) as file:
            file.write(link.line + b"\n")
            file.sync()
            self._walk.take([link.line])
            self._chain, self._end = self._walk.result(), file.size
