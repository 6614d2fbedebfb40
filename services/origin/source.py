"""What a publisher reads: the carried files of a state directory, at a bounded rate, until it is told to stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.common.rpc import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from services.origin.stores import Store
    from services.origin.tree import Tree

CHUNK = 1 << 20
COMPARED = 4096
"""Bytes at the end of a file there that have to be those of the file here, before more is added."""


class Stopped(Exception):  # noqa: N818 - it names what happened
    """The service ends; what is under way is gone on with after the next start."""


class Source:
    """Reads files of a tree. For one thread."""

    def __init__(
        self,
        tree: Tree,
        stop: Event,
        bytes_per_s: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `bytes_per_s` in the long run, 0 for no limit; `stop` ends what is under way."""
        self._tree = tree
        self._stop = stop
        self._per_s = bytes_per_s
        self._clock = clock
        self._next_s = clock()
        self.bytes = 0
        """So many were read to be published."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, ascending; none where it is not there."""
        try:
            return self._tree.names(folder)
        except NotFound:
            return []

    def size(self, path: str) -> int:
        """Of a file, in bytes; -1 where it is not there."""
        try:
            return self._tree.stat(path).size
        except NotFound:
            return -1

    def mtime_ns(self, path: str) -> int:
        """When a file changed; -1 where it is not there."""
        try:
            return self._tree.stat(path).mtime_ns
        except NotFound:
            return -1

    def whole(self, path: str) -> bytes | None:
        """A small file; None where it is not there."""
        try:
            size = self._tree.stat(path).size
            return b"".join(self.chunks(path, 0, size))
        except NotFound:
            return None

    def text(self, path: str) -> str:
        """A small file of text; empty where it is not there."""
        return (self.whole(path) or b"").decode("ascii", "replace")

    def chunks(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `start` up to before `end`, or to where it ends now. Waits for its turn.

        Raises:
            NotFound: it went meanwhile.
            Stopped: the service ends.
        """
        while start < end:
            chunk, _ = self._tree.read(path, start, min(CHUNK, end - start))
            if not chunk:
                return
            self._wait(len(chunk))
            yield chunk
            start += len(chunk)

    def grow(self, store: Store, path: str, there: int | None, *, in_place: bool = False) -> None:
        """Bring a file that grows up to date, of which `there` bytes are there; None where it is not.

        One that is changed `in_place` too may differ there, and grows all the same.
        """
        size = self.size(path)
        if size < 0 or size == there:
            return
        grows = store.appends and there is not None and there < size
        if there is not None and grows and (in_place or self._continues(store, path, there)):
            store.append(path, self.chunks(path, there, size))
        else:
            store.put(path, self.chunks(path, 0, size))

    def refresh(self, store: Store, path: str) -> None:
        """Bring a small file up to date that is replaced whole; one that is not there here is left alone."""
        content = self.whole(path)
        if content is not None:
            put_small(store, path, content)

    def _continues(self, store: Store, path: str, there: int) -> bool:
        """Whether what is there ends as the file does here at that place: a writer that recovers cuts files back."""
        start = max(there - COMPARED, 0)
        own, _ = self._tree.read(path, start, there - start)
        return own == store.read(path, start, there - start)

    def _wait(self, size: int) -> None:
        self.bytes += size
        if self._per_s:
            now_s = self._clock()
            self._next_s = max(self._next_s, now_s) + size / self._per_s
            self._stop.wait(self._next_s - now_s)
        if self._stop.is_set():
            raise Stopped


def put_small(store: Store, path: str, content: bytes) -> None:
    """Put a small file where it is not there as it should be."""
    if content != store.read(path, 0, len(content) + 1):
        store.put(path, (content,))
