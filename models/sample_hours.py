"""The hours of the hosts in the project's own recorded traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.common.days.traffic import TableTraffic
from services.common.events.table import tabulate
from services.common.events.windows import day_windows
from services.training.port import HostWindowRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.events.network_security_pb2 import NetworkSecurityEvent


def sample_hours(events: Sequence[NetworkSecurityEvent]) -> HostWindowRows:
    """The distinct windows of events of one day; hosts are numbers from 0."""
    payloads = [event.SerializeToString(deterministic=True) for event in events]
    windows = day_windows(TableTraffic().of(tabulate(list(events), payloads)))
    _, hosts = np.unique(windows.hosts, return_inverse=True)
    return HostWindowRows(np.concatenate(list(windows.blocks())), hosts.astype(np.int64), windows.steps)
