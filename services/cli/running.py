"""What is known about a running stack: its file `endpoints.json`, and whether its supervisor lives.

`appia up` holds a lock for as long as it lives, which the system lets go of even after kill -9; so a file left
behind is never taken for a stack that runs. Services that systemd or containers keep have no such supervisor: who
installs them writes the file with `"pid": 0`, and it is taken as it stands.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from services.common.days.layout import check_layout
from services.common.days.names import StateNames
from services.common.durable import REAL
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.common.durable import Disk

LOCK_FILE = "up.lock"
INSTALLED = 0
"""In the place of the supervisor's pid: the services are kept by the system, and run unless somebody stops them."""
LOCK_TRIES = 10
LOCK_PAUSE_S = 0.02


@dataclass(frozen=True)
class IngesterAt:
    """Where the ingester listens; `v1_pull` is empty when it takes no version 1."""

    pid: int
    v2: str
    v1_pull: str
    control: str


@dataclass(frozen=True)
class ReplicaAt:
    """Where one replica answers."""

    name: str
    endpoint: str
    pid: int


@dataclass(frozen=True)
class Running:
    """A stack that is ready: the content of `endpoints.json`. `pid` is the supervisor's, or `INSTALLED`."""

    state: str
    registry: str
    pid: int
    ingester: IngesterAt
    replicas: list[ReplicaAt]
    keys: str
    observe: Mapping[str, str] = field(default_factory=dict)
    """By the names of the services, where /metrics, /healthz and /readyz are: HOST:PORT."""
    health: str = ""
    """Where the health service answers; empty where it does not run."""

    def to_json(self) -> str:
        """The file's content, readable without a program."""
        return json.dumps(asdict(self), indent=2) + "\n"


class StackLock:
    """The right to run the stack of one state directory; held until `release` or the end of the process."""

    def __init__(self, names: StateNames, disk: Disk = REAL) -> None:
        """Take the lock.

        Raises:
            AppiaError: a stack runs on this state directory.
        """
        self._fd = disk.lock_file(names.run / LOCK_FILE)
        if not _lock(self._fd):
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise AppiaError(
                f"{names.root} has a running stack already (process {holder or 'unknown'}): use it, "
                "or stop that process first"
            )
        disk.calls.truncate(self._fd, 0)
        disk.calls.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of the lock; a second call is not allowed."""
        os.close(self._fd)


def _lock(fd: int) -> bool:
    """Lock for writing; tries several times, because who asks `is_running` holds the lock for a moment."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
        else:
            return True
    return False


def is_running(names: StateNames) -> bool:
    """Whether a supervisor holds the lock of this state directory now."""
    try:
        fd = os.open(names.run / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_served(names: StateNames) -> bool:
    """Whether services of this state directory can be asked: their supervisor lives, or the system keeps them."""
    found = _read(names)
    return (found is not None and found.pid == INSTALLED) or is_running(names)


def read_running(root: Path) -> Running:
    """The running stack of a state directory.

    Raises:
        AppiaError: it is no state directory, nothing runs on it, it is not ready yet, or its file is damaged.
    """
    names = StateNames(root)
    check_layout(names)
    if not is_served(names):
        raise AppiaError(f"nothing runs on {root}: start it with `appia up --state {root}`")
    found = _read(names)
    if found is not None:
        return found
    if names.endpoints.exists():
        raise AppiaError(f"{names.endpoints} is damaged: stop the stack and start it again")
    raise AppiaError(f"the stack on {root} is still starting: try again in a moment")


def _read(names: StateNames) -> Running | None:
    """What the file says; None where it is missing or damaged."""
    try:
        return _parse(json.loads(names.endpoints.read_text("utf-8")))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _parse(found: dict[str, Any]) -> Running:
    return Running(
        state=str(found["state"]),
        registry=str(found["registry"]),
        pid=int(found["pid"]),
        ingester=IngesterAt(**found["ingester"]),
        replicas=[ReplicaAt(**replica) for replica in found["replicas"]],
        keys=str(found["keys"]),
        health=str(found.get("health", "")),
        observe={str(name): str(place) for name, place in found.get("observe", {}).items()},
    )
