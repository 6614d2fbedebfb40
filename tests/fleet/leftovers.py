"""What a run leaves on this computer where it is killed, and how the next one takes it away.

A run keeps a file with its prefix locked while it lives, and takes the file away at its end. The lock goes with the
process however that ends: a file that nobody locks is of a run that was killed, and it says where its disks are, as
JSON: `folder` has them, and `scratch` is what the run made for itself, or null where it was given a folder.
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
KEY = "id_ed25519"
"""The key with which machines are reached, in the folder of the run."""
SCRATCH = "appia-fleet-"
"""What the names of folders begin with that a run makes for itself."""
_ENDED_WITHIN_S = 10.0
_OCTAL = re.compile(r"\\([0-7]{3})")


class Claim:
    """A prefix that nobody else has meanwhile."""

    def __init__(self, prefix: str, folder: Path, scratch: Path | None = None) -> None:
        """Nothing is claimed yet; `folder` has the disks of the machines.

        `scratch` is a folder that the run made for itself, which goes as a whole; None where it was given one.
        """
        self._prefix, self._folder, self._scratch = prefix, folder, scratch
        self._record = RECORDS / f"{prefix}.run"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Have the prefix from now on.

        Raises UsageError where another run has it, or left what could not be taken away.
        """
        with _alone():
            file = self._record.open("a+")
            if not _locked(file):
                file.close()
                raise UsageError(
                    f"A run with the prefix {self._prefix} is under way: wait for it, or use another prefix."
                )
            file.seek(0)
            if file.read():
                file.close()
                raise UsageError(
                    f"What a killed run with the prefix {self._prefix} left could not be taken away: unmount and "
                    f"remove what {self._record} names, then that file too, or use another prefix."
                )
            file.write(self._said())
            file.flush()
        self._file = file

    def _said(self) -> str:
        """Without links, as the system names what is mounted."""
        scratch = str(self._scratch.resolve()) if self._scratch else None
        return json.dumps({"folder": str(self._folder.resolve()), "scratch": scratch})

    def release(self) -> None:
        """Have it no more: nothing of the run is left."""
        if self._file is not None:
            with _alone():
                self._record.unlink(missing_ok=True)
                self._file.close()
            self._file = None


def clear() -> list[str]:
    """Take away everything of runs that were killed; gives their prefixes. Runs that live lose nothing.

    Where that fails the record stays: each run that follows tries again, and none gets that prefix until then.
    """
    cleared = []
    with _alone():
        for record in sorted(RECORDS.glob("*.run")):
            with record.open("r+") as file:
                if not _locked(file):
                    continue
                with suppress(CalledProcessError, OSError, ValueError, KeyError, TypeError):
                    _take_away(record.stem, file.read())
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


def _take_away(prefix: str, said: str) -> None:
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
    if said:  # it was not killed before it had said anything
        known = json.loads(said)
        _remove_files(Path(known["folder"]), Path(known["scratch"]) if known["scratch"] else None)


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


def _remove_files(folder: Path, scratch: Path | None) -> None:
    """Unmount and remove the disks and keys of the run, and `scratch` whole; of others' files and mounts none."""
    own = [folder / name for name in ("machines", KEY, f"{KEY}.pub", "known_hosts")]
    own += [scratch] if scratch else []
    mounts = [_OCTAL.sub(_character, line.split()[4]) for line in _lines("/proc/self/mountinfo")]
    for mount in sorted(mounts, reverse=True):  # what is mounted below another comes before it
        if any(path in Path(mount).parents for path in own):
            _try("umount", "--lazy", mount)
    command("rm", "-rf", "--one-file-system", "--", *map(str, own))


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()
