"""Real processes of the product, to be killed, frozen and started again."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping

READY_WITHIN_S = 60.0
_TESTS = Path(__file__).parents[1]


class Service:
    """One process at a time, by its settings file."""

    def __init__(self, folder: Path, name: str, module: str, settings: Mapping[str, Any]) -> None:
        """Start it; `wait_ready` waits."""
        path = folder / f"{name}.toml"
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        self.name, self.log = name, path.with_suffix(".log")
        self.ready: dict[str, Any] = {}
        self.heard_ready = False  # whether the last start got as far
        self._command = [sys.executable, "-m", module, "--settings", str(path)]
        self.launch()

    def launch(self, *words: str) -> None:
        """Start the process, which does not run, with further words; do not wait for it."""
        above = os.environ.get("PYTHONPATH")
        paths = str(_TESTS) if above is None else f"{_TESTS}{os.pathsep}{above}"
        self.heard_ready = False
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": paths},
            )

    def wait_ready(self) -> None:
        """Block until it says that it is ready. Raises AppiaError where it ends before, or takes too long."""
        said = self.process.stdout
        assert said is not None
        waiting = select.poll()
        waiting.register(said, select.POLLIN)
        if waiting.poll(1000 * READY_WITHIN_S):
            line = said.readline()
            if line:
                self.ready, self.heard_ready = json.loads(line), True
                return
        raise AppiaError(f"{self.name} did not get ready: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    def tell(self, line: str) -> None:
        """Write a line to its standard input; one that has died hears nothing."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def freeze(self) -> None:
        """Let it run no further (SIGSTOP): its sockets stay open, and it answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, if it runs, and wait for that."""
        self.process.kill()
        self.gone()

    def stop(self, within_s: float = 60.0) -> int:
        """End it in order; gives its exit status."""
        self.process.terminate()
        self.process.wait(within_s)
        return self.gone()

    def gone(self) -> int:
        """Wait for its end and close what it was heard by; gives its exit status."""
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        return status
