"""Whole events of a segment for readers: SQLite for the fields, the log for the bytes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.common.days.metadata import MetadataReader
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from services.common.days.metadata import EventFields


class SegmentEvents:
    """The `EventStore` of a segment. Connections are kept and used again, one for each call under way.

    A connection that is open stays usable after the segment's files were deleted.
    """

    def __init__(self, database: Path, read_event: Callable[[int], bytes | None], *, sealed: bool) -> None:
        """Read fields from `database`, and bytes by `read_event(position)`, which gives None where they are damaged."""
        self._database = database
        self._read_event = read_event
        self._sealed = sealed
        self._lock = threading.Lock()
        self._idle: list[MetadataReader] = []
        self._closed = False

    def find(self, event_id: str) -> list[int]:
        """Rows of the events with this id, ascending."""
        with self._reader() as reader:
            return reader.find(event_id)

    def find_many(self, event_ids: Sequence[str]) -> list[tuple[str, int]]:
        """The rows of all events with these ids, each with its id."""
        with self._reader() as reader:
            return reader.find_many(event_ids)

    def fetch(self, rows: Sequence[int]) -> list[EventFields]:
        """The events in these rows as dictionaries, in that order."""
        with self._reader() as reader:
            return reader.fetch(rows)

    def tagged(self, passes: Callable[[str], bool]) -> list[int]:
        """The rows whose tags, joined by ",", pass, ascending."""
        with self._reader() as reader:
            return reader.tagged(passes)

    def payload(self, position: int) -> bytes:
        """The event's own bytes.

        Raises:
            AppiaError: the log is damaged there.
        """
        payload = self._read_event(position)
        if payload is None:
            raise AppiaError(f"the log beside {self._database} is damaged at {position}: run `appia verify`")
        return payload

    @contextmanager
    def _reader(self) -> Iterator[MetadataReader]:
        with self._lock:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = MetadataReader(self._database, immutable=self._sealed)
        try:
            yield reader
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(reader)
            if not keep:
                reader.close()

    def close(self) -> None:
        """Close the connections; one that is in use is closed after its call."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.close()
