"""One writer of a state directory on one machine: a lock (flock(2)) that ends with its process, kill -9 included."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.names import StateNames
    from services.common.durable import Disk

MIRROR = "mirror"


def lock_state(state: StateNames, disk: Disk, who: str) -> int:
    """Become the one writer of the state directory on this machine, until the descriptor is closed or the process ends.

    Args:
        state: the directory, which is there.
        disk: opens the lock file.
        who: what this writer is, such as "ingester", for the sentence.

    Raises:
        AppiaError: another process is, or it is a copy that only a mirror may write.
    """
    if who != MIRROR and state.mirror.exists():
        raise AppiaError(
            f"{state.root} is the copy that a mirror keeps of the days of another host: name another directory, or "
            "see docs/mirror.md for what makes a copy into days of one's own."
        )
    handle = disk.lock_file(state.lock)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AppiaError(
            f"Another {who} writes {state.root}: stop it, or name another state directory."
        ) from None
    return handle
