"""Starts a service as a child that cannot outlive its parent.

`python -P -m services.common.launcher PARENT MODULE ARG...`, PARENT being the process id of the caller.

The parent may be ended by kill -9, which it cannot see coming; so the system is told to end this process then
(PR_SET_PDEATHSIG, prctl(2)), and the service takes its place under the same process id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the service named on the command line."""
    parent, module, *arguments = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    # SIGKILL, because a service that hangs must go too, and kill -9 is as safe for one as SIGTERM.
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        sys.exit(f"the system does not tie a child to its parent ({os.strerror(ctypes.get_errno())})")
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is gone already")
    # -P: a folder named `services` where the user happens to stand is not this program.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606 - see above


if __name__ == "__main__":
    main()
