"""Following a key ring while a service runs: it is taken up whole or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError
from services.common.wire.keys import RING_NAME, node_folder, read_key_ring, ring_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.wire.keys import KeyRing

LOOK_EVERY_S = 1.0
SETTLED_NS = 1_000_000_000
"""A file system's clock is coarse: what was changed less than this ago may change again without a new time."""

Mark = tuple[tuple[int, int, int], ...]


class RingWatch:
    """Looks at the folder once a second, with three `stat` calls, and reads it when something is new there.

    Not safe for several threads. A seed that is overwritten in place is not noticed: give a new seed a new name.
    """

    def __init__(
        self,
        keys: Path,
        ring: KeyRing,
        report: Callable[[str, dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Follow the ring of the folder `keys`, of which `ring` was read; `clock` gives seconds."""
        self.ring = ring
        self._keys = keys
        self._report = report
        self._clock = clock
        self._look_at = clock()
        self._seen: Mark = ()
        self._wrong: tuple[Mark, str] | None = None
        self._told = ""

    def changed(self) -> KeyRing | None:
        """Give the ring where it differs from the last one given, else None. Blocks on the disk at most once a second.

        A ring that cannot be used is reported once (`key_ring_unusable`), and the last one stays; so is its
        return (`key_ring_usable_again`). A new one is reported with its ids (`key_ring_changed`).
        """
        if self._clock() < self._look_at:
            return None
        self._look_at = self._clock() + LOOK_EVERY_S
        mark = _mark_of(self._keys)
        if mark == self._seen:
            return None
        try:
            ring = read_key_ring(self._keys)
        except AppiaError as error:
            self._refuse(mark, str(error))
            return None
        if _mark_of(self._keys) != mark:
            return None  # it changed while it was read: the next look sees the whole
        if self._told and ring == self.ring:
            self._report("key_ring_usable_again", ring.facts())
        self._wrong, self._told = None, ""
        if _is_settled(mark):
            self._seen = mark
        if ring == self.ring:
            return None
        self.ring = ring
        self._report("key_ring_changed", ring.facts())
        return ring

    def _refuse(self, mark: Mark, why: str) -> None:
        # Someone may be in the middle of a change: only what is still so at the next look is told. It is read
        # again at every look, because a mode or an owner can be put right without a new time.
        if (mark, why) == self._wrong and why != self._told:
            self._told = why
            self._report("key_ring_unusable", {"why": why, "kept": self.ring.facts()})
        self._wrong = (mark, why)


def _mark_of(keys: Path) -> Mark:
    places = (ring_folder(keys), ring_folder(keys) / RING_NAME, node_folder(keys))
    return tuple(map(_mark_of_one, places))


def _mark_of_one(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _is_settled(mark: Mark) -> bool:
    return time.time_ns() - max(changed for _, changed, _ in mark) > SETTLED_NS
