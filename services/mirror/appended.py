"""Files that only grow at the source, copied by their tails.

A writer that loses its power may come back with less than it had shown, and write something else from there on. So the
last bytes that are here are read once more with each tail: where they differ, what is here is no beginning of what is
there, and the copy begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.columns import ROW
from services.common.errors import AppiaError
from services.mirror.source import BadSource, Range

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk
    from services.mirror.source import Source

OVERLAP = 4 * ROW.itemsize
"""Bytes that are compared: whole rows of columns, for the events of a flood differ only where a row begins."""


class BeginAnew(AppiaError):  # noqa: N818 - it names a state of the world, not a fault of the caller
    """The source has something else now where it only should have more: the copy is of no use."""


class Appended:
    """The copy of one growing file. What is taken is on disk after `sync`; for one thread."""

    def __init__(self, disk: Disk, local: Path, remote: Path, keep: int | None = None) -> None:
        """Open the copy at `local`, cut back to `keep` bytes where given; `remote` is its path at the source."""
        self._local, self._remote = local, remote
        self._file = disk.append_to(local)
        try:
            if keep is not None and keep < self._file.size:
                self._file.truncate(keep)
        except OSError:
            self._file.close()
            raise

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self._file.size

    def fetch(self, source: Source, end: int) -> bytes:
        """The bytes behind those that are here, up to `end`; nothing is written. Fewer where the source has no more.

        Raises:
            BeginAnew: what is here is not what the source has there.
            AppiaError: as `Source.read`.
        """
        overlap = self._last(min(OVERLAP, self.size))
        start = self.size - len(overlap)
        if end <= self.size:
            return b""
        data = source.read(Range(self._remote, start, end - start))
        if not data.startswith(overlap):
            raise BeginAnew(f"{self._remote} of the source is not what was pulled before: it is pulled anew.")
        return data[len(overlap) :]

    def fetch_exactly(self, source: Source, end: int) -> bytes:
        """As `fetch`; raises `BadSource` where the source has less than it says."""
        data = self.fetch(source, end)
        if self.size + len(data) < end:
            raise BadSource(
                f"{self._remote} of the source has {self.size + len(data)} bytes, and its counter needs {end}."
            )
        return data

    def _last(self, size: int) -> bytes:
        with self._local.open("rb") as file:
            file.seek(self.size - size)
            return file.read(size)

    def write(self, data: bytes) -> None:
        """Append bytes that were fetched."""
        if data:
            self._file.write(data)

    def sync(self) -> None:
        """Block until they are on disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
