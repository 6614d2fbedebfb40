"""`appia-origin`: serves the files of a state directory to mirrors on other hosts; changes nothing."""

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

import zmq

from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.journal import say_wrong
from services.common.logs import make_logger
from services.common.observing.systemd import ALONE, Supervised
from services.common.preflight import check
from services.common.private_folders import check_private
from services.common.settings import add_check, load_settings
from services.origin.building import KIND, build
from services.origin.preflight import look_at
from services.origin.settings import OriginSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger


def main(arguments: Sequence[str] | None = None) -> None:
    """Run an origin until SIGTERM or SIGINT; ends the process with the exit code of what went wrong."""
    parser = argparse.ArgumentParser("appia-origin", description=__doc__)
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="TOML file; the environment wins over it"
    )
    parser.add_argument("--version", action="version", version=version("appia"))
    add_check(parser)
    chosen = parser.parse_args(arguments)
    if chosen.check:
        sys.exit(check(parser.prog, lambda: load_settings(OriginSettings, chosen.settings), look_at))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings(OriginSettings, chosen.settings)
        supervised = Supervised.take(os.environ)
        end_if_it_fails(lambda: serve(settings, stop, make_logger(KIND), supervised))
    except AppiaError as error:
        say_wrong(parser.prog, error)
        sys.exit(error.exit_code)


def serve(
    settings: OriginSettings,
    stop: threading.Event,
    log: FilteringBoundLogger,
    supervised: Supervised = ALONE,
) -> None:
    """Serve until `stop` is set, then finish what was taken and withdraw.

    Raises:
        AppiaError: a key cannot be used, the endpoint not be bound, the registry not be named.
    """
    if settings.state.exists():  # where it does not, it is not ready, and says so
        check_private(settings.state)
    with zmq.Context() as context:
        origin = build(context, settings, log, supervised)
        try:
            origin.begin()
            _announce(settings.name, origin.endpoint, origin.observing.place)
            stop.wait()
        finally:
            origin.end()


def _announce(name: str, endpoint: str, observe: str) -> None:
    ready = {"ready": True, "service": KIND, "name": name, "endpoint": endpoint, "pid": os.getpid()}
    sys.stdout.write(json.dumps({**ready, "observe": observe}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
