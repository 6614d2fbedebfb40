"""Whole events of a segment for readers: SQLite for the fields, the log for the bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from services.common.days.metadata import MetadataReader
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.days.metadata import EventFields


class SegmentEvents:
    """The `EventStore` of a segment. Each thread gets a connection of its own."""

    def __init__(self, database: Path, read_event: Callable[[int], bytes | None], *, sealed: bool) -> None:
        """Read fields from `database`, and bytes by `read_event(position)`, which gives None where they are damaged."""
        self._database = database
        self._read_event = read_event
        self._sealed = sealed
        self._local = threading.local()
        self._lock = threading.Lock()
        self._readers: list[MetadataReader] = []

    def find(self, event_id: str) -> list[int]:
        """Rows of the events with this id, ascending."""
        return self._reader().find(event_id)

    def fetch(self, rows: Sequence[int]) -> list[EventFields]:
        """The events in these rows as dictionaries, in that order."""
        return self._reader().fetch(rows)

    def payload(self, position: int) -> bytes:
        """The event's own bytes.

        Raises:
            AppiaError: the log is damaged there.
        """
        payload = self._read_event(position)
        if payload is None:
            raise AppiaError(f"the log beside {self._database} is damaged at {position}: run `appia verify`")
        return payload

    def _reader(self) -> MetadataReader:
        reader: MetadataReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = MetadataReader(self._database, immutable=self._sealed)
            with self._lock:
                self._readers.append(reader)
        return reader

    def close(self) -> None:
        """Close every thread's connection; no other thread may be reading."""
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
