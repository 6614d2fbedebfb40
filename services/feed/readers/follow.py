"""Reading a file while it is written, through rotation and truncation, as `tail -F` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from services.feed.readers.port import Idle

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator
    from pathlib import Path


def follow(
    path: Path, stop: threading.Event, poll_seconds: float, longest: int
) -> Iterator[Generator[bytes | Idle, None, None]]:
    """Yield one generator of lines per life of the file, until `stop` is set.

    A life ends when the path names another file (rotation; the old one is read to its end first) or when the
    file has become shorter than what was read (truncation). The lines keep their line ends; one longer than
    `longest` bytes is cut there and its rest left out. While nothing is new the generators wait
    `poll_seconds` and yield Idle. A line without its end is held back: its writer has not finished it. It is
    given out as it is when the file was rotated, because then nobody will.
    """
    while not stop.is_set():
        try:
            file = path.open("rb")
        except FileNotFoundError:  # between the two steps of a rotation
            stop.wait(poll_seconds)
            continue
        with file:
            yield _life(path, file, _Wait(stop, poll_seconds), longest)


class _Wait:
    def __init__(self, stop: threading.Event, seconds: float) -> None:
        self._stop = stop
        self._seconds = seconds

    def stopped(self) -> bool:
        return self._stop.wait(self._seconds)


def _life(path: Path, file: BinaryIO, wait: _Wait, longest: int) -> Generator[bytes | Idle, None, None]:
    pending = b""
    while True:
        replaced = _is_replaced(path, file)  # asked before reading: what was written until then is read below
        while raw := file.readline(longest):
            pending = (pending + raw)[: longest + 1]
            if raw.endswith(b"\n"):
                yield pending
                pending = b""
        if replaced:
            if pending:
                yield pending
            return
        if _is_truncated(file):
            return
        yield Idle()
        if wait.stopped():
            return


def _is_replaced(path: Path, file: BinaryIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # moved away and nothing new yet: its writer may still add to it


def _is_truncated(file: BinaryIO) -> bool:
    return os.fstat(file.fileno()).st_size < file.tell()
