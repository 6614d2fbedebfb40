"""`appia-health --settings FILE`: watches a state directory and its services until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.durable import Disk
from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.journal import say_wrong
from services.common.observing.systemd import ALONE, Supervised
from services.common.private_folders import UMASK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.health.settings import HealthSettings

_M_ARENA_MAX = -8  # malloc.h of glibc
_NOT_NEEDED = ("rich", "lzma", "bz2")
"""Modules that others load where they are there, and do without where they are not."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the health service as this process; gives the exit status."""
    _stay_small()
    from services.common.settings import add_check, load_settings  # noqa: PLC0415 - after what keeps the process small
    from services.health.settings import HealthSettings  # noqa: PLC0415 - as above

    parser = argparse.ArgumentParser(
        prog="appia-health", description="Watches services, disks and days; repairs and alerts."
    )
    parser.add_argument(
        "--settings", type=Path, required=True, help="TOML file; docs/settings.md lists the keys"
    )
    add_check(parser)
    options = parser.parse_args(argv)
    if options.check:
        return _check(parser.prog, options.settings)
    os.umask(UMASK)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings(HealthSettings, options.settings)
        supervised = Supervised.take(os.environ)
        end_if_it_fails(lambda: run(settings, stop, supervised))
    except AppiaError as error:
        say_wrong(parser.prog, error)
        return error.exit_code
    return 0


def run(settings: HealthSettings, stop: threading.Event, supervised: Supervised = ALONE) -> None:
    """Watch until `stop` is set.

    Raises:
        AppiaError: what an operator has to see to.
    """
    from services.common.logs import make_logger  # noqa: PLC0415 - as above
    from services.health.building import KIND, build  # noqa: PLC0415 - as above

    with build(settings, Disk(), make_logger(KIND), supervised) as health:
        health.start()
        said = {"ready": True, "service": KIND, "name": settings.name, "pid": os.getpid()}
        sys.stdout.write(json.dumps({**said, **health.places}) + "\n")
        sys.stdout.flush()
        health.run(stop)


def _check(program: str, settings: Path) -> int:
    """Only look at settings and keys; imports what a running health does without."""
    from services.common.preflight import check  # noqa: PLC0415 - as above
    from services.common.settings import load_settings  # noqa: PLC0415 - as above
    from services.health.preflight import look_at  # noqa: PLC0415 - as above
    from services.health.settings import HealthSettings  # noqa: PLC0415 - as above

    return check(program, lambda: load_settings(HealthSettings, settings), look_at)


def _stay_small() -> None:
    """Keep memory out of this process that does nothing for it: docs/health.md promises less than 60 MB.

    structlog loads rich where there is one, to colour tracebacks on terminals, which is 4 MB; logs here are JSON. The
    standard library's archives load all compressions. The few threads share one malloc arena (mallopt(3)) where the C
    library has them.
    """
    for name in _NOT_NEEDED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type] # None is how the system spells "not there"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


if __name__ == "__main__":
    sys.exit(main())
