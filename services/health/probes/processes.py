"""What the processes of this machine take."""

from __future__ import annotations

from pathlib import Path

_KIB = 1024


def resident_bytes(pid: int | None) -> int | None:
    """Resident memory of a process of this machine (VmRSS of proc_pid_status(5)); None where it cannot be seen."""
    if pid is None:
        return None
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return None
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0][1]) * _KIB if lines else None
