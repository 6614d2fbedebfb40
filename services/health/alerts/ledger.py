"""The one file of what alerts remember: alerts and messages change together, so no kill can come between them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pydantic import ValidationError

from services.common.errors import AppiaError
from services.common.replacing import replace_file
from services.health.alerts.state import Kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.durable import Disk

FILE_MODE = 0o600
MOST_BYTES = 256 << 20


class Ledger:
    """What is remembered, and its file. Safe for several threads.

    Where the file cannot be written, as on a full disk, all goes on in memory: an alert about that disk has to get out.
    The next change tries again.
    """

    def __init__(
        self, disk: Disk, path: Path, origin: Callable[[], str], faulty: Callable[[str], None]
    ) -> None:
        """Read the file, or begin with nothing. Blocks on the disk.

        Args:
            disk: what the file is written through.
            path: the file; its folder has to be there.
            origin: gives a few random characters, which numbers of messages begin with; asked where there is no file.
            faulty: takes a sentence about what is wrong with the file, once for each fault.

        Raises:
            AppiaError: the file is of a later version.
        """
        self._disk, self._path, self._faulty = disk, path, faulty
        self._lock = threading.Lock()
        self.fault = ""
        self.kept = self._read() or Kept(origin=origin())
        self._unsaved = False

    def change(self, change: Callable[[Kept], Kept]) -> Kept:
        """Put what `change` gives in the place of what is remembered; durable when this returns. Blocks on the disk.

        Values and texts of alerts alone are not worth a write: they are as new as the next reading.
        """
        with self._lock:
            before, self.kept = self.kept, change(self.kept)
            if self._unsaved or _worth_keeping(self.kept) != _worth_keeping(before):
                self._save()
            return self.kept

    def _save(self) -> None:
        try:
            replace_file(self._disk, self._path, self.kept.model_dump_json().encode(), FILE_MODE)
        except AppiaError as error:
            self._unsaved = True
            self._tell(str(error))
        else:
            self._unsaved = False
            self._tell("")

    def _read(self) -> Kept | None:
        data = read_bytes(self._path)
        if data is None:
            return None
        try:
            return read_kept(data, self._path)
        except ValueError:
            aside = self._path.with_suffix(".damaged")
            self._disk.rename(self._path, aside)
            self._tell(
                f"{self._path} was damaged and is {aside.name} now: alerts begin anew, some are told twice."
            )
            return None

    def _tell(self, fault: str) -> None:
        if fault and fault != self.fault:
            self._faulty(fault)
        self.fault = fault


def read_bytes(path: Path) -> bytes | None:
    """The file's content; None where there is none.

    Raises:
        AppiaError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AppiaError(
            f"{path} cannot be read ({error.strerror}): check its owner and the disk."
        ) from error


def read_kept(data: bytes, path: Path) -> Kept:
    """What the file says.

    Raises:
        ValueError: it is damaged.
        AppiaError: it is of a later version.
    """
    try:
        return Kept.model_validate_json(data)
    except ValidationError as error:
        if any(fault["loc"] == ("version",) and fault["type"] == "literal_error" for fault in error.errors()):
            raise AppiaError(
                f"{path} was written by a later version of appia: start that one, or move the file away."
            ) from None
        raise


def _worth_keeping(kept: Kept) -> Kept:
    alerts = tuple(alert.model_copy(update={"value": 0.0, "text": ""}) for alert in kept.alerts)
    return kept.model_copy(update={"alerts": alerts})
