"""Checks days in a process of its own, for a service that has to stay small.

`python -m services.common.days.check_process STATE [DAY...] [--full] [--bytes-per-s N]`, all days without any named.

Prints one JSON object a line: {"progress": BYTES} while a day is read, and {"state": {...}} for each day, as
`DayState.as_plain` spells it, newest first, and without --full those with faults after the others; {"error": "..."} and
exit status 1 where nothing could be looked at. Changes nothing, and takes what processors and disks have left over
(`idle.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.days.active_models import active_models
from services.common.days.consistency import check_days
from services.common.days.layout import check_layout
from services.common.days.names import StateNames, parse_day
from services.common.errors import AppiaError
from services.common.idle import become_idle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.days.consistency import DayState, Models
    from services.common.days.names import DayNames

_PROGRESS_EVERY_S = 1.0


class Lines:
    """Writes JSON lines to standard output; progress not more often than once a second."""

    def __init__(self) -> None:
        """Write nothing yet."""
        self._last_s = 0.0

    def progress(self, read: int) -> None:
        """Say how many bytes were read in all."""
        now = time.monotonic()
        if now - self._last_s >= _PROGRESS_EVERY_S:
            self._last_s = now
            self.write({"progress": read})

    @staticmethod
    def write(line: dict[str, Any]) -> None:
        """Write one line."""
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Check the days named on the command line."""
    options = _parser().parse_args(argv)
    become_idle()
    lines = Lines()
    state = StateNames(options.state)
    try:
        check_layout(state)
        days = [parse_day(day) for day in options.days] or list(reversed(state.days()))
        for found in _checked([state.day(day) for day in days], active_models(state), options, lines):
            lines.write({"state": found.as_plain()})
    except (AppiaError, OSError) as error:
        lines.write({"error": str(error)})
        return 1
    return 0


def _checked(
    days: Sequence[DayNames], models: Models, options: argparse.Namespace, lines: Lines
) -> Iterator[DayState]:
    if not options.full:
        return check_days(days, models)
    from services.common.days.scrub import Pace, Scrubber  # noqa: PLC0415 - it loads numpy, which a quick look needs not

    return map(Scrubber(models, Pace(options.bytes_per_s, lines.progress)).check_day, days)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Check whether days are as they should be.")
    parser.add_argument("state", type=Path)
    parser.add_argument("days", nargs="*", metavar="DAY")
    parser.add_argument("--full", action="store_true", help="read and compare every byte")
    parser.add_argument(
        "--bytes-per-s", type=float, default=0.0, help="read not faster than this; 0: no limit"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
