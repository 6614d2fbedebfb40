"""Files of storage keys, which wrap the keys of encrypted logs.

    <keys>/rest/storage.keys    64 hex characters a line, the newest key last; mode 0400

The newest key is for files that are begun, the others are for reading. One file holds them all, so that it can be
handed to a service as one systemd credential, and so that a rotation is one rename.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.following import FollowedFile
from services.common.hkdf import KEY_BYTES
from services.common.locks import locked_folder
from services.common.replacing import replace_file
from services.common.rest.log_keys import WrappingKey
from services.common.secret_files import (
    SECRET_MODE,
    create_secret_file,
    make_secret_folder,
    read_secret_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

MOST_KEYS = 64
_LINE = 2 * KEY_BYTES + 1
_HEX = frozenset("0123456789abcdef")


def storage_keys_file(keys: Path) -> Path:
    """Where the storage keys lie in a folder of keys."""
    return keys / "rest" / "storage.keys"


def storage_keys_in(keys: Path) -> Path | None:
    """The file of storage keys in a folder of keys; None where it is not there."""
    path = storage_keys_file(keys)
    return path if path.exists() else None


def read_storage_keys(path: Path) -> list[WrappingKey]:
    """The keys in a file, the newest last. Blocks on the disk only.

    Raises:
        AppiaError: it cannot be read, has another mode or owner than a secret may have, or holds something else.
            The content is never quoted.
    """
    return _parse(path, _read(path))


def _read(path: Path) -> bytes:
    return read_secret_file(path, MOST_KEYS * _LINE)


def _parse(path: Path, content: bytes) -> list[WrappingKey]:
    lines = content.decode("ascii", "replace").split()
    if not lines or not all(len(line) == 2 * KEY_BYTES and _HEX.issuperset(line) for line in lines):
        raise AppiaError(
            f"{path} holds no storage keys: it should have {2 * KEY_BYTES} hex characters in small letters a line; "
            "make one with `appia keys storage new`."
        )
    keys = [WrappingKey(bytes.fromhex(line)) for line in lines]
    if len({key.key_id for key in keys}) != len(keys):
        raise AppiaError(f"{path} holds a storage key twice: take one of the two lines out.")
    return keys


def new_storage_keys(disk: Disk, path: Path) -> WrappingKey:
    """Make a file with one random key; its folder is made with mode 0700 where it is missing.

    Raises:
        UsageError: the file is there already; it is never overwritten.
        AppiaError: it cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    make_secret_folder(disk, path.parent)
    create_secret_file(disk, path, f"{key.hex()}\n".encode())
    return WrappingKey(key)


def rotate_storage_keys(disk: Disk, path: Path) -> WrappingKey:
    """Put a new random key behind those in a file, in one step; gives it. Waits while another rotation is made.

    Raises:
        AppiaError: the file cannot be read or written, or is full.
    """
    try:
        with locked_folder(path.parent):
            return _rotate(disk, path)
    except OSError as error:
        raise AppiaError(
            f"{path.parent} cannot be opened ({error.strerror}): check its name and owner."
        ) from None


def _rotate(disk: Disk, path: Path) -> WrappingKey:
    content = _read(path)
    if len(_parse(path, content)) >= MOST_KEYS:
        raise AppiaError(
            f"{path} has {MOST_KEYS} keys and takes no more: take out the first lines, of which no file is left."
        )
    key = secrets.token_bytes(KEY_BYTES)
    lines = [*content.decode("ascii").split(), key.hex()]
    replace_file(disk, path, "".join(f"{line}\n" for line in lines).encode(), SECRET_MODE)
    return WrappingKey(key)


class PlainLogs:
    """The `LogKeys` of who has no storage key: new files are plain, encrypted ones cannot be read."""

    allows_plain = True

    def for_new_files(self) -> None:
        """None: files are written as they are."""

    def find(self, key_id: int, path: Path) -> WrappingKey:
        """Raises AppiaError: there is no key."""
        raise AppiaError(_encrypted(path, key_id))


NO_KEYS = PlainLogs()
"""The one there is; it holds no state."""


class StorageKeys:
    """The `LogKeys` of a file of storage keys, which is followed: a new key counts for the next file that is begun.

    A file that became unreadable meanwhile is reported, and the last good keys stay. Safe for several threads.
    """

    def __init__(
        self, path: Path, report: Callable[[str], None], *, require_encryption: bool = False
    ) -> None:
        """Read the keys.

        Args:
            path: file of storage keys.
            report: takes one sentence when the file can no longer be read.
            require_encryption: refuse to read logs that are not encrypted.

        Raises:
            AppiaError: the file cannot be used.
        """
        self.allows_plain = not require_encryption
        self._path = path
        self._lock = threading.Lock()
        self._file = FollowedFile(
            lambda: _read(path),
            lambda content: _parse(path, content),
            lambda why: report(f"the storage keys read before stay in use: {why}"),
        )

    def for_new_files(self) -> WrappingKey:
        """The newest key."""
        return self._latest()[-1]

    def find(self, key_id: int, path: Path) -> WrappingKey:
        """The key with an id.

        Raises:
            AppiaError: the file of keys has none for the log at `path`.
        """
        found = _with_id(self._file.content, key_id) or _with_id(self._latest(), key_id)
        if found is None:
            raise AppiaError(f"{_encrypted(path, key_id)} {self._path} has other keys.")
        return found

    def _latest(self) -> Sequence[WrappingKey]:
        with self._lock:
            self._file.look()
            return self._file.content


def _with_id(keys: Sequence[WrappingKey], key_id: int) -> WrappingKey | None:
    return next((key for key in keys if key.key_id == key_id), None)


def open_log_keys(
    path: Path | None, report: Callable[[str], None], *, require_encryption: bool = False
) -> LogKeys:
    """The keys that a service's settings name: those in the file `path`, or none.

    Raises:
        AppiaError: the file cannot be used, or encryption is required and no file named.
    """
    if path is not None:
        return StorageKeys(path, report, require_encryption=require_encryption)
    if require_encryption:
        raise AppiaError(
            "require_encryption is true and storage_key names no file: name it, or take the former out."
        )
    return NO_KEYS


def _encrypted(path: Path, key_id: int) -> str:
    return (
        f"{path} is encrypted with the storage key {key_id:016x}: name the file that holds it as storage key."
    )
