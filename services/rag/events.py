"""Finds and reads whole events of a snapshot."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict, SerializeToJsonError

from services.common.errors import AppiaError, UsageError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.rpc import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot

MAX_ID = 256


@dataclass(frozen=True)
class Place:
    """Where an event lies."""

    view: SegmentView
    row: int

    @property
    def time_ns(self) -> int:
        """When the event was, nanoseconds since 1970."""
        return int(self.view.columns["time_ns"][self.row])


def find_event(snapshot: Snapshot, event_id: str) -> Place:
    """Where the event with this id lies; of several, the one of the latest day that came last.

    Raises:
        UsageError: the id is empty or too long.
        NotFound: there is none.
        AppiaError: there is none, and a day cannot be read or its database is damaged.
    """
    if not 0 < len(event_id) <= MAX_ID:
        raise UsageError(f"An event id must have 1 to {MAX_ID} characters, not {len(event_id)}.")
    damaged: list[str] = []
    for segment in reversed(snapshot.segments):
        view = segment.view
        try:
            rows = [row for row in view.events.find(event_id) if row < view.rows] if view.rows else []
        except sqlite3.OperationalError:
            raise  # the file was removed while its day was sealed: the caller takes a new snapshot
        except sqlite3.DatabaseError:
            damaged.append(view.day)
            continue
        if rows:
            return Place(view, rows[-1])
    if damaged:
        days = ", ".join(sorted(set(damaged)))
        raise AppiaError(
            f"The event {event_id!r} was not found, and the database of {days} is damaged: run `appia verify`."
        )
    days_here = {segment.view.day for segment in snapshot.segments}
    unread = {day for day, _ in snapshot.faults} - days_here
    if unread:
        raise AppiaError(
            f"The event {event_id!r} was not found, and {', '.join(sorted(unread))} cannot be read: run `appia verify`."
        )
    elsewhere = f"; {len(snapshot.not_held)} days are not held here" if snapshot.not_held else ""
    raise NotFound(f"There is no event {event_id!r} on any day here ({len(days_here)} in all{elsewhere}).")


def read_events(places: Sequence[Place]) -> list[dict[str, Any]]:
    """The events in these places as plain fields, with the day, segment and row where each lies, in that order."""
    wanted: dict[int, list[int]] = {}
    for number, place in enumerate(places):
        wanted.setdefault(id(place.view), []).append(number)
    found: dict[int, dict[str, Any]] = {}
    for numbers in wanted.values():
        view = places[numbers[0]].view
        for number, fields in zip(numbers, view.events.fetch([places[n].row for n in numbers]), strict=True):
            found[number] = {**fields, "day": view.day, "segment": view.name, "row": places[number].row}
    return [found[number] for number in range(len(places))]


def whole_event(place: Place) -> dict[str, Any]:
    """Every field of the event as protobuf's JSON with the names of the contract.

    An event may hold what JSON has no form for, such as a time outside the years 1 to 9999: it then comes as
    {"text_format": ...}.

    Raises:
        AppiaError: its bytes are damaged.
    """
    position = int(place.view.columns["position"][place.row])
    event = NetworkSecurityEvent.FromString(place.view.events.payload(position))
    try:
        return _in_order(MessageToDict(event, preserving_proto_field_name=True), event.DESCRIPTOR)
    except (ValueError, SerializeToJsonError):
        return {"text_format": text_format.MessageToString(event)}


def _in_order(fields: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The fields of a message with the keys of its maps sorted: protobuf has them in another order in each process.

    `kind` is its descriptor, of which there are several classes.
    """
    ordered: dict[str, Any] = {}
    for name, value in fields.items():
        inner = kind.fields_by_name[name].message_type
        if inner and inner.GetOptions().map_entry:
            ordered[name] = dict(sorted(value.items()))
        elif inner and isinstance(value, list):
            ordered[name] = [_in_order(one, inner) if isinstance(one, dict) else one for one in value]
        else:
            ordered[name] = _in_order(value, inner) if inner and isinstance(value, dict) else value
    return ordered
