"""What of a state directory belongs to a backup: everything but what the rules here leave out.

So a folder that a later release adds is copied without a word here. Left out is what is made again from the rest
(indices of open segments, the cache of narratives), what says only who runs now (registry, endpoints, locks), what is
being made, the watched folder, which is the sensors', and the memory of the last day's frames of version 1, which
raises alarms only and differs all over from one backup to the next.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LEFT_OUT = {("cache",), ("registry",), ("inbox",), ("endpoints.json",), ("run", "v1-seen")}


class Kind(Enum):
    """How a file changes; a backup copies them in this order."""

    LOOSE = 0
    """Replaced whole at any time, by who knows what is in the logs: so it must not be newer than them."""
    LOG = 1
    """Grows at any time."""
    PUBLISHED = 2
    """Never changed, or only by a publication: sealed days, the pointers at them, models, and all that is not known."""


@dataclass(frozen=True)
class Found:
    """One file: its path below the state directory, joined by "/"; how it changes; what the system says of it."""

    path: str
    kind: Kind
    stat: os.stat_result

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """Differs where the content may differ; of a log only where it is another file."""
        if self.kind is Kind.LOG:
            return self.path, self.stat.st_ino, 0, 0
        return self.path, self.stat.st_ino, self.stat.st_size, self.stat.st_mtime_ns


@dataclass(frozen=True)
class Survey:
    """The files of a state directory at one moment, in the order in which they are copied."""

    files: tuple[Found, ...]
    faults: tuple[str, ...]

    @property
    def publication(self) -> frozenset[tuple[str, int, int, int]]:
        """Changes whenever a day, a segment, a pointer or anything else that is not `LOOSE` comes, goes or differs."""
        return frozenset(found.identity for found in self.files if found.kind is not Kind.LOOSE)


def survey(root: Path, *, keys: bool) -> Survey:
    """List what belongs to a backup of the state directory `root`, secrets only where `keys` says so.

    A link is followed in the state directory itself, where operators put them; elsewhere it is a fault.
    """
    faults: list[str] = []
    files = sorted(_files(root, (), keys, faults), key=lambda found: (found.kind.value, found.path))
    return Survey(tuple(files), tuple(faults))


def _files(folder: Path, inside: tuple[str, ...], keys: bool, faults: list[str]) -> Iterator[Found]:  # noqa: FBT001
    for entry in _entries(folder):
        parts = (*inside, entry.name)
        if _is_left_out(parts, keys=keys):
            continue
        if entry.is_dir(follow_symlinks=not inside):
            yield from _files(folder / entry.name, parts, keys, faults)
        elif entry.is_file(follow_symlinks=not inside):
            with suppress(FileNotFoundError):  # gone since it was listed; the next survey differs
                yield Found("/".join(parts), _kind(parts), entry.stat())
        elif os.path.lexists(entry.path):
            faults.append(f"{entry.path} is neither a file nor a folder: it is not in the backup")


def _entries(folder: Path) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return ()


def _is_left_out(parts: tuple[str, ...], *, keys: bool) -> bool:
    name = parts[-1]
    if parts in _LEFT_OUT or name.startswith(".") or name.endswith(".lock"):
        return True
    match parts:
        case ("keys",):
            return not keys
        case ("run", _):
            # Settings name this very directory: a service that is started with a copy of them would write the original.
            return name.endswith((".log", ".toml"))
        case ("days", _, "open", _, _):
            return not name.endswith(".log")
        case ("days", _, "sealed", _) | ("days", _, "sealed", _, _, _):
            return name.startswith("staging") or name == "reindex"
    return False


def _kind(parts: tuple[str, ...]) -> Kind:
    match parts:
        case ("run" | "values", *_):
            return Kind.LOOSE
        case ("days", _, "open", *_) | ("feedback" | "decisions" | "dead-letter", *_) if parts[-1].endswith(
            ".log"
        ):
            return Kind.LOG
    return Kind.PUBLISHED
