"""The JSON both adapters keep for an entry, and its forgiving reader."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from services.common.errors import UsageError
from services.common.registry.port import Entry, Info

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
MAX_BYTES = 64 * 1024


def encode(fields: Mapping[str, object], info: Info) -> bytes:
    """Write `fields` and `info` as one JSON object in UTF-8, with the record version.

    Raises:
        UsageError: The record would be longer than 64 KiB.
    """
    record = {"version": VERSION, **fields, "info": dict(info)}
    data = json.dumps(record, allow_nan=False, sort_keys=True).encode()
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"A registry record of {len(data)} bytes is over the limit of {MAX_BYTES}; publish fewer facts."
        )
    return data


def decode(data: bytes) -> dict[str, Any] | None:
    """Read what `encode` wrote; None for anything torn, foreign, too long or of a later version."""
    if len(data) > MAX_BYTES:
        return None
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("version") != VERSION:
        return None
    return record


def listed(kind: str, name: str, record: Mapping[str, Any], expires_in_s: float) -> Entry | None:
    """Build the entry that `record` describes; None where its fields break the rules of Entry."""
    address, info = record.get("address"), record.get("info")
    if not isinstance(address, str) or not isinstance(info, dict):
        return None
    try:
        return Entry(kind, name, address, info, expires_in_s)
    except UsageError:
        return None
