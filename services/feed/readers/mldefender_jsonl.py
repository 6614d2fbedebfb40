"""The sensors' events/YYYY-MM-DD.jsonl: one event a line in protobuf's JSON, names in snake or camel case.

A field that this contract does not know is kept, as JSON, in `custom_metadata` under its dotted name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.events.artifacts import event_from_record
from services.common.events.parse import Refused
from services.feed.readers.events import numbered_lines, read_parts
from services.feed.readers.json_rows import parse_object
from services.feed.readers.mldefender import settled
from services.feed.readers.port import Item, ReadOptions, Refusal, RowRefusedError, SourceBrokenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.events.network_security_pb2 import NetworkSecurityEvent
    from services.feed.readers.sources import Part


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
    try:
        return event_from_record(parse_object(text))
    except Refused as error:
        raise RowRefusedError(error.reason, error.detail) from error
