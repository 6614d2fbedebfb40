"""Copies one open segment: its events and its three indices, each of which goes on without the others."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from services.common.counts import unpack_counts
from services.common.days.names import EVENT_INDICES
from services.common.errors import AppiaError
from services.mirror.appended import BeginAnew
from services.mirror.open_events import COUNTER, EventsCopy
from services.mirror.open_index import IndexCopy, Seen, discard
from services.mirror.source import Gone, Range, SourceAway

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.names import OpenNames
    from services.mirror.faults import Faults
    from services.mirror.open_events import Ground

_COUNTS = (COUNTER, *EVENT_INDICES)
_LONGEST_COUNT, _LONGEST_MODEL = 32, 4096


class SegmentCopy:
    """One open segment here and there. For one thread."""

    def __init__(self, ground: Ground, local: OpenNames, remote: OpenNames, faults: Faults) -> None:
        """Open nothing yet."""
        self._ground, self._local, self._remote, self._faults = ground, local, remote, faults
        self._events: EventsCopy | None = None
        self._indices: dict[str, IndexCopy] = {}
        self._part = f"{local.day.day} open {local.number}"
        self.missing_rows = 0
        """Rows that the source has committed, and that are not here."""

    def step(self) -> bool:
        """Pull some of what the source has committed; whether there is more to pull at once.

        What cannot be used is told to the faults and tried again later.

        Raises:
            SourceAway: the source cannot be read.
            Gone: it has no such segment any more.
        """
        paths = [self._remote.counts(name) for name in _COUNTS]
        paths += [self._remote.model(name) for name in EVENT_INDICES]
        small = self._ground.source.read_each([Range(path, 0, _LONGEST_MODEL) for path in paths])
        if small[0] is None:
            self.missing_rows = 0  # there is nothing that anybody could see
            self._ground.source.sizes(self._remote.folder)
            return False
        counts = [unpack_counts(raw or b"") for raw in small[: len(_COUNTS)]]
        sizes = self._ground.source.sizes(
            self._remote.folder
        )  # after the counters, so what they name is in it
        found = counts[0]
        more = found is not None and self._try(self._part, lambda: self._step_events(found[0], sizes))
        for index, count, described in zip(EVENT_INDICES, counts[1:], small[len(_COUNTS) :], strict=True):
            if count is not None and self._local.folder.exists():
                seen = Seen(*count, described or b"", sizes)
                more |= self._try(f"{self._part} {index}", lambda i=index, s=seen: self._step_index(i, s))  # type: ignore[misc]
        return more

    def _step_events(self, rows: int, sizes: dict[str, int]) -> bool:
        if not rows and self._events is None:
            return False
        try:
            if self._events is None:
                self._events = EventsCopy(self._ground, self._local, self._remote)
            self.missing_rows = rows - self._events.rows
            more = self._events.step(rows, sizes)
            self.missing_rows = rows - self._events.rows
        except BeginAnew:
            self.remove()
            raise
        except BaseException:
            self._close_events()
            raise
        return more

    def _step_index(self, index: str, seen: Seen) -> bool:
        known = self._indices.get(index)
        if known is not None and (known.described != seen.described or not seen.described):
            self._close_index(index)
            if not seen.described:
                discard(self._ground, self._local, index)
        if not seen.described:
            return False
        try:
            if index not in self._indices:
                places = self._local, self._remote
                self._indices[index] = IndexCopy(self._ground, places, index, seen.described)
            return self._indices[index].step(seen)
        except BeginAnew:
            self._close_index(index)
            discard(self._ground, self._local, index)
            raise
        except BaseException:
            self._close_index(index)
            raise

    def _try(self, part: str, step: Callable[[], bool]) -> bool:
        """Do a step unless its part has to wait; what goes wrong with it alone is noted."""
        if not self._faults.is_due(part):
            return False
        try:
            more = step()
        except (SourceAway, Gone):
            raise
        except (AppiaError, OSError, sqlite3.Error) as error:
            self._faults.note(part, str(error))
            return False
        self._faults.clear(part)
        return more

    def _close_events(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            with suppress(OSError):
                events.close()

    def _close_index(self, index: str) -> None:
        known = self._indices.pop(index, None)
        if known is not None:
            with suppress(OSError):
                known.close()

    def remove(self) -> None:
        """Close it, and take it away as a whole: a replica keeps what it maps."""
        self.close()
        self._ground.disk.remove(self._local.folder)

    def close(self) -> None:
        """Close the files. A step opens them again."""
        self._close_events()
        for index in list(self._indices):
            self._close_index(index)

    def forget_faults(self) -> None:
        """What could not be pulled of it is of no matter any more."""
        for name in ("", *(f" {index}" for index in EVENT_INDICES)):
            self._faults.clear(f"{self._part}{name}")
