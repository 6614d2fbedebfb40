"""The helper of `trial.ProcessTrials`: for each request it forks, and the fork opens the files within its limits.

Standard input is a socket of whole messages (SOCK_SEQPACKET). A request is JSON `{"folder", "names", "manifest",
"limits"}` with an open file for each name; the answer is JSON `{"fault"}`, empty where all is well. The helper ends
when the other side does.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.days.checked import CheckedFiles
from services.common.days.entity_index import map_hosts
from services.common.days.manifest import parse_manifest
from services.common.days.names import ENTITY
from services.common.days.soundness import refuse_unsound
from services.common.days.trial import MOST_BYTES, MOST_FILES, TrialLimits
from services.common.days.vector_files import limit_faiss, map_vectors
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Look = Callable[[CheckedFiles], None]

_MOST_WORDS = 4000


def main() -> None:
    """Try what comes over standard input until the other side ends."""
    # A terminal's Ctrl-C is for the replica, which then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=os.dup(sys.stdin.fileno())), look_at)


def look_at(files: CheckedFiles) -> None:
    """Open an index and look through it. Raises what is wrong with it, where opening it does not say so by itself."""
    limit_faiss(max((os.fstat(handle).st_size for handle in files.handles.values()), default=1))
    try:
        vectors = map_vectors(files)
        hosts = map_hosts(files) if vectors.spec.index == ENTITY else None
    except AppiaError:
        return
    refuse_unsound(vectors, hosts)


def serve(connection: socket.socket, look: Look) -> None:
    """Answer requests until the other side closes; each `look` runs in a fork."""
    with connection:
        while True:
            data, handles, _, _ = socket.recv_fds(connection, MOST_BYTES, MOST_FILES)
            try:
                if not data:
                    return
                fault = _tried(json.loads(data), handles, look)
            finally:
                for handle in handles:
                    os.close(handle)
            try:
                connection.send(json.dumps({"fault": fault}).encode())
            except BrokenPipeError:  # who asked was killed meanwhile
                return


def _tried(request: Mapping[str, Any], handles: list[int], look: Look) -> str:
    limits = TrialLimits(**request["limits"])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_tried(request, handles, look, writing)
    os.close(writing)
    try:
        words = _words(reading, limits.seconds)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # not reaped yet, so the number is still its own
        _, status = os.waitpid(child, 0)
    if words is None:
        return f"it took more than {limits.seconds:g} seconds"
    if words:
        return json.loads(words)["fault"] or ""
    return f"it ended the process ({_ending(status)})"


def _words(reading: int, seconds: float) -> bytes | None:
    """What the fork wrote before it ended; None where it took too long."""
    until, words = time.monotonic() + seconds, b""
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    while True:
        if not waiting.poll(1000 * max(0.0, until - time.monotonic())):
            return None
        more = os.read(reading, _MOST_WORDS)
        if not more:
            return words
        words += more


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def _be_tried(request: Mapping[str, Any], handles: list[int], look: Look, writing: int) -> None:
    """In the fork: look, write what is wrong, end. Whatever happens here harms nobody else."""
    try:
        _limit(TrialLimits(**request["limits"]), handles)
        where = Path(request["folder"])
        manifest = parse_manifest(request["manifest"].encode(), where)
        look(CheckedFiles(where, manifest, dict(zip(request["names"], handles, strict=True))))
        fault = ""
    except AppiaError as error:
        fault = f"this was found: {error}"
    except MemoryError:
        fault = "it took more memory than it may"
    except BaseException as error:  # noqa: BLE001 - the fork must never go on as the helper
        fault = f"this was found: {type(error).__name__}: {error}"
    try:
        os.write(writing, json.dumps({"fault": fault[: _MOST_WORDS // 8]}).encode())
    finally:
        os._exit(0)


def _limit(limits: TrialLimits, handles: list[int]) -> None:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    files = sum(os.fstat(handle).st_size for handle in handles)
    space = pages * resource.getpagesize() + files + limits.memory
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, max(1, round(limits.seconds))),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # what C++ says when it ends is told by the helper in words


if __name__ == "__main__":
    main()
