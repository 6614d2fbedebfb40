"""Where days are published: a folder, or whatever else fsspec knows by its URL. Paths are those of the state directory.

A folder takes files that grow as they grow; other places get whole files. A file that is put is there whole or not at
all: in a folder and on other file systems it is written beside its place and renamed; an object store does it by
itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import fsspec
from fsspec.core import url_to_fs

from services.common.backup.places import check_apart, folder_of
from services.common.errors import UsageError
from services.origin.fsspec_store import FsspecStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from services.common.durable import Disk

FILE = "file"
_OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "obs", "memory"}
)
"""Protocols whose files appear whole when they are closed, and that cannot rename."""
_OF_A_WRITER = ("writer.lock", "writer.json")
_STAGED = ".staged"
_VERSION = "VERSION"


class Store(Protocol):
    """Takes published files. Every call blocks, and raises `OSError` where the place fails or is away."""

    @property
    def appends(self) -> bool:
        """Whether a file can grow there."""

    def check(self) -> None:
        """Raise unless the place is there. It is never made: a share that is not mounted must stay empty."""

    def sizes(self, folder: str) -> Mapping[str, int | None]:
        """What is in a folder by its name: the size of a file in bytes, None of a folder; nothing where it is not."""

    def read(self, path: str, start: int, length: int) -> bytes | None:
        """Bytes of a file; None where there is no such file."""

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """Put a file whole, in the place of what is there."""

    def append(self, path: str, chunks: Iterable[bytes]) -> None:
        """Add to the end of a file that is there."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all it holds; nothing happens where there is none."""


class FolderStore:
    """A folder of this machine, such as a mounted share."""

    appends = True

    def __init__(self, root: Path, disk: Disk) -> None:
        """Publish into `root`, which an operator made."""
        self._root = root
        self._disk = disk
        self._had_days = False

    def check(self) -> None:
        """As the port says.

        Raises:
            UsageError: an ingester writes there.
            OSError: it is not there, or what was published there is not: the share was taken away under its folder.
        """
        names = os.listdir(self._root)  # noqa: PTH208 - raises as it is read, not later
        if not set(_OF_A_WRITER).isdisjoint(names):
            raise UsageError(f"{self._root} is a state directory that an ingester writes: publish elsewhere.")
        if self._had_days and _VERSION not in names:
            raise FileNotFoundError(f"{self._root} has lost what was published there: is the share mounted?")
        self._had_days = _VERSION in names

    def sizes(self, folder: str) -> Mapping[str, int | None]:
        """As the port says."""
        try:
            with os.scandir(self._root / folder) as entries:
                return {one.name: None if one.is_dir() else one.stat().st_size for one in entries}
        except FileNotFoundError:
            return {}

    def read(self, path: str, start: int, length: int) -> bytes | None:
        """As the port says."""
        try:
            with (self._root / path).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except FileNotFoundError:
            return None

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """As the port says; durable when this returns."""
        final = self._root / path
        self._had_days = True
        self._disk.make_folder(final.parent)
        staged = final.with_name(f".{final.name}{_STAGED}")
        with self._disk.new_file(staged) as file:
            for chunk in chunks:
                file.write(chunk)
            file.sync()
        self._disk.rename(staged, final)

    def append(self, path: str, chunks: Iterable[bytes]) -> None:
        """As the port says; durable when this returns."""
        with self._disk.append_to(self._root / path) as file:
            for chunk in chunks:
                file.write(chunk)
            file.sync()

    def remove(self, path: str) -> None:
        """As the port says."""
        self._disk.remove(self._root / path)


def open_store(url: str, state: Path, disk: Disk) -> Store:
    """The place that `url` names: `file:///PATH` or a path, or a URL of fsspec. Does not look at it yet.

    Raises:
        UsageError: it holds a password, is not known here, or lies in the state directory.
    """
    parts = urlsplit(url)
    if parts.password:
        raise UsageError("The setting publish must hold no password: give it to fsspec, see docs/mirror.md.")
    if parts.scheme in {"", FILE}:
        folder = folder_of(url)
        check_apart(state, folder)
        return FolderStore(folder, disk)
    if parts.scheme not in fsspec.available_protocols():
        raise UsageError(f"{parts.scheme}:// is no place that fsspec knows: see docs/mirror.md.")
    try:
        filesystem, root = url_to_fs(url, skip_instance_cache=True)
    except (ImportError, ValueError, OSError) as error:
        raise UsageError(f"{parts.scheme}:// cannot be used here: {error}.") from None
    return FsspecStore(filesystem, root, renames=parts.scheme not in _OBJECT_STORES)
