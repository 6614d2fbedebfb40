"""One remark of an analyst on one event: what it may say, and its form in the contract (`HumanFeedback`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from services.common.errors import AppiaError, UsageError
from services.common.events.network_security_pb2 import HumanFeedback

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_EVENT_ID = 256
MAX_NAME = 64
"""Characters of an analyst's name, of a tag and of a feedback id."""
MAX_NOTE = 4096
"""Bytes of a note in UTF-8."""
MAX_TAGS = 16
CONFIDENCES = range(1, 6)
ARGUMENTS = ("feedback_id", "event_id", "analyst", "verdict", "note", "confidence", "tags", "withdraw")


class Verdict(StrEnum):
    """What an analyst found the event to be."""

    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"


_TYPES = {
    Verdict.TRUE_POSITIVE: HumanFeedback.VALIDATION,
    Verdict.FALSE_POSITIVE: HumanFeedback.FALSE_POSITIVE_REPORT,
    None: HumanFeedback.ADDITIONAL_CONTEXT,
}


@dataclass(frozen=True, slots=True)
class Remark:
    """A verdict, a note, tags, or the withdrawal of all that the analyst said about the event before.

    A withdrawal is a `HumanFeedback` of type CORRECTION that says nothing.
    """

    feedback_id: str
    event_id: str
    analyst: str
    time_ns: (
        int  # when it was taken in, nanoseconds since 1970; protobuf keeps what lies in the years 1 to 9999
    )
    verdict: Verdict | None = None
    note: str = ""
    confidence: int | None = None  # 1 (guess) to 5 (certain), only beside a verdict
    tags: tuple[str, ...] = ()

    @property
    def is_withdrawal(self) -> bool:
        """Whether it takes back what its analyst said about the event before."""
        return self.verdict is None and not self.note and not self.tags

    def says_the_same(self, other: Remark) -> bool:
        """Whether both are the same remark but for the time at which they came."""
        return _content(self) == _content(other)

    def to_bytes(self) -> bytes:
        """The remark as a serialized `HumanFeedback`."""
        message = HumanFeedback(
            feedback_id=self.feedback_id,
            analyst_user_id=self.analyst,
            event_reference_id=self.event_id,
            feedback_type=HumanFeedback.CORRECTION if self.is_withdrawal else _TYPES[self.verdict],
            confirmed_true_positive=self.verdict is Verdict.TRUE_POSITIVE,
            confirmed_false_positive=self.verdict is Verdict.FALSE_POSITIVE,
            analyst_explanation=self.note,
            analyst_tags=self.tags,
            analyst_confidence_rating=self.confidence or 0,
        )
        message.feedback_timestamp.FromNanoseconds(self.time_ns)
        return message.SerializeToString(deterministic=True)

    @classmethod
    def of_bytes(cls, payload: bytes) -> Remark:
        """The remark that `to_bytes` wrote.

        Raises:
            AppiaError: the bytes are none.
        """
        try:
            message = HumanFeedback.FromString(payload)
        except DecodeError:
            raise AppiaError(f"{len(payload)} bytes of the feedback log are no remark") from None
        return cls(
            feedback_id=message.feedback_id,
            event_id=message.event_reference_id,
            analyst=message.analyst_user_id,
            time_ns=message.feedback_timestamp.ToNanoseconds(),
            verdict=_verdict_of(message),
            note=message.analyst_explanation,
            confidence=message.analyst_confidence_rating or None,
            tags=tuple(message.analyst_tags),
        )


def _verdict_of(message: HumanFeedback) -> Verdict | None:
    if message.confirmed_false_positive:
        return Verdict.FALSE_POSITIVE
    return Verdict.TRUE_POSITIVE if message.confirmed_true_positive else None


def _content(remark: Remark) -> tuple[object, ...]:
    return remark.event_id, remark.analyst, remark.verdict, remark.note, remark.confidence, remark.tags


def read_remark(raw: Mapping[str, Any], time_ns: int) -> Remark:
    """A remark from the arguments of a request (`ARGUMENTS`), each checked.

    Args:
        raw: plain values; what is absent or None was not said. `withdraw` true stands alone.
        time_ns: when it came, nanoseconds since 1970.

    Raises:
        UsageError: an argument is missing or not allowed, or nothing is said; the sentence names it.
    """
    unknown = sorted(set(raw) - set(ARGUMENTS))
    if unknown:
        raise UsageError(
            f"There is no argument {unknown[0][:80]!r} of feedback; there are: {', '.join(ARGUMENTS)}."
        )
    remark = Remark(
        feedback_id=_name("feedback_id", raw.get("feedback_id"), MAX_NAME),
        event_id=_name("event_id", raw.get("event_id"), MAX_EVENT_ID),
        analyst=_name("analyst", raw.get("analyst"), MAX_NAME),
        time_ns=time_ns,
        verdict=_verdict(raw.get("verdict")),
        note=_note(raw.get("note")),
        confidence=_confidence(raw.get("confidence")),
        tags=_tags(raw.get("tags")),
    )
    if remark.confidence is not None and remark.verdict is None:
        raise UsageError("A confidence belongs to a verdict: say true positive or false positive too.")
    withdraws = raw.get("withdraw") or False
    if not isinstance(withdraws, bool):
        raise UsageError("The argument 'withdraw' must be true or false.")
    if withdraws and not remark.is_withdrawal:
        raise UsageError("A withdrawal stands alone: give no verdict, note or tag with it.")
    if remark.is_withdrawal and not withdraws:
        raise UsageError("The feedback says nothing: give a verdict, a note, a tag, or withdraw.")
    return remark


def _name(key: str, value: object, most: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise UsageError(f"The argument {key!r} must be a text of 1 to {most} characters.")
    return _plain(key, value)


def _verdict(value: object) -> Verdict | None:
    if value is None:
        return None
    if value not in tuple(Verdict):
        raise UsageError(f"The argument 'verdict' must be one of {', '.join(Verdict)}.")
    return Verdict(str(value))


def _note(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError("The argument 'note' must be a text.")
    _plain("note", value.replace("\n", ""))
    size = len(value.encode())
    if size > MAX_NOTE:
        raise UsageError(f"The note has {size} bytes, at most {MAX_NOTE} are kept: shorten it.")
    return value.strip()


def _confidence(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value not in CONFIDENCES:
        raise UsageError("The argument 'confidence' must be a whole number from 1 (a guess) to 5 (certain).")
    return value


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or len(value) > MAX_TAGS:
        raise UsageError(f"The argument 'tags' must be a list of at most {MAX_TAGS} texts.")
    return tuple(dict.fromkeys(_name("tags", tag, MAX_NAME).strip() for tag in value))


def _plain(key: str, text: str) -> str:
    """The text, which has nothing that could steer a terminal or hide from a reader.

    `str.isprintable` is false for the Unicode categories of controls, of formats such as the marks that reverse the
    direction of a line, and of half surrogate pairs.
    """
    steering = next((char for char in text if not char.isprintable()), None)
    if steering is not None:
        raise UsageError(
            f"The argument {key!r} has the control character U+{ord(steering):04X}: leave it out."
        )
    return text
