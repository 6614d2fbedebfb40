"""Follows the access file while a service runs: whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import TYPE_CHECKING

from services.common.access.table import AccessTable, parse_access
from services.common.errors import AppiaError
from services.common.following import FollowedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

MAX_BYTES = 4 << 20
LOOK_S = 1.0
_OTHERS = stat.S_IWGRP | stat.S_IRWXO


class AccessBook:
    """The keys of an access file as it is now; looked at once a second at most. Safe for several threads.

    A file that cannot be read or is damaged is logged, and the table before it stays. So keys are revoked by a file
    that says so, not by one that is gone.
    """

    def __init__(
        self, path: Path, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file; blocks on the disk.

        Raises:
            AppiaError: it cannot be read, others may change it, or it is no access file.
        """
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._file = FollowedFile(
            lambda: _read(path), lambda content: parse_access(content, str(path)), self._refuse
        )
        self._next_look = clock() + LOOK_S

    @property
    def table(self) -> AccessTable:
        """Every key, at most a second old. Blocks on the disk for a moment once a second."""
        if self._clock() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                if self._file.look():
                    self._tell(self._file.content)
                self._next_look = self._clock() + LOOK_S
            finally:
                self._lock.release()
        return self._file.content

    def _tell(self, table: AccessTable) -> None:
        keys = table.principals.values()
        revoked = sum(one.revoked for one in keys)
        self._log.info("the access file has changed", keys=len(keys) - revoked, revoked=revoked)

    def _refuse(self, why: str) -> None:
        self._log.error("the access file is not taken; the rights before it stay", reason=why)


def read_access(path: Path) -> AccessTable:
    """Read an access file once; blocks on the disk.

    Raises:
        AppiaError: it cannot be read, others may change it, or it is no access file.
    """
    return parse_access(_read(path), str(path))


def read_access_text(path: Path) -> str:
    """The text of an access file; blocks on the disk.

    Raises:
        AppiaError: it cannot be read, others may change it, or it is no text.
    """
    try:
        return _read(path).decode("utf-8")
    except UnicodeDecodeError:
        raise AppiaError(f"The access file {path} is not UTF-8: write it again as plain text.") from None


def _read(path: Path) -> bytes:
    """The content of an access file that nobody else may change."""
    try:
        # A named pipe in its place must not make a service wait.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            _check(path, os.fstat(handle))
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AppiaError(
            f"The access file {path} cannot be read ({error.strerror}): make one with `appia access new`."
        ) from None
    if len(content) > MAX_BYTES:
        raise AppiaError(
            f"The access file {path} has more than {MAX_BYTES} bytes: check that it is the right file."
        )
    return content


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AppiaError(f"The access file {path} is not a plain file: give the path of a plain file.")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise AppiaError(
            f"The access file {path} has mode {mode:04o}, so others may change or read it: run `chmod 0640 {path}`."
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise AppiaError(
            f"The access file {path} belongs to user {status.st_uid}, not to this user ({os.geteuid()}) or root: "
            f"run `chown {os.geteuid()} {path}` if it is meant to be used here."
        )
