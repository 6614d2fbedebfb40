"""The rules that are in use: as the file had them when it was sound last, also over a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError, UsageError
from services.common.following import FollowedFile
from services.common.replacing import replace_file
from services.health.alerts.ledger import FILE_MODE
from services.health.alerts.rules_file import default_rules, parse_rules, read_rules_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.common.durable import Disk
    from services.health.alerts.rules import Rules
    from services.health.readings import Signal


@dataclass(frozen=True)
class _Sound:
    """A content of the file that can be used."""

    data: bytes
    rules: Rules


class DefaultRules:
    """The rules that come with the product: no file is followed."""

    fault = ""

    def __init__(self, signals: Mapping[str, Signal]) -> None:
        """Read them. Blocks on the disk."""
        self.rules = default_rules(signals)

    def look(self) -> None:
        """Nothing changes."""


class FollowedRules:
    """A file of rules, taken up whole or not at all while health runs. `look` is for one thread."""

    def __init__(
        self,
        disk: Disk,
        files: tuple[Path, Path],
        signals: Mapping[str, Signal],
        faulty: Callable[[str], None],
    ) -> None:
        """Read the file; where it cannot be used, the copy of what could be used last. Blocks on the disk.

        Args:
            disk: what the copy is written through.
            files: the file, and where the copy is kept.
            signals: what rules may speak of.
            faulty: takes one sentence, once, when the file cannot be used any more, or the copy not be written.

        Raises:
            UsageError: the file cannot be used, and there is no copy.
        """
        self._disk, self._signals, self._faulty = disk, signals, faulty
        self._path, self._copy = files
        self._first: bytes | None = self._choose()
        self._file = FollowedFile(self._read, self._parse, faulty)
        self._keep()

    @property
    def rules(self) -> Rules:
        """The rules in use. For any thread."""
        return self._file.content.rules

    @property
    def fault(self) -> str:
        """Why the file as it is now is not in use; empty where it is."""
        return self._file.fault

    def look(self) -> None:
        """Take up what the file says now, if it can be used. Blocks on the disk."""
        if self._file.look():
            self._keep()

    def _choose(self) -> bytes:
        """The bytes to begin with."""
        try:
            return self._parse(read_rules_file(self._path)).data
        except UsageError as fault:
            try:
                return self._parse(read_rules_file(self._copy)).data
            except UsageError:
                raise fault from None

    def _read(self) -> bytes:
        data, self._first = self._first, None
        return read_rules_file(self._path) if data is None else data

    def _parse(self, data: bytes) -> _Sound:
        return _Sound(data, parse_rules(data, self._path, self._signals))

    def _keep(self) -> None:
        try:
            replace_file(self._disk, self._copy, self._file.content.data, FILE_MODE)
        except AppiaError as error:  # as on a full disk, of which somebody has to be told
            self._faulty(str(error))
