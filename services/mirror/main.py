"""`appia-mirror`: keeps the days of another host in a local state directory, for replicas there."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.durable import Disk
from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.journal import say_wrong
from services.common.logs import make_logger
from services.common.observing.systemd import ALONE, Supervised
from services.common.preflight import check
from services.common.private_folders import UMASK
from services.common.settings import add_check, load_settings
from services.mirror.building import KIND, build
from services.mirror.preflight import look_at
from services.mirror.settings import MirrorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a mirror until SIGTERM or SIGINT; ends the process with the exit code of what went wrong."""
    parser = argparse.ArgumentParser("appia-mirror", description=__doc__)
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="TOML file; the environment wins over it"
    )
    parser.add_argument("--version", action="version", version=version("appia"))
    add_check(parser)
    chosen = parser.parse_args(arguments)
    if chosen.check:
        sys.exit(check(parser.prog, lambda: load_settings(MirrorSettings, chosen.settings), look_at))
    os.umask(UMASK)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings(MirrorSettings, chosen.settings)
        supervised = Supervised.take(os.environ)
        end_if_it_fails(lambda: run(settings, stop, make_logger(KIND), supervised))
    except AppiaError as error:
        say_wrong(parser.prog, error)
        sys.exit(error.exit_code)


def run(
    settings: MirrorSettings,
    stop: threading.Event,
    log: FilteringBoundLogger,
    supervised: Supervised = ALONE,
) -> None:
    """Mirror until `stop` is set, then withdraw.

    Raises:
        AppiaError: a key or the state directory cannot be used, or the endpoint not be bound.
    """
    with build(settings, Disk(), log, (supervised, stop)) as mirror:
        mirror.begin()
        _announce(settings.name, mirror.endpoint, mirror.observing.place)
        mirror.rounds.run(stop, mirror.beats)


def _announce(name: str, endpoint: str, observe: str) -> None:
    ready = {"ready": True, "service": KIND, "name": name, "endpoint": endpoint, "pid": os.getpid()}
    sys.stdout.write(json.dumps({**ready, "observe": observe}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
