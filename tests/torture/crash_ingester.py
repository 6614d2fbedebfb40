"""The ingester as it is, and a way to kill it at a system call: `python -m torture.crash_ingester --settings FILE`.

A line "POINT COUNT" on its standard input (the three words of a point, then a number) lets it die when it passes that
point for the COUNT-th time from then on; `--fatal` says the same for the time from its start. The line "passed FILE"
lets it write there the points that it has passed.
"""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

from torture.crash import Point, PointCalls

from services.common.private_folders import UMASK
from services.common.settings import load_settings
from services.ingester.main import run
from services.ingester.settings import IngesterSettings


class ArmedCalls(PointCalls):
    """The real calls, with a point to die at that can be told while they are in use."""

    def arm(self, words: str) -> None:
        """Die when the point is passed for the so manyth time from now on."""
        *point, count = words.split()
        found = Point(*point)
        self._occurrence = self.seen[found] + int(count)
        self._fatal = found

    def tell(self, path: Path) -> None:
        """Write the points that were passed so far to a file, which appears at once."""
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text("".join(f"{point}\n" for point in sorted(self.seen.copy())))
        unfinished.rename(path)


def main() -> None:
    """Run the ingester until it is asked to end, or dies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--fatal")
    chosen = parser.parse_args()
    os.umask(UMASK)
    settings = load_settings(IngesterSettings, chosen.settings)
    calls = ArmedCalls(settings.state)
    if chosen.fatal:
        calls.arm(chosen.fatal)
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    run(settings, calls)


def _listen(calls: ArmedCalls) -> None:
    """Without a buffer, whose lock would be held when the process ends."""
    with open(0, "rb", buffering=0, closefd=False) as told:
        for line in told:
            words = line.decode().strip()
            if words.startswith("passed "):
                calls.tell(Path(words.removeprefix("passed ")))
            else:
                calls.arm(words)


if __name__ == "__main__":
    main()
