"""`appia-health --settings FILE`: watches a state directory and its services until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.private_folders import UMASK
from services.common.settings import load_settings
from services.health.settings import HealthSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

KIND = "health"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the health service; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="appia-health", description="Watches services, disks and days; repairs and alerts."
    )
    parser.add_argument(
        "--settings", type=Path, required=True, help="TOML file; docs/settings.md lists the keys"
    )
    options = parser.parse_args(argv)
    os.umask(UMASK)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(load_settings(HealthSettings, options.settings), stop)
    except AppiaError as error:
        sys.stderr.write(f"appia-health: {error}\n")
        return error.exit_code
    return 0


def run(settings: HealthSettings, stop: threading.Event) -> None:
    """Watch until `stop` is set."""
    sys.stdout.write(
        json.dumps({"ready": True, "service": KIND, "name": settings.name, "pid": os.getpid()}) + "\n"
    )
    sys.stdout.flush()
    stop.wait()


if __name__ == "__main__":
    sys.exit(main())
