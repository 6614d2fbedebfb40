"""Events as the sensors leave them in `events/YYYY-MM-DD.jsonl`: one object of protobuf's JSON a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import json_format

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.parse import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

_WELL_KNOWN = "google.protobuf."

AnyDescriptor: TypeAlias = Any  # the stubs of protobuf give messages a class that its module has not


def event_from_record(record: dict[str, Any]) -> NetworkSecurityEvent:
    """The event that a parsed JSON object describes; names in snake or camel case.

    A field that this contract does not know is kept, as JSON, in `custom_metadata` under its dotted name. `record` is
    used up.

    Raises:
        Refused: not_an_event.
    """
    unknown = dict(_take_unknown(record, NetworkSecurityEvent.DESCRIPTOR, ""))
    try:
        event = json_format.ParseDict(record, NetworkSecurityEvent())
    except json_format.ParseError as error:
        raise Refused("not_an_event", str(error)) from error
    for path, value in unknown.items():
        if path not in event.custom_metadata:
            event.custom_metadata[path] = value
    return event


def _take_unknown(record: dict[str, Any], message: AnyDescriptor, prefix: str) -> Iterator[tuple[str, str]]:
    """Remove what `message` has no field for, at any depth, and yield (dotted name, JSON)."""
    known = {name: field for field in message.fields for name in (field.name, field.json_name)}
    for key in list(record):
        field = known.get(key)
        if field is None:
            yield prefix + key, json.dumps(record.pop(key))
            continue
        for inner in _messages_in(record[key], field):
            yield from _take_unknown(inner, field.message_type, f"{prefix}{key}.")


def _messages_in(value: Any, field: FieldDescriptor) -> list[dict[str, Any]]:
    kind = field.message_type
    if kind is None or kind.GetOptions().map_entry or kind.full_name.startswith(_WELL_KNOWN):
        return []
    members = value if isinstance(value, list) else [value]
    return [member for member in members if isinstance(member, dict)]
