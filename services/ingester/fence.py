"""One writer: a lock for the machine, an epoch in the state directory, and with etcd one in the registry.

The lock (flock(2)) keeps a second ingester of this machine out for as long as the first lives, kill -9 included. The
epochs are for what a lock does not see: a state directory on a network disk, in two containers, copied while in use.
Who starts takes a higher epoch than there is; who finds one that is higher than its own has been replaced, and stops.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from services.common.errors import AppiaError
from services.common.registry.connect import check_registry_url
from services.common.registry.port import RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.ingester.settings import IngesterSettings

FORMAT = 1
LOOK_S = 2.0
_MOST_BYTES = 4096
_TOKEN_BYTES = 16


class Fenced(AppiaError):  # noqa: N818 - it names a state of the world, not a fault of the caller
    """Another writer has taken this one's place, with a higher epoch."""


class Epoch(Protocol):
    """One place where the number of the writer is kept. Used by one thread at a time; every call may block on it."""

    def take(self) -> None:
        """Become the writer with a higher epoch than any before.

        Raises:
            AppiaError: another writer lives.
            RegistryUnavailable: the place does not answer; `keep` takes it as soon as it does.
        """

    def keep(self) -> None:
        """See that this is still the writer, and say that it lives.

        Raises:
            Fenced: it is not.
            RegistryUnavailable: the place does not answer; nothing is known, so the writer goes on.
        """

    def give_back(self) -> None:
        """Say that this writer has ended. Raises RegistryUnavailable as `keep` does."""

    @property
    def number(self) -> int:
        """The epoch that this writer holds; 0 where it has none yet."""


def make_fencing(
    settings: IngesterSettings,
    state: StateNames,
    disk: Disk,
    report: Callable[[str, dict[str, Any]], None],
) -> Fencing:
    """The fences of an ingester: the epoch in its state directory, and one in etcd where that is its registry.

    Raises:
        AppiaError: the registry is not one, or a key of it cannot be used.
    """
    epochs: list[Epoch] = [EpochFile(state.writer, disk)]
    if check_registry_url(settings.registry) != "file":
        # Who uses the file registry pays neither the time nor the memory of an HTTP client.
        from services.ingester.fence_etcd import open_epoch  # noqa: PLC0415 - see above

        epochs.append(open_epoch(settings.registry, settings.name, settings.registry_keys))
    return Fencing(epochs, report)


class EpochFile:
    """The epoch in the state directory, `{"format": 1, "epoch": N, "token": "...", "host": "...", "pid": N}`.

    The number is one more than that before, and at least the time in seconds: it rises too where the file was lost.
    """

    def __init__(self, path: Path, disk: Disk, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._token = secrets.token_hex(_TOKEN_BYTES)
        self._epoch = 0

    @property
    def number(self) -> int:
        """See Epoch."""
        return self._epoch

    def take(self) -> None:
        """See Epoch; whoever holds the lock may take it.

        Raises:
            AppiaError: the file cannot be read or written.
        """
        try:
            found = self._read()
            self._epoch = max(0 if found is None else found.epoch + 1, int(self._clock()))
            self._write()
        except OSError as error:
            raise AppiaError(
                f"{self._path} could not be read or written ({error.strerror}): check its owner and disk."
            ) from error

    def keep(self) -> None:
        """See Epoch. A file that is gone, damaged or older was put there by nobody who writes, and is put right."""
        try:
            self._look()
        except OSError as error:
            raise RegistryUnavailable(f"{self._path} cannot be used ({error.strerror}).") from error

    def _look(self) -> None:
        found = self._read()
        if found is not None and found.token == self._token:
            return
        if found is not None and found.epoch >= self._epoch:
            raise Fenced(
                f"Another ingester (process {found.pid} on {found.host!r}) has taken over {self._path.parent} with "
                f"epoch {found.epoch}; this one, of epoch {self._epoch}, stops: keep one of them."
            )
        self._write()

    def give_back(self) -> None:
        """See Epoch; the number stays, for the next one to be higher."""

    def _write(self) -> None:
        mark = {"format": FORMAT, "epoch": self._epoch, "token": self._token}
        mark |= {"host": socket.gethostname(), "pid": os.getpid()}
        self._disk.write_file(self._path, f"{json.dumps(mark)}\n".encode())

    def _read(self) -> _Mark | None:
        try:
            with self._path.open("rb") as file:
                return _parse(file.read(_MOST_BYTES))
        except FileNotFoundError:
            return None


@dataclass(frozen=True)
class _Mark:
    epoch: int
    token: str
    host: str
    pid: int


def _parse(content: bytes) -> _Mark | None:
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            return None
        return _Mark(int(found["epoch"]), str(found["token"]), str(found["host"]), int(found["pid"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


class Fencing:
    """Takes every epoch at the start and looks after them while the ingester runs.

    It fails static: an epoch that cannot be asked for stops nobody.

    Args:
        epochs: Where numbers are kept; the first ones first.
        report: Told once when a place stops to answer and once when it answers again, with facts.
        look_s: Seconds between two looks.
    """

    def __init__(
        self, epochs: Sequence[Epoch], report: Callable[[str, dict[str, Any]], None], look_s: float = LOOK_S
    ) -> None:
        self._epochs = tuple(epochs)
        self._report = report
        self._look_s = look_s
        self._stopping = threading.Event()
        self._faults: dict[int, str] = {}

    def take(self) -> None:
        """Become the writer, or find that one lives. Blocks for as long as the lease of one that may be dead.

        Raises:
            AppiaError: another writer lives.
        """
        for place, epoch in enumerate(self._epochs):
            self._try(place, epoch.take)

    def run(self, lost: Callable[[], None]) -> None:
        """Look until `stop`; where this writer has been replaced, call `lost` at once, then raise.

        Raises:
            Fenced: another writer has taken over.
        """
        while not self._stopping.wait(self._look_s):
            try:
                for place, epoch in enumerate(self._epochs):
                    self._try(place, epoch.keep)
            except AppiaError:
                lost()
                raise

    def stop(self) -> None:
        """End `run`; does not block."""
        self._stopping.set()

    def give_back(self) -> None:
        """Let the next writer start at once; for after `run` has ended. Never raises for a place that is away."""
        for place, epoch in enumerate(self._epochs):
            self._try(place, epoch.give_back)

    def status(self) -> dict[str, Any]:
        """The epochs held, and why one could not be asked for."""
        return {"epochs": [epoch.number for epoch in self._epochs], "faults": list(self._faults.values())}

    def _try(self, place: int, step: Callable[[], None]) -> None:
        try:
            step()
        except RegistryUnavailable as error:
            if place not in self._faults:
                self._report("the epoch of the writer cannot be checked; it goes on", {"why": str(error)})
            self._faults[place] = str(error)
        else:
            if self._faults.pop(place, None) is not None:
                self._report(
                    "the epoch of the writer is checked again", {"epoch": self._epochs[place].number}
                )
