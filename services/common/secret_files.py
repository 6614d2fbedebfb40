"""Files that hold secrets: seeds, private keys, passwords. Who may read them is checked at every reading."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import AppiaError, UsageError
from services.common.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.durable import Disk

SECRET_MODE = 0o400
SECRET_FOLDER_MODE = 0o700
CREDENTIAL_MODES = frozenset({SECRET_MODE, 0o440})
"""What systemd's LoadCredential= gives: 0440 where the service's user reads by an access control list."""
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"


def read_secret_file(path: Path, most_bytes: int, environ: Mapping[str, str] = os.environ) -> bytes:
    """Read a secret of at most `most_bytes` bytes, exactly as it lies in the file. Blocks on the disk only.

    The file is plain, has mode 0400 (below `$CREDENTIALS_DIRECTORY` 0440 too) and belongs to this user or to
    root. It is checked by the opened file, so that nobody can put another in its place in between.

    Raises:
        AppiaError: no such file, one of another kind, mode, owner or length. The content is never quoted.
    """
    try:
        # Without waiting: a named pipe in the place of the file would hold up the start for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            _check(path, os.fstat(handle), environ)
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise AppiaError(
            f"The secret file {path} could not be read ({error.strerror}): check its name and owner."
        ) from error
    if len(content) > most_bytes:
        raise AppiaError(
            f"The secret file {path} has more than {most_bytes} bytes: check that it is the right file."
        )
    return content


def create_secret_file(disk: Disk, path: Path, data: bytes) -> None:
    """Write a secret to `path`, whole or not at all, with mode 0400; durable when this returns. Blocks.

    The folder must be there; one writer at a time.

    Raises:
        UsageError: the file exists; it is never overwritten.
        AppiaError: the folder cannot be written.
    """
    if os.path.lexists(path):
        raise UsageError(f"{path} exists and is not overwritten: choose another name for the new secret.")
    replace_file(disk, path, data, SECRET_MODE)


def make_secret_folder(disk: Disk, path: Path) -> None:
    """Make a folder for secrets, and what is missing above it, with mode 0700; one that is there stays as it is.

    Raises:
        AppiaError: it cannot be made.
    """
    try:
        disk.make_folder(path, SECRET_FOLDER_MODE)
    except OSError as error:
        raise AppiaError(
            f"The folder {path} could not be made ({error.strerror}): check the folder above it, owner and disk."
        ) from error


def secret_in(folder: Path, name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The path of the file `name` in a folder of secrets; looks whether the folder is there.

    systemd has no folders among its credentials: with LoadCredential=ID:FOLDER the file `a/b` of FOLDER becomes
    `$CREDENTIALS_DIRECTORY/ID_a_b` (systemd.exec(5)). So `$CREDENTIALS_DIRECTORY/ID_a` stands for the folder `a` here.
    """
    if _is_credential(folder, environ) and not folder.is_dir():
        return folder.with_name(f"{folder.name}_{name}")
    return folder / name


def _check(path: Path, status: os.stat_result, environ: Mapping[str, str]) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AppiaError(f"The secret file {path} is not a plain file: give the path of a plain file.")
    mode = stat.S_IMODE(status.st_mode)
    if mode not in _allowed_modes(path, environ):
        raise AppiaError(
            f"The secret file {path} has mode {mode:04o} and must have 0400, so that nobody else reads or "
            f"changes it: run `chmod 0400 {path}`, and make a new secret if others could have read this one."
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise AppiaError(
            f"The secret file {path} belongs to user {status.st_uid}, not to this user ({os.geteuid()}) "
            f"or root: run `chown {os.geteuid()} {path}` if it is meant to be used here."
        )


def _allowed_modes(path: Path, environ: Mapping[str, str]) -> frozenset[int]:
    return CREDENTIAL_MODES if _is_credential(path, environ) else frozenset({SECRET_MODE})


def _is_credential(path: Path, environ: Mapping[str, str]) -> bool:
    credentials = environ.get(CREDENTIALS_VARIABLE, "")
    return bool(credentials) and path.resolve().is_relative_to(Path(credentials).resolve())
