"""Log files that are numbered in one folder, of which the last one is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LogFiles:
    """Files such as `feedback-000001.log`; who writes always begins a new one."""

    folder: Path
    word: str

    def path(self, number: int) -> Path:
        """The file with a number."""
        return self.folder / f"{self.word}-{number:06d}.log"

    def numbers(self) -> list[int]:
        """Numbers of the files that there are, ascending; none where the folder does not exist."""
        if not self.folder.is_dir():
            return []
        found = (re.fullmatch(rf"{self.word}-(\d{{6}})\.log", entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)
