"""Values in a folder, for services that share one machine: `<folder>/<name>.value`, replaced by rename."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from services.common.locks import locked_file
from services.common.sealed import MAX_SEALED_BYTES
from services.common.values.port import ABSENT, Conflict, Stored, ValuesUnavailable, check_content, check_name

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk

_SUFFIX = ".value"
_LOCK = ".lock"


class FileValues:
    """The Values port over a folder, made by the first `put`. A version is made from the content."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def get(self, name: str) -> Stored | None:
        """See Values."""
        check_name(name)
        path = self._path(name)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_SEALED_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable(path, error) from error
        if len(content) > MAX_SEALED_BYTES:
            raise ValuesUnavailable(
                f"{path} has more than {MAX_SEALED_BYTES} bytes and is no value: look who put it there."
            )
        return Stored(content, _version(content))

    def put(self, name: str, content: bytes, version: int) -> None:
        """See Values."""
        check_name(name)
        check_content(name, content)
        path = self._path(name)
        try:
            self._disk.make_folder(self._folder)
            with locked_file(self._disk, self._folder / _LOCK):
                found = self.get(name)
                if (ABSENT if found is None else found.version) != version:
                    raise Conflict(f"{path} was changed by another one since it was read: read it again.")
                self._disk.write_file(path, content)
        except OSError as error:
            raise _unavailable(path, error) from error

    def where(self, name: str) -> str:
        """See Values. The folder is no part of it: a state directory may be moved."""
        return f"values/{name}"

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"


def _version(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") | 1  # never ABSENT


def _unavailable(path: Path, error: OSError) -> ValuesUnavailable:
    return ValuesUnavailable(f"{path} cannot be used ({error.strerror}): check its owner, mode and disk.")
