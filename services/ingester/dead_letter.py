"""What could not be taken in is kept with its reason, in the log's format, up to a cap.

refused-000001.log    what was refused; a start begins a new file with the first refusal
taken-000001.log      which of it was taken in later (`replay.py`)
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgpack

from services.common.days.log import LogWriter
from services.common.days.log_format import REFUSED
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

SAMPLED_A_SECOND = 10
"""Forged frames are only sampled: anybody who reaches the port can make them."""


@dataclass(frozen=True)
class DeadLetterNames:
    """Files of a dead letter."""

    folder: Path

    def refused(self, number: int) -> Path:
        """The n-th log of what was refused."""
        return self.folder / f"refused-{number:06d}.log"

    def taken(self, number: int) -> Path:
        """The n-th log of what was taken in later."""
        return self.folder / f"taken-{number:06d}.log"

    def numbers(self, kind: str) -> list[int]:
        """Numbers of the logs of a kind (refused or taken), ascending."""
        if not self.folder.is_dir():
            return []
        found = (re.fullmatch(rf"{kind}-(\d+)\.log", path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)


class DeadLetter:
    """Appends refused bytes; each record is msgpack {"reason", "detail", "origin", "received_ns", "data"}.

    `counts` counts by reason all that was refused, also what was not kept because the cap was reached (`not_kept`).
    Not safe for several threads.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        cap_bytes: int,
        clock: Callable[[], int],
        keys: LogKeys = NO_KEYS,
    ) -> None:
        """Keep files in `folder`, in all at most `cap_bytes`; `clock` gives nanoseconds since 1970."""
        self._disk = disk
        self._names = DeadLetterNames(folder)
        self._clock = clock
        self._keys = keys
        self._log: LogWriter | None = None
        self._records = 0  # in the file that is written
        self._cap = cap_bytes
        self._room = 0
        self.measure()
        self._second = 0
        self._sampled = 0
        self.counts: Counter[str] = Counter()
        self.not_kept = 0

    def measure(self) -> None:
        """See how much room there is, after files were removed."""
        self._room = self._cap - _folder_size(self._names.folder)

    def resize(self, cap_bytes: int) -> None:
        """Keep at most so much from now on; what is kept already stays."""
        self._room += cap_bytes - self._cap
        self._cap = cap_bytes

    def keep(self, reason: str, detail: str, origin: str, data: bytes) -> None:
        """Append one refused event or frame; durable after `sync`.

        Raises:
            OSError: it could not be written; it is not counted then. Where the disk is full, it may be tried again.
        """
        now = self._clock()
        record = {"reason": reason, "detail": detail, "origin": origin, "received_ns": now, "data": data}
        packed: bytes = msgpack.packb(record)
        if len(packed) > self._room:
            self.counts[reason] += 1
            self.not_kept += 1
            return
        if self._log is None:
            self._log = self._open()
        before = self._log.size
        self._log.append(REFUSED, self._records, [packed])
        self.counts[reason] += 1
        self._records += 1
        self._room -= self._log.size - before

    def sample(self, reason: str, detail: str, origin: str, data: bytes) -> None:
        """Count a forged frame, and keep it unless many came within the same second.

        Forged frames take at most half of the cap, so that nobody without a key can keep out what is refused.
        """
        second = self._clock() // 1_000_000_000
        if second != self._second:
            self._second, self._sampled = second, 0
        self._sampled += 1
        if self._sampled > SAMPLED_A_SECOND or self._room < self._cap // 2:
            self.counts[reason] += 1
            self.not_kept += 1
        else:
            self.keep(reason, detail, origin, data)

    def sync(self) -> None:
        """Block until everything kept is on disk."""
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Sync and close."""
        if self._log is not None:
            self._log.close()

    def _open(self) -> LogWriter:
        self._disk.make_folder(self._names.folder)
        number = max(self._names.numbers("refused"), default=0) + 1
        return LogWriter(self._disk, self._names.refused(number), self._keys)


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
