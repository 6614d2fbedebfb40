"""Gives threads their Python names in /proc (Python does so itself from 3.14 on), for programs started by benchmarks.

Python runs this file at its start when its folder is on PYTHONPATH.
"""

from __future__ import annotations

import ctypes
import threading

PR_SET_NAME = 15  # prctl(2); a name has at most 15 bytes
_libc = ctypes.CDLL(None)
_set_native_id = threading.Thread._set_native_id  # type: ignore[attr-defined] # noqa: SLF001 - runs in the new thread


def _named(thread: threading.Thread) -> None:
    _set_native_id(thread)
    _libc.prctl(PR_SET_NAME, thread.name.encode()[:15])


threading.Thread._set_native_id = _named  # type: ignore[attr-defined] # noqa: SLF001 - see above
