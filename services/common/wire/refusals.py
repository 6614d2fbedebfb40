"""Why a frame is refused: one code per reason, to count by and to write beside the dead letter."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Refusal codes; each one is explained in docs/wire-format.md."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    BAD_MAGIC = "bad_magic"
    WRONG_VERSION = "wrong_version"
    WRONG_ALGORITHM = "wrong_algorithm"
    UNKNOWN_FLAGS = "unknown_flags"
    WRONG_DIRECTION = "wrong_direction"
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    BAD_TAG = "bad_tag"
    OLD_BOOT = "old_boot"
    SALT_CHANGED = "salt_changed"
    NONCE_REUSED = "nonce_reused"
    REPLAY = "replay"
    WRONG_NODE = "wrong_node"
    TOO_MANY_TRIALS = "too_many_trials"
    SIZE_ZERO = "size_zero"
    SIZE_TOO_LARGE = "size_too_large"
    SIZE_EXCEEDS_RATIO = "size_exceeds_ratio"
    BAD_BLOCK = "bad_block"
    BAD_BATCH = "bad_batch"
    BAD_ACK = "bad_ack"


INSIDE = frozenset(
    {
        Reason.SIZE_ZERO,
        Reason.SIZE_TOO_LARGE,
        Reason.SIZE_EXCEEDS_RATIO,
        Reason.BAD_BLOCK,
        Reason.BAD_BATCH,
        Reason.WRONG_NODE,
    }
)
"""What only a holder of a key can bring about: the frame was authentic."""


class FrameRefused(ValueError):  # noqa: N818 - "frame refused" is what the documents call it
    """A frame that is not taken; `reason` is the code to count by, `detail` one sentence with the facts."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
