"""Events that every test of this room builds on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.events.network_security_pb2 import NetworkSecurityEvent

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_event() -> Callable[..., NetworkSecurityEvent]:
    """Build a small valid event; keywords set fields of network_features, `event` a dict of event fields."""

    def build(event: dict[str, Any] | None = None, **flow: Any) -> NetworkSecurityEvent:
        made = NetworkSecurityEvent(**({"event_id": "e-1", "originating_node_id": "node-a"} | (event or {})))
        if "event_timestamp" not in (event or {}):
            made.event_timestamp.seconds = 1_500_000_000
            made.event_timestamp.nanos = 250
        defaults = {
            "source_ip": "192.168.10.5",
            "destination_ip": "8.8.8.8",
            "source_port": 50_000,
            "destination_port": 443,
            "protocol_number": 6,
            "total_forward_packets": 10,
            "total_backward_packets": 5,
            "total_forward_bytes": 1_000,
            "total_backward_bytes": 2_000,
        }
        for name, value in (defaults | flow).items():
            setattr(made.network_features, name, value)
        return made

    return build
