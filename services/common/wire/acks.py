"""What a version 2 acknowledgement says: which frame, and what became of its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

from services.common.wire.body import decompress
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REASONS = 256


@dataclass(frozen=True, slots=True)
class Ack:
    """The fate of data frame `seq`: events stored, known already, and refused by reason.

    It is sent after all of it, the refused in the dead letter included, is on disk.
    """

    seq: int
    accepted: int
    duplicates: int
    refused: Mapping[str, int] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Give the msgpack map of this acknowledgement."""
        packed: bytes = msgpack.packb(
            {
                "seq": self.seq,
                "accepted": self.accepted,
                "duplicates": self.duplicates,
                "refused": dict(self.refused),
            }
        )
        return packed


def read_ack(plain: bytes) -> Ack:
    """Read an authenticated acknowledgement (`u32_le size || lz4_block` of its msgpack map).

    Raises:
        FrameRefused: bad_ack for any other content, and what `decompress` refuses.
    """
    body = decompress(plain)
    try:
        found = msgpack.unpackb(body, max_map_len=MAX_REASONS, max_str_len=MAX_REASONS)
        ack = Ack(found["seq"], found["accepted"], found["duplicates"], found["refused"])
        numbers = [ack.seq, ack.accepted, ack.duplicates, *ack.refused.values()]
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise FrameRefused(Reason.BAD_ACK, f"{len(body)} bytes are no acknowledgement: {error!r}") from error
    named = all(type(reason) is str for reason in ack.refused)
    if not named or not all(type(number) is int and number >= 0 for number in numbers):
        raise FrameRefused(Reason.BAD_ACK, "an acknowledgement counts in whole numbers, by named reasons")
    return ack
