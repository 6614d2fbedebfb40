"""Rows of a segment, and events just decoded, as windows see them: the same event is the same traffic in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.columns import ADDRESS_BYTES, REMEMBERED, pack_address
from services.common.events.windows import Traffic, host_keys, threat_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.events.table import EventTable


def column_traffic(columns: Any, addresses: NDArray[np.uint8]) -> Traffic:
    """Rows of a segment: `columns` by the names of `columns.ROW`, each (n,), and its addresses, uint8 (k, 16)."""
    hosts = host_keys(addresses)
    return Traffic(
        src=hosts[columns["src_ip"]],
        time_ns=columns["time_ns"],
        bytes=columns["bytes"],
        packets=columns["packets"],
        dst=hosts[columns["dst_ip"]],
        dst_port=columns["dst_port"],
        threat=np.maximum(np.maximum(columns["overall"], columns["fast"]), columns["ml"]),
    )


class TableTraffic:
    """Makes traffic of decoded events; remembers some addresses. Not safe for several threads."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        """Remember no address yet."""
        self._known: dict[str, int] = {}
        self._remembered = remembered

    def of(self, table: EventTable) -> Traffic:
        """The events of a table."""
        return Traffic(
            src=self._hosts(table.src_ip),
            time_ns=table.time_ns,
            bytes=table.bytes,
            packets=table.packets,
            dst=self._hosts(table.dst_ip),
            dst_port=table.dst_port,
            threat=threat_of(table),
        )

    def _hosts(self, addresses: Sequence[str]) -> NDArray[np.uint64]:
        known = self._known
        new = [text for text in dict.fromkeys(addresses) if text not in known]
        if new:
            packed = np.frombuffer(b"".join(map(pack_address, new)), np.uint8)
            known.update(zip(new, host_keys(packed.reshape(-1, ADDRESS_BYTES)).tolist(), strict=True))
        hosts = np.fromiter(map(known.__getitem__, addresses), np.uint64, len(addresses))
        if len(known) > self._remembered:
            known.clear()
        return hosts
