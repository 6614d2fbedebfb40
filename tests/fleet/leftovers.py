"""What a run leaves on this computer where it is killed, and how the next one takes it away.

A run keeps a file with its prefix locked while it lives, and takes the file away at its end. The lock goes with the
process however that ends: a file that nobody locks is of a run that was killed, and it says where its disks are.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import IO, TYPE_CHECKING

from fleet.machine import CGROUPS, remove_groups
from fleet.network import command

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = Path("/run/appia-fleet")
SCRATCH = "appia-fleet-"
"""What the names of folders begin with that a run makes for itself: they go as a whole."""
_ENDED_WITHIN_S = 10.0
_OCTAL = re.compile(r"\\([0-7]{3})")


class Claim:
    """A prefix that nobody else has meanwhile."""

    def __init__(self, prefix: str, folder: Path) -> None:
        """Nothing is claimed yet; `folder` has the disks of the machines."""
        self._prefix, self._folder = prefix, folder
        self._record = RECORDS / f"{prefix}.run"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Have the prefix from now on. Raises UsageError where another run has it."""
        with _alone():
            file = self._record.open("a+")
            if not _locked(file):
                file.close()
                raise UsageError(
                    f"A run with the prefix {self._prefix} is under way: wait for it, or use another prefix."
                )
            file.truncate(0)
            file.write(str(self._folder.absolute()))
            file.flush()
        self._file = file

    def release(self) -> None:
        """Have it no more: nothing of the run is left."""
        if self._file is not None:
            with _alone():
                self._record.unlink(missing_ok=True)
                self._file.close()
            self._file = None


def clear() -> list[str]:
    """Take away everything of runs that were killed; gives their prefixes. Runs that live lose nothing."""
    cleared = []
    with _alone():
        for record in sorted(RECORDS.glob("*.run")):
            with record.open("r+") as file:
                if not _locked(file):
                    continue
                folder = file.read()
                _take_away(record.stem, Path(folder) if folder else None)
                record.unlink()
                cleared.append(record.stem)
    return cleared


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else takes, releases or clears meanwhile."""
    RECORDS.mkdir(mode=0o700, exist_ok=True)
    with (RECORDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_away(prefix: str, folder: Path | None) -> None:
    """In the order in which it is in use: processes, network, mounts, files."""
    namespaces = [name for name in _names("ip", "-json", "netns", "list") if name.startswith(f"{prefix}-")]
    groups = [group for top in CGROUPS for group in Path(top).glob(f"{prefix}-*")]
    _end_processes(namespaces, groups)
    for namespace in namespaces:
        _try("ip", "netns", "delete", namespace)
    for link in _names("ip", "-json", "link"):
        if link.startswith(f"{prefix}-"):
            _try("ip", "link", "delete", link)
    _try("nft", "delete", "table", "bridge", prefix)
    for group in groups:
        remove_groups(group)
    if folder is not None:
        _remove_files(folder)


def _try(*words: str) -> None:
    """What is gone already, as the cable of a namespace that went, is no fault."""
    with suppress(CalledProcessError):
        command(*words)


def _names(*words: str) -> list[str]:
    said = command(*words)
    return [one.get("name") or one["ifname"] for one in json.loads(said or "[]")]


def _end_processes(namespaces: list[str], groups: list[Path]) -> None:
    """Kill what runs in the run's namespaces and groups, and nothing else; wait until it is gone."""
    until = time.monotonic() + _ENDED_WITHIN_S
    while (pids := _pids(namespaces, groups)) and time.monotonic() < until:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _pids(namespaces: list[str], groups: list[Path]) -> set[int]:
    found = {int(pid) for name in namespaces for pid in command("ip", "netns", "pids", name).split()}
    for group in groups:
        for processes in group.rglob("cgroup.procs"):
            with suppress(OSError):
                found |= {int(pid) for pid in processes.read_text().split()}
    return found - {0}  # 0 is one that this process cannot see


def _remove_files(folder: Path) -> None:
    """Unmount what is mounted below `folder`, and remove what machines have there; of others' files none."""
    mounts = [_OCTAL.sub(_character, line.split()[4]) for line in _lines("/proc/self/mountinfo")]
    for mount in sorted(mounts, reverse=True):  # what is mounted below another comes before it
        if Path(mount).is_relative_to(folder):
            _try("umount", "--lazy", mount)
    own = [folder / name for name in ("machines", "id_ed25519", "id_ed25519.pub", "known_hosts")]
    made = [path for path in (folder, *folder.parents) if path.name.startswith(SCRATCH)]
    command("rm", "-rf", "--one-file-system", "--", *map(str, made or own))


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()
