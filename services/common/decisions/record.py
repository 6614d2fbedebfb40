"""The record of the log of decisions: what came in one group, when and from whom. See docs/formats.md.

A record of type DECISIONS is numbered by its first decision, so that decisions have one order and numbers without
gaps. Its payload is msgpack {"taken_ns", "origin", "default_s", "batch"}; `batch` is a serialized `DetectionBatch` of
decisions in their one form (`decision.in_one_form`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgpack
from google.protobuf.message import DecodeError

from services.common.errors import AppiaError
from services.common.events.network_security_pb2 import DetectionBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.events.network_security_pb2 import Detection

MAX_ORIGIN = 64


@dataclass(frozen=True)
class Taken:
    """Decisions that came together; `default_s` is how long a block of them holds that names no duration."""

    taken_ns: int  # nanoseconds since 1970
    origin: str
    default_s: int
    decisions: Sequence[Detection]

    def to_bytes(self) -> bytes:
        """The payload of the record."""
        packed: bytes = msgpack.packb(
            {
                "taken_ns": self.taken_ns,
                "origin": self.origin[:MAX_ORIGIN],
                "default_s": self.default_s,
                "batch": DetectionBatch(detections=self.decisions).SerializeToString(deterministic=True),
            }
        )
        return packed

    @classmethod
    def of_bytes(cls, payload: bytes) -> Taken:
        """What `to_bytes` wrote.

        Raises:
            AppiaError: the bytes are none.
        """
        try:
            found = msgpack.unpackb(payload)
            batch = DetectionBatch.FromString(found["batch"])
            return cls(
                int(found["taken_ns"]), str(found["origin"]), int(found["default_s"]), batch.detections
            )
        except (ValueError, TypeError, KeyError, DecodeError, msgpack.UnpackException):
            raise AppiaError(f"{len(payload)} bytes of the log of decisions are no record of them") from None
