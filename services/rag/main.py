"""`appia-rag`: one read-only replica that answers questions from the files of a state directory."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from services.common.days.names import StateNames
from services.common.days.vector_files import limit_faiss
from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.journal import say_wrong
from services.common.logs import make_logger
from services.common.observing.systemd import ALONE, Supervised
from services.common.preflight import check
from services.common.private_folders import check_private
from services.common.settings import add_check, load_settings
from services.rag.asking import KIND
from services.rag.building import Ground, build
from services.rag.preflight import look_at
from services.rag.settings import RagSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from services.rag.catalog import Catalog


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a replica until SIGTERM or SIGINT; ends the process with the exit code of what went wrong."""
    parser = argparse.ArgumentParser("appia-rag", description=__doc__)
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="TOML file; the environment wins over it"
    )
    parser.add_argument("--version", action="version", version=version("appia"))
    add_check(parser)
    chosen = parser.parse_args(arguments)
    if chosen.check:
        sys.exit(check(parser.prog, lambda: load_settings(RagSettings, chosen.settings), look_at))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings(RagSettings, chosen.settings)
        supervised = Supervised.take(os.environ)
        end_if_it_fails(lambda: serve(settings, stop, make_logger("rag"), supervised))
    except AppiaError as error:
        say_wrong(parser.prog, error)
        sys.exit(error.exit_code)


def serve(
    settings: RagSettings,
    stop: threading.Event,
    log: FilteringBoundLogger,
    supervised: Supervised = ALONE,
) -> None:
    """Open the days, answer until `stop` is set, then finish what was taken and withdraw.

    Raises:
        AppiaError: the state directory cannot be read, the endpoint not be bound, the registry not be named.
    """
    _allow_many_files()
    state = StateNames(settings.state)
    if state.root.exists():  # where it does not, opening it says so
        check_private(state.root)
    limit_faiss()
    with zmq.Context() as context:
        replica = build(context, Ground(settings, state, log, supervised))
        replica.catalog.start()
        try:
            replica.observing.start()
            _wait_opened(replica.catalog, stop, settings.open_wait_s)
            replica.begin()
            _announce(settings.name, replica.endpoint, replica.observing.place)
            stop.wait()
        finally:
            replica.end()


def _wait_opened(catalog: Catalog, stop: threading.Event, seconds: float) -> None:
    """Wait for so long at most; raises `AppiaError` where nobody opens them any more."""
    until = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < until:
        if catalog.wait_opened(0.05):
            return
        if not catalog.is_followed:
            raise AppiaError("The days could not be opened: the lines above say why.")


def _announce(name: str, endpoint: str, observe: str) -> None:
    ready = {"ready": True, "service": KIND, "name": name, "endpoint": endpoint, "pid": os.getpid()}
    sys.stdout.write(json.dumps({**ready, "observe": observe}) + "\n")
    sys.stdout.flush()


def _allow_many_files() -> None:
    """Raise the limit of open files to the highest allowed: a sealed day takes about ten."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


if __name__ == "__main__":
    main()
