"""Lets a reader map only what the chain names: it follows the file as it grows and looks manifests up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from services.common.chain.check import ChainWalk
from services.common.chain.store import read_lines
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.chain.check import CheckedChain
    from services.common.chain.keys import PublicKey

_Part = tuple[str, int, str]  # day, generation, folder in it


class Vouching(Protocol):
    """What a reader of sealed days asks before it maps anything."""

    def check(self, day: str, generation: int, part: str, digest: str) -> None:
        """Refuse a part (`chunk`, `attack/000001`) whose manifest has the SHA-256 `digest`, with `AppiaError`."""


class NoVouching:
    """Takes what lies there: the hashes in a manifest are checked, the manifest itself is believed."""

    def check(self, day: str, generation: int, part: str, digest: str) -> None:
        """Nothing is refused."""


NO_VOUCHING = NoVouching()


class ChainFollower:
    """Knows what the links say that were signed under one public key. Safe for several threads."""

    def __init__(self, path: Path, trusted: PublicKey, report: Callable[[str], None]) -> None:
        """Follow the chain at `path`; `report` is told once of each thing that is wrong with it. Reads nothing yet."""
        self._path, self._trusted, self._report = path, trusted, report
        self._lock = threading.Lock()  # guards what follows
        self._seen: tuple[int, int] | None = None  # inode and size of the file as it was read last
        self._end = 0
        self._walk = ChainWalk(trusted)
        self._signed: dict[_Part, str] = {}
        self._told: set[str] = set()

    def check(self, day: str, generation: int, part: str, digest: str) -> None:
        """Refuse a part whose manifest is not the one that was signed.

        Blocks to read what is new in the chain, about a second for some thousand links.

        Raises:
            AppiaError: it is another, or was never signed.
        """
        with self._lock:
            wanted = self._signed.get((day, generation, part))
            if wanted != digest:
                self._poll()
                wanted = self._signed.get((day, generation, part))
        if wanted is None:
            raise AppiaError(
                f"{part} of generation {generation} of {day} is in no link of the chain {self._path} that was signed "
                f"under the key {self._trusted.id}, so it is not served: see `appia verify {day}`."
            )
        if wanted != digest:
            raise AppiaError(
                f"{part} of generation {generation} of {day} was altered: its manifest is not the one that was signed, "
                f"so it is not served: see `appia verify {day}`."
            )

    def _poll(self) -> None:
        """Read what is new; all of it where the file was replaced. `_lock` is held."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        seen = (status.st_ino, status.st_size)
        if seen == self._seen:
            return
        if self._seen is None or seen[0] != self._seen[0] or seen[1] < self._end:
            self._end, self._walk, self._signed = 0, ChainWalk(self._trusted), {}
        lines, self._end = read_lines(self._path, self._end)
        self._seen = seen
        self._walk.take(lines)
        self._take(self._walk.result())

    def _take(self, chain: CheckedChain) -> None:
        for link in chain.links:
            for number, generation in (link.state.generations if link.state else {}).items():
                for part, digest in generation.parts().items():
                    self._signed[link.day, number, part] = digest
        for fault in chain.faults:
            if fault.sentence not in self._told:
                self._told.add(fault.sentence)
                self._report(f"{self._path}: {fault.sentence}")
