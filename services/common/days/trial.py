"""Opens a version of an index in a process of its own first, so that one that ends the process ends no replica.

A SHA-256 says that a file is the one that was meant, not that it is sound: who can write files can write the manifest
too, and faiss reads memory where a file tells it to (https://github.com/facebookresearch/faiss/issues/5400).

One helper process serves many trials, each in a fork of it. It is given the open files, never names, and so looks at
the very bytes that were hashed and are mapped afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.checked import CheckedFiles

MOST_BYTES = 128 * 1024
"""Of one request, most of which is the manifest; a datagram of this size fits into the buffers of a socket."""
MOST_FILES = 16
_MODULE = "services.common.days.trial_process"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_GRACE_S = 15.0  # the helper needs so long to start at most, and ends a trial by itself when its time is over


@dataclass(frozen=True)
class TrialLimits:
    """What one trial may take beyond the files themselves, which are mapped: seconds, and bytes of address space."""

    seconds: float = 60.0
    memory: int = 1 << 30


class Trials(Protocol):
    """Says whether checked files can be opened without harm. Safe for several threads."""

    def check(self, files: CheckedFiles) -> None:
        """Return when they can. May block.

        Raises:
            AppiaError: they cannot; the sentence says why.
        """
        ...

    def rest(self) -> None:
        """Give back what is only needed while versions are tried; does not block for long."""
        ...


class NoTrials:
    """Lets everything pass: for a process that may fail alone, such as the sealer."""

    def check(self, files: CheckedFiles) -> None:
        """Return."""

    def rest(self) -> None:
        """Return."""


NO_TRIALS = NoTrials()


class ProcessTrials:
    """Tries each version once, by the content of its manifest, in a helper process that starts when it is needed."""

    def __init__(self, limits: TrialLimits | None = None, module: str = _MODULE) -> None:
        """Start nothing yet.

        Args:
            limits: of each trial.
            module: that the helper process runs.
        """
        self._limits = limits or TrialLimits()
        self._module = module
        self._lock = threading.Lock()  # guards what follows, and lets one trial run at a time
        self._passed: set[bytes] = set()
        self._helper: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def check(self, files: CheckedFiles) -> None:
        """See `Trials.check`. Blocks for some milliseconds the first time, and a second when the helper starts."""
        manifest = files.manifest.to_json()
        content = hashlib.sha256(manifest).digest()
        with self._lock:
            if content in self._passed:
                return
            fault = self._ask(files)
            if fault:
                raise AppiaError(
                    f"{files.folder} is not used: when it was tried, {fault}; run `appia verify`"
                )
            self._passed.add(content)

    def rest(self) -> None:
        """End the helper, if one is running."""
        with self._lock:
            self._end()

    def _ask(self, files: CheckedFiles) -> str:
        request = json.dumps(
            {
                "folder": str(files.folder),
                "names": list(files.handles),
                "manifest": files.manifest.to_json().decode(),
                "limits": asdict(self._limits),
            }
        ).encode()
        if len(request) > MOST_BYTES or len(files.handles) > MOST_FILES:
            return f"it had {len(files.handles)} files and a manifest of {len(request)} bytes, which are too many"
        try:
            connection = self._connection()
            socket.send_fds(connection, [request], list(files.handles.values()))
            answer = connection.recv(MOST_BYTES)
        except OSError as error:  # a time-out is one too
            self._end()
            return f"the process that tries it did not answer ({error})"
        if not answer:
            self._end()
            return "the process that tries it ended"
        return str(json.loads(answer)["fault"])

    def _connection(self) -> socket.socket:
        if self._helper is not None:
            return self._helper[1]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = self._start(theirs)
            except OSError:
                ours.close()
                raise
        ours.settimeout(self._limits.seconds + _GRACE_S)
        self._helper = process, ours
        return ours

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        # -P: a folder named `services` where the user happens to stand is not this program.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", self._module],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
        )

    def _end(self) -> None:
        if self._helper is None:
            return
        process, connection = self._helper
        self._helper = None
        connection.close()
        process.kill()
        process.wait()
