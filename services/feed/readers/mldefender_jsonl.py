"""The sensors' events/YYYY-MM-DD.jsonl: one event a line in protobuf's JSON, names in snake or camel case.

A field that this contract does not know is kept, as JSON, in `custom_metadata` under its dotted name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import json_format

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers.events import numbered_lines, read_parts
from services.feed.readers.json_rows import parse_object
from services.feed.readers.mldefender import settled
from services.feed.readers.port import Item, ReadOptions, Refusal, RowRefusedError, SourceBrokenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from services.feed.readers.sources import Part

WELL_KNOWN = "google.protobuf."

AnyDescriptor: TypeAlias = Any  # the stubs of protobuf give messages a class that its module has not


class MlDefenderJsonlReader:
    """Reads events that a sensor wrote as JSON."""

    name = "mldefender-jsonl"

    def read(self, source: str, options: ReadOptions) -> Iterator[Item]:
        """See Reader."""
        return read_parts(source, options, lambda part: self._read_part(part, options))

    def _read_part(self, part: Part, options: ReadOptions) -> Iterator[Item]:
        checked = False
        for line in numbered_lines(part):
            if not isinstance(line, tuple):
                yield line
                continue
            number, text = line
            if not checked:
                _check_format(text, number)
                checked = True
            try:
                yield settled(_message(text).SerializeToString(), self.name, options)
            except RowRefusedError as error:
                yield Refusal(part.name, number, error.reason, error.detail)


def _check_format(text: str, number: int) -> None:
    if not text.startswith("{"):
        raise SourceBrokenError("wrong_format", f"the first line is no JSON object: {text[:60]!r}", number)


def _message(text: str) -> NetworkSecurityEvent:
    record = parse_object(text)
    unknown = dict(_take_unknown(record, NetworkSecurityEvent.DESCRIPTOR, ""))
    try:
        event = json_format.ParseDict(record, NetworkSecurityEvent())
    except json_format.ParseError as error:
        raise RowRefusedError("not_an_event", str(error)) from error
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
    if kind is None or kind.GetOptions().map_entry or kind.full_name.startswith(WELL_KNOWN):
        return []
    members = value if isinstance(value, list) else [value]
    return [member for member in members if isinstance(member, dict)]
