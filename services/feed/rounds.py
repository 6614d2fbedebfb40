"""Sending the same records several times as if they had happened again later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

AnyDescriptor: TypeAlias = Any  # the stubs of protobuf give messages a class that its module has not

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from services.common.events.network_security_pb2 import NetworkSecurityEvent

NANOSECONDS = 1_000_000_000
DAY_SECONDS = 86400
TIMESTAMP = Timestamp.DESCRIPTOR.full_name
# Times that the contract keeps as plain nanoseconds since the epoch.
PLAIN_TIMES = frozenset({"timestamp_ns", "global_timestamp_ns"})


class Rounds:
    """Moves every time in an event by `shift_days` per round, and gives it an identifier of its own."""

    def __init__(self, shift_days: float) -> None:
        self._shift_ns = round(shift_days * DAY_SECONDS * NANOSECONDS)
        self._paths: dict[str, list[FieldDescriptor]] = {}

    def apply(self, event: NetworkSecurityEvent, round_number: int) -> None:
        """Change `event` in place; round 0 is the records as they are.

        Raises:
            ValueError: a time leaves the range of Timestamp.
        """
        if not round_number:
            return
        event.event_id = f"{event.event_id}-r{round_number}"
        self._move(event, self._shift_ns * round_number)

    def _move(self, message: Message, shift_ns: int) -> None:
        for field in self._fields(message.DESCRIPTOR):
            value = getattr(message, field.name)
            if field.message_type is None:
                if value:
                    setattr(message, field.name, max(0, value + shift_ns))
                continue
            members = value if field.is_repeated else [value] if message.HasField(field.name) else []
            for member in members:
                self._move_member(member, shift_ns)

    def _move_member(self, member: Any, shift_ns: int) -> None:
        if isinstance(member, Timestamp):
            member.FromNanoseconds(member.ToNanoseconds() + shift_ns)
        else:
            self._move(member, shift_ns)

    def _fields(self, message: AnyDescriptor) -> list[FieldDescriptor]:
        """Return the fields of a message that are or contain times; the contract's messages form no cycle."""
        if message.full_name not in self._paths:
            self._paths[message.full_name] = [field for field in message.fields if self._leads_to_time(field)]
        return self._paths[message.full_name]

    def _leads_to_time(self, field: FieldDescriptor) -> bool:
        if field.message_type is None:
            return field.name in PLAIN_TIMES
        if field.message_type.GetOptions().map_entry:
            return False
        return field.message_type.full_name == TIMESTAMP or bool(self._fields(field.message_type))
