"""Sends through a child process: the library for notifications is large, and what it talks to may hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.health.alerts.courier import Addressed

LIMIT_S = 60.0
"""A server that answers a byte at a time may hold up one round, and no more."""


class ChildSender:
    """Starts one short-lived process at a time, which dies with this one. Addresses go through its standard input."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        """Start nothing yet; a process is ended after `limit_s` seconds."""
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def send(self, parcels: Sequence[Addressed], told: Callable[[str, str], None]) -> str:
        """As `courier.Sender` says."""
        launched = (sys.executable, "-P", "-m", "services.common.launcher", str(os.getpid()))
        command = [*launched, "services.health.alerts.send_process"]
        with self._lock:
            if self._stopped:
                return "health is being stopped"
            try:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            except OSError as error:
                return f"no process could be started ({error.strerror})"
            self._process = process
        limit = threading.Timer(self._limit_s, process.kill)
        limit.start()
        try:
            with process:
                _talk(process, parcels, told)
        finally:
            limit.cancel()
            self._process = None
        if process.returncode == 0:
            return ""
        return f"it did not end within {self._limit_s:g} s, or was killed (status {process.returncode})"

    def stop(self) -> None:
        """End what is being sent, and send nothing any more."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()


def _talk(
    process: subprocess.Popen[bytes], parcels: Sequence[Addressed], told: Callable[[str, str], None]
) -> None:
    if process.stdin is None or process.stdout is None:
        return
    try:
        process.stdin.write(json.dumps([_plain(parcel) for parcel in parcels]).encode())
        process.stdin.close()
    except BrokenPipeError:
        return  # it ended before it heard anything; its status is told
    for line in process.stdout:
        said = _said(line)
        if said is not None:
            told(*said)


def _plain(addressed: Addressed) -> dict[str, Any]:
    parcel, channel = addressed.parcel, addressed.channel
    return {
        "url": channel.url,
        "url_file": None if channel.url_file is None else str(channel.url_file),
        "overtakable": sorted(parcel.overtakable),
        "letters": [
            letter.model_dump(include={"id", "title", "body", "severity", "ends"})
            for letter in parcel.letters
        ],
    }


def _said(line: bytes) -> tuple[str, str] | None:
    """What a line says of a message; None: it says something else."""
    try:
        said = json.loads(line)
        return str(said["id"]), str(said["why"])
    except (ValueError, TypeError, KeyError):
        return None
