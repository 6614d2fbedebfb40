"""Whole events as answers show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.rag.events import find_event, whole_event

if TYPE_CHECKING:
    from services.rag.catalog import Snapshot

DAY = "2026-01-20"
KEYS = [f"key {number * 37 % 101:03}" for number in range(101)]


def _whole(snapshot: Snapshot, event_id: str) -> dict[str, Any]:
    return whole_event(find_event(snapshot, event_id))


def test_maps_come_in_the_order_of_their_keys(world: Any, follow: Any) -> None:
    """Two replicas give the same bytes, so maps cannot come as protobuf has them, which differs between processes."""
    (event,) = world.make(DAY, 1)
    event.custom_metadata.update(dict.fromkeys(KEYS, "x"))
    event.network_features.custom_features.update(dict.fromkeys(KEYS, 0.5))
    world.write(DAY, [event])
    with follow(world).lease() as snapshot:
        fields = _whole(snapshot, event.event_id)
    added = [key for key in fields["custom_metadata"] if key in KEYS]
    assert added == sorted(KEYS)
    assert list(fields["network_features"]["custom_features"]) == sorted(KEYS)


def test_every_kind_of_field_is_shown(world: Any, follow: Any) -> None:
    """Messages, lists of messages and of texts, maps below them and times are those of the event."""
    (event,) = world.make(DAY, 1)
    event.event_tags[:] = ["b", "a"]
    event.provenance.verdicts.add(engine_name="fast", confidence=0.5)
    event.provenance.verdicts.add(engine_name="ml")
    event.capturing_node.node_capabilities.update({"b": "1", "a": "2"})
    world.write(DAY, [event])
    with follow(world).lease() as snapshot:
        fields = _whole(snapshot, event.event_id)
    assert ParseDict(fields, NetworkSecurityEvent()) == event
    assert [verdict["engine_name"] for verdict in fields["provenance"]["verdicts"]] == ["fast", "ml"]
    assert list(fields["capturing_node"]["node_capabilities"]) == ["a", "b"]
