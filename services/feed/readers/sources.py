"""Where records come from: files, folders, the standard input, and files that still grow."""

from __future__ import annotations

import gzip
import io
import os
import select
import sys
import zlib
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from services.common.errors import UsageError
from services.feed.readers.follow import follow
from services.feed.readers.port import Idle, ReadOptions, SourceBrokenError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 20
BUFFER = 1 << 18
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that cannot be handed out as text; `reason` and `detail` as in Refusal."""

    number: int
    reason: str
    detail: str


Line = tuple[int, str]


class Part(Protocol):
    """One file from its first byte on. A rotated file that is followed is a new part."""

    @property
    def name(self) -> str:
        """The name that goes into identifiers and refusals: below a folder, relative to it."""
        ...

    def lines(self) -> Iterator[Line | Broken | Idle]:
        """Yield (number from 1, text without its line end) for every line.

        Raises:
            SourceBrokenError: the rest cannot be read (cut or damaged gzip, an error of the disk).
        """
        ...


def parts(source: str, options: ReadOptions) -> Iterator[Part]:
    """Yield the files of `source` in the order of their names.

    Raises:
        UsageError: `source` does not exist, or following was asked for what is not a plain file.
    """
    if source == "-":
        yield StreamPart("-", options.stop)
        return
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{source} does not exist; name a file, a folder, or - for the standard input")
    if options.follow:
        yield from _followed(path, options)
        return
    for file, name in files_below(path):
        yield FilePart(file, name)


def whole_files(source: str, options: ReadOptions, what: str) -> Path:
    """The file or folder of a format that has one `what` (a word) a file.

    Raises:
        UsageError: it is no file or folder, or was to be followed.
    """
    if source == "-" or options.follow:
        raise UsageError(f"These are files of one {what} each: name a file or a folder, without following.")
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{source} does not exist; name a file or a folder.")
    return path


def files_below(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield (file, name relative to `path`) for a file itself or all files of a folder, sorted by name."""
    if not path.is_dir():
        yield path, path.name
        return
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        yield file, file.relative_to(path).as_posix()


def read_limited(path: Path, limit: int) -> bytes:
    """Return the file's first `limit` bytes at most.

    Raises:
        SourceBrokenError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise SourceBrokenError("unreadable", str(error), 0) from error


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that does not grow any more."""

    path: Path
    name: str

    def lines(self) -> Iterator[Line | Broken | Idle]:
        """See Part."""
        try:
            file = io.BufferedReader(io.FileIO(self.path), BUFFER)
        except OSError as error:
            raise SourceBrokenError("unreadable", str(error), 0) from error
        with file:
            yield from text_lines(unpacked(file))


@dataclass(frozen=True, slots=True)
class StreamPart:
    """The standard input, which can be left while it is silent."""

    name: str
    stop: threading.Event

    def lines(self) -> Iterator[Line | Broken | Idle]:
        """See Part; after a stop it ends before a line that is not complete."""
        pipe = StoppableInput(sys.stdin.fileno(), self.stop)
        try:
            yield from text_lines(unpacked(io.BufferedReader(pipe, BUFFER)), self.stop)
        except SourceBrokenError:
            if not self.stop.is_set():
                raise


class StoppableInput(io.RawIOBase):
    """A file descriptor that ends when `stop` is set, even while nothing arrives."""

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._stop = stop
        self._waiting = select.poll()
        self._waiting.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        """Say that it can be read, as io asks for."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what has arrived; 0 at the end or after a stop. Blocks until one of them."""
        while not self._stop.is_set():
            if self._waiting.poll(1000 * POLL_SECONDS):
                chunk = os.read(self._descriptor, len(buffer))
                buffer[: len(chunk)] = chunk
                return len(chunk)
        return 0


def unpacked(file: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    """Return `file`, or what it unpacks to when its first bytes say gzip."""
    if file.peek(2)[:2] != GZIP_MAGIC:
        return file
    return io.BufferedReader(gzip.GzipFile(fileobj=file), BUFFER)


def text_lines(file: BinaryIO, stop: threading.Event | None = None) -> Iterator[Line | Broken]:
    """Yield the lines of `file` as text, numbered from 1; a line longer than 1 MiB comes as Broken.

    Raises:
        SourceBrokenError: the rest cannot be read.
    """
    number = 0
    try:
        for raw in iter(partial(file.readline, LONGEST_LINE), b""):
            number += 1
            if raw.endswith(b"\n"):
                yield decoded(number, raw)
            elif len(raw) == LONGEST_LINE:
                _skip_rest(file)
                yield Broken(number, "line_too_long", f"the line has more than {LONGEST_LINE} bytes")
            elif stop is None or not stop.is_set():
                yield decoded(number, raw)
    except EOFError as error:
        raise SourceBrokenError(
            "truncated_gzip", "the file ends within its packed data", number + 1
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise SourceBrokenError("damaged_gzip", str(error), number + 1) from error
    except OSError as error:
        raise SourceBrokenError("unreadable", str(error), number + 1) from error


def decoded(number: int, raw: bytes) -> Line | Broken:
    """Return the line as text: UTF-8, else Windows-1252 (CICIDS2017 has its dashes in labels)."""
    if number == 1:
        raw = raw.removeprefix(BYTE_ORDER_MARK)
    raw = raw.rstrip(b"\r\n")
    try:
        return number, raw.decode()
    except UnicodeDecodeError:
        pass
    try:
        return number, raw.decode("cp1252")
    except UnicodeDecodeError:
        return Broken(number, "not_text", "the line is neither UTF-8 nor Windows-1252")


def _skip_rest(file: BinaryIO) -> None:
    while (raw := file.readline(LONGEST_LINE)) and not raw.endswith(b"\n"):
        pass


@dataclass(frozen=True, slots=True)
class FollowedPart:
    """A file that may still grow, from its first byte until it is replaced, cut short, or the stop."""

    name: str
    chunks: Iterator[bytes | Idle]

    def lines(self) -> Iterator[Line | Broken | Idle]:
        """See Part; yields Idle while there is nothing new."""
        number = 0
        for chunk in self.chunks:
            if isinstance(chunk, Idle):
                yield chunk
                continue
            number += 1
            if len(chunk) >= LONGEST_LINE:
                yield Broken(number, "line_too_long", f"the line has more than {LONGEST_LINE} bytes")
            else:
                yield decoded(number, chunk)


def _followed(path: Path, options: ReadOptions) -> Iterator[Part]:
    if not path.is_file():
        raise UsageError(f"{path} is not a file; only a single file can be followed")
    if read_limited(path, 2) == GZIP_MAGIC:
        raise UsageError(f"{path} is packed with gzip and does not grow; read it without following")
    for life in follow(path, options.stop, POLL_SECONDS, LONGEST_LINE):
        with closing(life) as chunks:
            yield FollowedPart(path.name, chunks)
