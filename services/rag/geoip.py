"""Reads files in MaxMind's DB format (version 2, https://maxmind.github.io/MaxMind-DB/) that the user has."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import maxminddb

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOK_S = 5.0
"""Whether a file was replaced is looked at no more often than this."""


class GeoFile:
    """One file, mapped; opened anew when another has taken its place. Safe for several threads.

    Replace it by a rename, as `geoipupdate` does: one that is written over while it is mapped cannot be read safely.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet."""
        self.path = path
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards what follows
        self._reader: maxminddb.Reader | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._look_at = -1.0

    def get(self, address: str) -> dict[str, Any]:
        """What the file says about an address; empty where it says nothing. Blocks on the disk.

        Raises:
            AppiaError: the file is absent or damaged.
        """
        reader = self._current()
        try:
            found = reader.get(address)
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            if ":" in address and reader.metadata().ip_version == 4:
                return {}
            raise AppiaError(f"{self.path.name} cannot be read: {error}.") from None
        return found if isinstance(found, dict) else {}

    def describe(self) -> dict[str, str]:
        """Which file it is: its name, what it calls itself and the day it was built.

        Raises:
            AppiaError: the file is absent or damaged.
        """
        facts = self._current().metadata()
        built = datetime.fromtimestamp(facts.build_epoch, UTC).date().isoformat()
        return {"file": self.path.name, "type": facts.database_type, "built": built}

    def _current(self) -> maxminddb.Reader:
        with self._lock:
            now = self._monotonic()
            if self._reader is None or now >= self._look_at:
                self._look_at = now + LOOK_S
                self._reader = self._newest(self._reader)
            return self._reader

    def _newest(self, before: maxminddb.Reader | None) -> maxminddb.Reader:
        """A reader of the file that is there now; the one before goes when the last thread lets it go."""
        self._reader = None  # unless all goes well
        try:
            status = self.path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            if before is not None and stamp == self._stamp:
                return before
            reader = maxminddb.open_database(self.path, maxminddb.MODE_MMAP)
        except FileNotFoundError:
            raise AppiaError(f"There is no file {self.path}.") from None
        except (maxminddb.InvalidDatabaseError, OSError, ValueError) as error:
            raise AppiaError(f"{self.path.name} cannot be read: {error}.") from None
        self._stamp = stamp
        return reader
