"""Lowest priority: a process that takes what the others leave."""

from __future__ import annotations

import os

_LEAST = 19


def become_idle() -> None:
    """Run from now on only where nobody else wants to, on processors and, with schedulers that know it, on disks.

    SCHED_IDLE of sched(7); a process in it whose I/O priority was never set is in the idle class of I/O too
    (`task_nice_ioclass` in Linux' include/linux/ioprio.h).
    """
    os.nice(_LEAST)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
