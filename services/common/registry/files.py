"""A registry in a folder, for services that share one machine and have no etcd.

`<root>/<kind>/<name>.json`, replaced by rename; docs/registry.md describes every field.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.durable import REAL, Disk
from services.common.registry import record
from services.common.registry.port import (
    MAX_TTL_S,
    Entry,
    Info,
    NameTaken,
    Registration,
    RegistryUnavailable,
    check_label,
    check_ttl,
)
from services.common.registry.process import ProcessMark, this_place, this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SUFFIX = ".json"
_YEAR_9999 = 253_402_300_800  # seconds since the epoch; an integer beyond it may not fit into a float


class FileRegistry:
    """The Registry port over a folder; made when the first entry is registered.

    File operations take no timeout: on a local disk they return at once, on a network mount that hangs
    they hang.

    Args:
        root: The folder, normally `<state>/registry`.
        clock: Seconds since the epoch, the same clock for all services of the machine.
        disk: What entries are written with.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time, disk: Disk = REAL) -> None:
        self._root = root
        self._clock = clock
        self._disk = disk
        self._closed = False

    def register(self, entry: Entry, ttl_s: float) -> Registration:
        """See Registry."""
        check_ttl(ttl_s)
        self._refuse_when_closed()
        folder = self._root / entry.kind
        try:
            self._disk.make_folder(folder)
            for leftover in folder.glob(f".{entry.name}{_SUFFIX}.*"):
                self._disk.remove(leftover)
        except OSError as error:
            raise _unavailable(folder, error) from error
        place = _Place(folder / f"{entry.name}{_SUFFIX}", entry, ttl_s)
        registration = _FileRegistration(self._disk, self._clock, place)
        registration.write(entry.info)
        return registration

    def entries(self, kind: str) -> list[Entry]:
        """See Registry."""
        check_label("kind", kind)
        self._refuse_when_closed()
        folder = self._root / kind
        now, here = self._clock(), this_place()
        found = []
        try:
            for path in sorted(_entry_files(folder)):
                fields = _read(path)
                entry = None if fields is None else _live_entry(path, fields, now, here)
                if entry is not None:
                    found.append(entry)
        except OSError as error:
            raise _unavailable(folder, error) from error
        return found

    def faults(self) -> tuple[str, ...]:
        """See Registry; the entries in a folder are not sealed: who may write there may change everything."""
        return ()

    def close(self) -> None:
        """See Registry."""
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RegistryUnavailable(f"The registry in {self._root} was closed by this process.")


@dataclass(frozen=True)
class _Place:
    path: Path
    entry: Entry
    ttl_s: float


class _FileRegistration:
    def __init__(self, disk: Disk, clock: Callable[[], float], place: _Place) -> None:
        self._disk = disk
        self._clock = clock
        self._path = place.path
        self._entry = place.entry
        self._ttl_s = place.ttl_s
        self._token = secrets.token_hex(8)
        self._mark = this_process()
        self._withdrawn = False

    def heartbeat(self, info: Info) -> None:
        """See Registration."""
        checked = Entry(self._entry.kind, self._entry.name, self._entry.address, info).info
        if self._withdrawn:
            raise RegistryUnavailable(f"{self._entry.kind}/{self._entry.name} was withdrawn by this process.")
        fields = self._read()
        if fields is not None and fields.get("token") != self._token:
            holder = _live_entry(self._path, fields, self._clock(), this_place())
            if holder is not None:
                raise NameTaken(
                    f"{holder.kind}/{holder.name} is registered by another process at {holder.address}; "
                    "give each service its own name."
                )
        self.write(checked)

    def withdraw(self) -> None:
        """See Registration."""
        if self._withdrawn:
            return
        fields = self._read()
        if fields is not None and fields.get("token") == self._token:
            try:
                self._disk.remove(self._path)
            except OSError as error:
                raise _unavailable(self._path, error) from error
        self._withdrawn = True

    def write(self, info: Info) -> None:
        """Replace the file. It is not fsynced: after a power cut nobody who is named in it lives."""
        fields = {
            "kind": self._entry.kind,
            "name": self._entry.name,
            "address": self._entry.address,
            "token": self._token,
            "ttl_s": self._ttl_s,
            "expires_at": self._clock() + self._ttl_s,
            "pid": self._mark.pid,
            "start_ticks": self._mark.start_ticks,
            "place": self._mark.place,
        }
        data = record.encode(fields, info)
        staged = self._path.with_name(f".{self._path.name}.{self._token}")
        try:
            self._disk.make_folder(self._path.parent)
            self._disk.put(staged, data)
            self._disk.calls.rename(staged, self._path)
        except OSError as error:
            raise _unavailable(self._path, error) from error

    def _read(self) -> dict[str, Any] | None:
        try:
            return _read(self._path)
        except OSError as error:
            raise _unavailable(self._path, error) from error


def _entry_files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as listing:
            for item in listing:
                visible = not item.name.startswith(".") and item.name.endswith(_SUFFIX)
                if visible and item.is_file(follow_symlinks=False):
                    yield folder / item.name
    except FileNotFoundError:
        return


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            return record.decode(file.read(record.MAX_BYTES + 1))
    except (FileNotFoundError, PermissionError):
        return None


def _live_entry(path: Path, fields: dict[str, Any], now: float, here: str) -> Entry | None:
    if (fields.get("kind"), fields.get("name")) != (path.parent.name, path.name.removesuffix(_SUFFIX)):
        return None
    left, mark = _seconds_left(fields, now), ProcessMark.parse(fields)
    if left is None or mark is None or mark.is_gone(here):
        return None
    return record.listed(path.parent.name, path.name.removesuffix(_SUFFIX), fields, left)


def _seconds_left(fields: dict[str, Any], now: float) -> float | None:
    expires_at, ttl_s = fields.get("expires_at"), fields.get("ttl_s")
    if not isinstance(expires_at, (int, float)) or not isinstance(ttl_s, (int, float)):
        return None
    if not (expires_at < _YEAR_9999 and ttl_s <= MAX_TTL_S):
        return None
    left = expires_at - now
    # More left than was given means that the clock was set back; a living process writes again at once.
    return left if 0 < left <= ttl_s else None


def _unavailable(path: Path, error: OSError) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"The file registry cannot use {path} ({error.strerror}); check its owner, mode and free space."
    )
