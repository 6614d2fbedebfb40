"""What a service remembers about configurations: the last good one, the one on trial, and the one that it refused.

    {"format": 1, "good": {"revision", "values"}, "trying": null or {"revision", "values", "tries"},
     "refused": null or {"revision", "values", "why"}}

in `<state>/run/config-<service>.json`. Where the store is away at the start, the last good one is used. `trying` is
written before a configuration is taken, so that one which ends the process is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field, ValidationError

from services.common.config.document import Frozen, Stored
from services.common.errors import AppiaError
from services.common.replacing import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk

_MOST_BYTES = 1 << 20


class Taken(Frozen):
    """Live values of one section, as some revision of the document had them."""

    revision: int = Field(default=0, ge=0)
    values: dict[str, Stored] = Field(default_factory=dict)


class Trying(Taken):
    """Taken, and not known to be good yet; `tries` counts the starts with it."""

    tries: int = Field(default=1, ge=1)


class Refused(Taken):
    """Found to be bad, and why."""

    why: str


class Remembered(Frozen):
    """All of it."""

    format: Literal[1] = 1
    good: Taken = Taken()
    trying: Trying | None = None
    refused: Refused | None = None


class Memory(Protocol):
    """Where it is remembered. Used by one thread at a time."""

    def read(self) -> Remembered:
        """What is remembered. Blocks on the disk. Raises AppiaError where it cannot be read."""

    def write(self, remembered: Remembered) -> None:
        """Remember this; durable on return. Raises AppiaError where it cannot be written."""


class MemoryFile:
    """The Memory port over a file, for services that may write."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk

    def read(self) -> Remembered:
        """See Memory."""
        try:
            with self._path.open("rb") as file:
                return Remembered.model_validate_json(file.read(_MOST_BYTES))
        except FileNotFoundError:
            return Remembered()
        except OSError as error:
            raise AppiaError(f"{self._path} could not be read ({error.strerror}).") from error
        except ValidationError:
            raise AppiaError(f"{self._path} is damaged, and what was remembered in it is lost.") from None

    def write(self, remembered: Remembered) -> None:
        """See Memory."""
        replace_file(self._disk, self._path, f"{remembered.model_dump_json()}\n".encode())


class MemoryOfProcess:
    """The Memory port of a replica, which changes no files: it ends with the process."""

    def __init__(self) -> None:
        self._remembered = Remembered()

    def read(self) -> Remembered:
        """See Memory."""
        return self._remembered

    def write(self, remembered: Remembered) -> None:
        """See Memory."""
        self._remembered = remembered
