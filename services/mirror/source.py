"""Where days are read from: a port of few calls, and its adapter over any file system that fsspec knows.

What is read was written by another machine: lengths, names and times are what it says, and nothing more is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.mirror.pace import Pace

MOST_NAMES = 1_000_000
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class SourceAway(AppiaError):  # noqa: N818 - it names a state of the world, not a fault of the caller
    """The source cannot be read now; what was pulled before stays."""


class Gone(AppiaError):  # noqa: N818 - as above
    """Something is not at the source, or not any more."""


class BadSource(AppiaError):  # noqa: N818 - as above
    """What the source gave is not what it should be, so none of it is used."""


@dataclass(frozen=True)
class Range:
    """Up to `length` bytes of a file from byte `start`; `path` is relative to the state directory."""

    path: Path
    start: int
    length: int


class Source(Protocol):
    """A state directory elsewhere. For one thread; every call blocks on the network."""

    @property
    def piece(self) -> int:
        """So many bytes are best read at once: what is read is lost where the link is cut before all is here."""
        ...

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range, fewer where the file ends before.

        Raises:
            Gone: there is no such file.
            SourceAway: the source cannot be read.
            BadSource: it gave more than it was asked for.
        """

    def read_each(self, wanted: Sequence[Range]) -> list[bytes | None]:
        """The bytes of small ranges, None for each file that there is not. Raises as `read`, but for `Gone`."""

    def sizes(self, folder: Path) -> dict[str, int]:
        """The files in a folder by name, with their size in bytes; of a folder in it, -1. Raises as `read`."""


class FilesystemSource:
    """A `Source` over a file system of fsspec."""

    def __init__(self, filesystem: Any, root: str, pace: Pace, clock: Callable[[], float]) -> None:
        """Read below `root` of `filesystem`; `clock` gives seconds. Nothing is read yet."""
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._pace = pace
        self._clock = clock

    @property
    def piece(self) -> int:
        """See `Source`."""
        return self._pace.piece

    def read(self, wanted: Range) -> bytes:
        """See `Source`; in pieces where it is long."""
        parts: list[bytes] = []
        at, end = wanted.start, wanted.start + wanted.length
        while at < end:
            size = min(end - at, self._pace.piece)
            part = self._piece(wanted.path, at, at + size)
            parts.append(part)
            at += len(part)
            if len(part) < size:
                break
        return b"".join(parts)

    def _piece(self, path: Path, start: int, end: int) -> bytes:
        self._pace.wait_turn()
        began = self._clock()
        try:
            data = bytes(self._filesystem.cat_file(self._place(path), start=start, end=end))
        except _GONE:
            raise Gone(f"The source has no {path}.") from None
        except Exception as error:
            # A piece that never arrives may be too long for the link: the next is shorter.
            self._pace.spent(0, self._clock() - began)
            raise self._away(error) from error
        self._pace.spent(len(data), self._clock() - began)
        return _bounded(data, path, end - start)

    def read_each(self, wanted: Sequence[Range]) -> list[bytes | None]:
        """See `Source`."""
        if not wanted:
            return []
        self._pace.wait_turn()
        began = self._clock()
        try:
            found = self._filesystem.cat_ranges(
                [self._place(one.path) for one in wanted],
                [one.start for one in wanted],
                [one.start + one.length for one in wanted],
                on_error="return",
            )
        except Exception as error:
            raise self._away(error) from error
        data = [self._found(one, part) for one, part in zip(wanted, found, strict=True)]
        self._pace.spent(sum(len(part) for part in data if part), self._clock() - began)
        return data

    def _found(self, wanted: Range, part: object) -> bytes | None:
        if isinstance(part, _GONE):
            return None
        if isinstance(part, BaseException):
            raise self._away(part) from part
        if not isinstance(part, bytes | bytearray | memoryview):
            raise BadSource(f"The source gave no bytes of {wanted.path}.")
        return _bounded(bytes(part), wanted.path, wanted.length)

    def sizes(self, folder: Path) -> dict[str, int]:
        """See `Source`."""
        place = self._place(folder)
        try:
            self._filesystem.invalidate_cache(place)
            listed = self._filesystem.ls(place, detail=True)
        except _GONE:
            raise Gone(f"The source has no folder {folder}.") from None
        except Exception as error:
            raise self._away(error) from error
        if len(listed) > MOST_NAMES:
            raise BadSource(
                f"The source has more than {MOST_NAMES} names in {folder}: it is no folder of days."
            )
        try:
            return {_name(one): int(one["size"] or 0) if one["type"] == "file" else -1 for one in listed}
        except (KeyError, TypeError, ValueError):
            raise BadSource(f"The source gave a list of {folder} that is none.") from None

    def _place(self, path: Path) -> str:
        return f"{self._root}/{path.as_posix()}" if self._root else path.as_posix()

    def _away(self, error: BaseException) -> SourceAway:
        """Adapters of fsspec raise what their libraries raise; whatever it is, the source cannot be read."""
        said = str(error) or type(error).__name__
        return SourceAway(f"The source cannot be read: {said}")


def _name(entry: Any) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _bounded(data: bytes, path: Path, most: int) -> bytes:
    if len(data) > most:
        raise BadSource(f"The source gave {len(data)} bytes of {path} where it was asked for {most}.")
    return data


def read_small(source: Source, path: Path, most: int) -> bytes:
    """A whole small file.

    Raises:
        BadSource: it is longer than `most` bytes.
        Gone, SourceAway: as `Source.read`.
    """
    data = source.read(Range(path, 0, most + 1))
    if len(data) > most:
        raise BadSource(f"{path} of the source is longer than {most} bytes: it is not used.")
    return data
