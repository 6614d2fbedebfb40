"""Remembers what a place holds, so that it is asked once and not at each look: object stores charge for every question.

One publisher writes there, so what it put is what is there. After a failure, and once an hour, everything is asked
anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from services.origin.stores import Store

SMALL = 1 << 16
"""Bytes up to which the content of a file is remembered too."""


class RememberingStore:
    """A `Store` over another one. For one thread."""

    def __init__(self, store: Store) -> None:
        """Nothing is known yet."""
        self._store = store
        self._is_there = False
        self._sizes: dict[str, dict[str, int | None]] = {}
        self._contents: dict[str, bytes] = {}

    @property
    def appends(self) -> bool:
        """As the port says."""
        return self._store.appends

    def forget(self) -> None:
        """Ask for everything anew."""
        self._is_there = False
        self._sizes.clear()
        self._contents.clear()

    def check(self) -> None:
        """As the port says; of a folder each time, since what is mounted there can go at any moment."""
        if not self._is_there or self.appends:
            self._store.check()
            self._is_there = True

    def sizes(self, folder: str) -> Mapping[str, int | None]:
        """As the port says."""
        if folder not in self._sizes:
            self._sizes[folder] = dict(self._store.sizes(folder))
        return dict(self._sizes[folder])

    def read(self, path: str, start: int, length: int) -> bytes | None:
        """As the port says."""
        if path in self._contents:
            return self._contents[path][start : start + length]
        found = self._store.read(path, start, length)
        if found is not None and not start and len(found) < min(length, SMALL):
            self._contents[path] = found
        return found

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """As the port says."""
        self._contents.pop(path, None)
        written = _Counted(chunks)
        self._store.put(path, written)
        self._note(path, written.size)
        if written.size <= SMALL:
            self._contents[path] = written.first

    def append(self, path: str, chunks: Iterable[bytes]) -> None:
        """As the port says."""
        self._contents.pop(path, None)
        folder, _, name = path.rpartition("/")
        before = self.sizes(folder).get(name) or 0
        written = _Counted(chunks)
        self._store.append(path, written)
        self._note(path, before + written.size)

    def remove(self, path: str) -> None:
        """As the port says."""
        self._store.remove(path)
        folder, _, name = path.rpartition("/")
        self._sizes.get(folder, {}).pop(name, None)
        below = f"{path}/"
        self._sizes = {one: found for one, found in self._sizes.items() if not f"{one}/".startswith(below)}
        self._contents = {
            one: found for one, found in self._contents.items() if not f"{one}/".startswith(below)
        }

    def _note(self, path: str, size: int) -> None:
        """A file is there in this size, and so are the folders above it."""
        folder, _, name = path.rpartition("/")
        known: int | None = size
        while True:
            if folder in self._sizes:
                self._sizes[folder][name] = known
            if not folder:
                return
            folder, _, name = folder.rpartition("/")
            known = None


class _Counted:
    """Chunks as they pass, with their size in all, and what they are together while that is small."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size = 0
        self.first = b""

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield chunk
            self.size += len(chunk)
            if self.size <= SMALL:
                self.first += chunk
