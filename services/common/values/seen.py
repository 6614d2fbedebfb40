"""The highest revisions seen, on disk: an old value cannot be put back unnoticed while its reader is down either."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.replacing import replace_file
from services.common.sealed import MAX_REVISION, SeenRevisions

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk

FORMAT = 1
MOST_NAMES = 1000
_MOST_BYTES = 1 << 20


class SeenFile(SeenRevisions):
    """`SeenRevisions` kept in a file, `{"format": 1, "revisions": {NAME: N}}`, durable before `check` returns."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Read the file at `path`, where there is one.

        Raises:
            AppiaError: it cannot be read, or is damaged.
        """
        self._path = path
        self._disk = disk
        self._revisions = _read(path)
        super().__init__(self._revisions)

    def check(self, name: str, revision: int) -> None:
        """See SeenRevisions.

        Raises:
            NotOpened: a higher one was seen before.
            AppiaError: the file cannot be written, or would hold more than 1,000 names.
        """
        super().check(name, revision)
        if self._revisions.get(name) == revision:
            return
        changed = {**self._revisions, name: revision}
        if len(changed) > MOST_NAMES:
            raise AppiaError(
                f"{self._path} holds {MOST_NAMES} names, the most there may be: take out those that are used no more."
            )
        document = {"format": FORMAT, "revisions": changed}
        replace_file(self._disk, self._path, f"{json.dumps(document, sort_keys=True)}\n".encode())
        self._revisions = changed


def _read(path: Path) -> dict[str, int]:
    try:
        with path.open("rb") as file:
            revisions = _parse(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AppiaError(f"{path} could not be read ({error.strerror}): check its owner and disk.") from error
    if revisions is None:
        raise AppiaError(f"{path} is damaged: remove it when you know that no value was set back.")
    return revisions


def _parse(content: bytes) -> dict[str, int] | None:
    try:
        found = json.loads(content)
        revisions = dict(found["revisions"]) if found["format"] == FORMAT else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if revisions is None or not all(
        isinstance(name, str) and type(number) is int and 0 <= number <= MAX_REVISION
        for name, number in revisions.items()
    ):
        return None
    return revisions
