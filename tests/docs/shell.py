"""A shell that types the commands of a guide one after the other, on this machine or through ssh."""

from __future__ import annotations

import os
import secrets
import select
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType


class ShellError(Exception):
    """A command did not end in its time, or ended the shell itself; the message has what it printed."""


class Shell:
    """`bash` that stays: folders that were changed to and variables that were exported hold for the next command.

    `words` starts it (`["bash"]`, or an ssh command that ends with `bash`); what a command prints on its errors comes
    with the rest, as on a terminal; nothing is typed into it. All of it is also written to the end of the file `copy`.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        copy: Path | None = None,
    ) -> None:
        """Start it; `environment` is all that it has, that of this process where there is none."""
        self._copy = copy
        self._end = f"end-{secrets.token_hex(8)}"
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            bufsize=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, text: str, seconds: float) -> tuple[int, str]:
        """Type a command and block until it has ended; gives its exit status and what it printed.

        Raises:
            ShellError: it did not end within `seconds`, or the shell ended; no more can be typed then.
        """
        assert self._process.stdin is not None
        line = f"eval {shlex.quote(text)} </dev/null 2>&1; printf '\\n%s %d\\n' {self._end} $?\n"
        self._process.stdin.write(line.encode())
        printed = self._read(text, seconds)
        said, _, status = printed.rpartition(self._end)
        if self._copy is not None:
            with self._copy.open("a", encoding="utf-8") as copy:
                copy.write(f"$ {text}\n{said}")
        return int(status), said.removesuffix("\n")

    def _read(self, text: str, seconds: float) -> str:
        """All until the line that ends a command, which is the last there is."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        until = time.monotonic() + seconds
        got = b""
        end = self._end.encode()
        while not (end in got and got.endswith(b"\n")):
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self._process.kill()
                raise ShellError(
                    f"`{text}` did not end within {seconds:g} s; so far it printed: {_shown(got)}"
                )
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise ShellError(f"`{text}` ended the shell; it printed: {_shown(got)}")
            got += piece
        return got.decode("utf-8", "replace")

    def close(self) -> None:
        """End it, and what it still runs in the foreground; blocks until it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _shown(got: bytes) -> str:
    return got.decode("utf-8", "replace")[-4000:]
