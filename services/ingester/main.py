"""`appia-ingester --settings FILE`: builds everything, connects it, runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.days.one_writer import lock_state
from services.common.durable import Disk
from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.journal import say_wrong
from services.common.logs import make_logger
from services.common.observing.systemd import ALONE, Supervised
from services.common.preflight import check
from services.common.private_folders import UMASK, check_unwritable
from services.common.settings import add_check, load_settings
from services.common.system_calls import SYSTEM
from services.ingester.building import Ground, build
from services.ingester.fence import make_fencing
from services.ingester.live import watch_config, with_live
from services.ingester.operations import KIND
from services.ingester.preflight import look_at
from services.ingester.settings import IngesterSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.system_calls import SystemCalls
    from services.ingester.service import Ingester

_M_ARENA_MAX = -8  # malloc.h of glibc


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ingester; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="appia-ingester", description="Takes events in, keeps them, embeds them, seals days."
    )
    parser.add_argument(
        "--settings", type=Path, required=True, help="TOML file; docs/settings.md lists the keys"
    )
    add_check(parser)
    options = parser.parse_args(argv)
    if options.check:
        return check(parser.prog, lambda: load_settings(IngesterSettings, options.settings), look_at)
    os.umask(UMASK)
    try:
        settings = load_settings(IngesterSettings, options.settings)
        supervised = Supervised.take(os.environ)
        end_if_it_fails(lambda: run(settings, supervised=supervised))
    except AppiaError as error:
        say_wrong(parser.prog, error)
        return error.exit_code
    return 0


def run(settings: IngesterSettings, calls: SystemCalls = SYSTEM, supervised: Supervised = ALONE) -> None:
    """Run until a signal asks to stop, or something fails that must not be gone on from. Files change by `calls`.

    Raises:
        AppiaError: what an operator has to see to.
    """
    _bound_arenas()
    log = make_logger(KIND)
    state, disk = StateNames(settings.state), Disk(calls)
    claim_layout(state, disk)
    if settings.keys.exists():  # where it does not, reading the keys says so
        check_unwritable(settings.keys)
    disk.make_folder(state.run)
    # There before others start, so that they can be kept from writing to it (docs/systemd.md).
    disk.make_folder(state.root / "days")
    lock = lock_state(state, disk, KIND)
    try:
        config = watch_config(settings, disk, lambda event, facts: log.warning(event, **facts))
        ground = Ground(with_live(settings, config.begin()), state, disk, log, config, supervised)
        fencing = make_fencing(settings, state, disk, ground.report)
        fencing.take()
        _raise_file_limit()
        with zmq.Context() as context:
            ingester = build(context, ground, fencing)
            _announce(ingester)
            ingester.run()
        fencing.give_back()
    finally:
        os.close(lock)


def _announce(ingester: Ingester) -> None:
    """One line on standard output that tells the supervisor where to find what."""
    endpoints = {
        "v2": ingester.receiver.v2_endpoint,
        "v1_pull": ingester.receiver.v1_endpoint,
        "firewall_v1_pull": ingester.receiver.firewall_endpoint,
        "control": ingester.control.endpoint,
    }
    ready = {"ready": True, "service": KIND, "pid": os.getpid(), "endpoints": endpoints}
    sys.stdout.write(json.dumps({**ready, "observe": ingester.observing.place}) + "\n")
    sys.stdout.flush()


def _bound_arenas() -> None:
    """Let threads share two malloc arenas (mallopt(3)) where the C library has them: it saves some 20 MB here.

    Each thread that had one of its own would keep the largest batch it ever worked on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def _raise_file_limit() -> None:
    """Days in progress keep some twenty files open each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
