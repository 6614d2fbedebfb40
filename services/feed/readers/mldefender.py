"""What both spellings of the sensors' own events share: these are events already and stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.events.parse import Refused, parse_event
from services.feed.readers.port import LabelMode, ReadOptions, RowRefusedError
from services.feed.readers.table import tells_the_label

if TYPE_CHECKING:
    from services.common.events.network_security_pb2 import NetworkSecurityEvent


def settled(payload: bytes, reader: str, options: ReadOptions) -> NetworkSecurityEvent:
    """Return the event in `payload`, checked as every receiver checks it.

    A node is filled in where the sensor named none. With the label mode `none` what tells a label leaves
    `custom_metadata`. The sensor's own verdict stays: it is no label.

    Raises:
        RowRefusedError: with the reasons of `parse_event`.
    """
    try:
        event = parse_event(payload)
    except Refused as error:
        raise RowRefusedError(error.reason, error.detail) from error
    if not event.originating_node_id:
        event.originating_node_id = options.node or f"feed-{reader}"
    if options.labels == LabelMode.NONE:
        for key in [key for key in event.custom_metadata if tells_the_label(key)]:
            del event.custom_metadata[key]
    return event
