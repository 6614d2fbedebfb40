"""The end of a service that failed in a way that nobody foresaw."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.journal import say_error

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED = 1


def end_if_it_fails(run: Callable[[], None]) -> None:
    """Call `run`; where it raises what is no `AppiaError`, end this process at once, with all its threads.

    Threads that were not told to stop would keep a process alive that answers nobody, and who watches over it would
    not start it anew. What was acknowledged is on disk: such an end is as safe as kill -9.
    """
    try:
        run()
    except AppiaError:
        raise
    except Exception:  # noqa: BLE001 - whatever it is
        say_error(traceback.format_exc())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FAILED)
