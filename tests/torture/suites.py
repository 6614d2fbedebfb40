"""Every suite, by its name."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from real_etcd.member import installed
from torture import (
    corruption,
    crash,
    crash_process,
    disk_full,
    etcd,
    io_errors,
    nonces,
    power,
    replica_kill,
    soak,
)
from torture.fuzz_targets import TARGETS
from torture.fuzzing import blind, guided

if TYPE_CHECKING:
    from torture.suite import Suite


def every_suite() -> dict[str, Suite]:
    """The suites in the order in which they are run; those that need root, etcd or atheris only where these are."""
    suites: list[Suite] = [
        power.SUITE,
        io_errors.SUITE,
        crash.SUITE,
        crash_process.SUITE,
        corruption.SUITE,
        nonces.SUITE,
        replica_kill.SUITE,
        soak.SUITE,
        *map(blind, TARGETS),
    ]
    if disk_full.can_mount():
        suites.append(disk_full.SUITE)
    if installed():
        suites.append(etcd.SUITE)
    if importlib.util.find_spec("atheris") is not None:
        suites += map(guided, TARGETS)
    return {suite.name: suite for suite in suites}
