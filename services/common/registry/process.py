"""Whether a process on this machine still lives, safe against a reused process id."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_STATE, _START = 0, 19  # fields 3 and 22 of proc_pid_stat(5), counted from behind the command's ")"


@dataclass(frozen=True)
class ProcessMark:
    """Names one process for as long as the machine runs.

    Attributes:
        pid: Its process id.
        start_ticks: When it began, in clock ticks since the machine started (proc_pid_stat(5), field 22).
        place: The boot and the pid namespace in which `pid` means something: the same number in another
            container or on another machine is another process. Empty where the system does not tell.
    """

    pid: int
    start_ticks: int
    place: str

    def is_gone(self, here: str) -> bool:
        """Say whether the process is known to be dead, seen from the place `here`; False when in doubt."""
        if not here or self.place != here:
            return False
        stat = _read_stat(self.pid)
        if stat is None:
            return not _exists(self.pid)
        return stat[_STATE] in "ZX" or int(stat[_START]) != self.start_ticks

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> ProcessMark | None:
        """Read a mark out of the fields "pid", "start_ticks" and "place"; None where they are not sound."""
        pid, start, place = (record.get(key) for key in ("pid", "start_ticks", "place"))
        if not isinstance(pid, int) or not isinstance(start, int) or not isinstance(place, str):
            return None
        return cls(pid, start, place) if 0 < pid < 1 << 31 else None


def this_place() -> str:
    """Name the boot and pid namespace this process runs in; empty where the system does not tell."""
    try:
        return f"{_BOOT_ID.read_text().strip()}:{_PID_NAMESPACE.stat().st_ino}"
    except OSError:
        return ""


def this_process() -> ProcessMark:
    """Mark the calling process."""
    stat = _read_stat(os.getpid())
    if stat is None:
        return ProcessMark(os.getpid(), 0, "")
    return ProcessMark(os.getpid(), int(stat[_START]), this_place())


def _read_stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _START else None


def _exists(pid: int) -> bool:
    # With hidepid (systemd's ProtectProc=) another user's process has no /proc entry, yet a signal finds it.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
