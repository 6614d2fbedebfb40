"""Puts a case together: what was answered, what the state directory gave, the page, the list and its signature."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from services.common.cases.archive import archive_of
from services.common.cases.listing import (
    EVENT,
    FEEDBACK,
    LISTING,
    ORIGINAL,
    PAGE,
    SIGNATURE,
    SIMILAR,
    CaseEvent,
    LeftOut,
    Listing,
    digests,
    event_file,
    generation_of,
    id_in,
    is_place,
    sign,
    to_bytes,
)
from services.common.cases.page import page_of
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from services.common.cases.evidence import Evidence
    from services.common.chain.keys import SigningKey

NO_STATE = "no state directory was at hand (--state), and replicas give no original bytes"
_FILES = {"get": EVENT, "similar": SIMILAR, "feedback": FEEDBACK}


@dataclass(frozen=True)
class Answers:
    """What was answered about one event; for each question that was refused, by its name, why in a sentence."""

    get: Mapping[str, Any]
    similar: Mapping[str, Any] | None
    feedback: Mapping[str, Any] | None
    refused: Mapping[str, str]

    def given(self) -> dict[str, Mapping[str, Any]]:
        """The answers there are, by question."""
        found = {"get": self.get, "similar": self.similar, "feedback": self.feedback}
        return {name: answer for name, answer in found.items() if answer is not None}


@dataclass(frozen=True)
class Front:
    """What a case says first."""

    created: str  # ISO 8601, UTC
    appia: str
    note: str
    as_of: str


def case_of(
    front: Front, answers: Sequence[Answers], evidence: Evidence | None, key: SigningKey
) -> tuple[Listing, bytes]:
    """A case: what its list says, and its file. Two of the same content differ in `created` and the signature alone.

    Blocks to read original bytes and manifests; without `evidence` they are left out, and the case says so.

    Raises:
        AppiaError: it would be too large, or an answer is none.
    """
    files: dict[str, bytes] = {}
    left_out: list[LeftOut] = []
    events: list[CaseEvent] = []
    for number, one in enumerate(answers, 1):
        event = _event_of(one.get)
        for name, answer in one.given().items():
            files[event_file(number, _FILES[name])] = _document(answer)
        left_out += [LeftOut(event_file(number, _FILES[name]), why) for name, why in one.refused.items()]
        original = _original(event, evidence)
        if isinstance(original, bytes):
            files[event_file(number, ORIGINAL)] = original
            event = replace(event, sha256=hashlib.sha256(original).hexdigest())
        else:
            left_out.append(LeftOut(event_file(number, ORIGINAL), original))
        events.append(event)
    listing = Listing(**vars(front), events=tuple(events), left_out=tuple(left_out))
    if evidence is None:
        listing = replace(
            listing, left_out=(*left_out, LeftOut("days and chain", NO_STATE.partition(",")[0]))
        )
    else:
        listing = _with_days(listing, files, answers, evidence)
    return _finished(listing, files, answers, key)


def _event_of(answer: Mapping[str, Any]) -> CaseEvent:
    day, segment = str(answer["day"]), str(answer["segment"])
    if not is_place(day, segment):
        raise AppiaError(
            f"a replica says that the event lies in {segment[:40]!r} of {day[:40]!r}, which is no place"
        )
    return CaseEvent(str(answer["fields"]["event_id"]), day, segment, int(answer["row"]))


def _original(event: CaseEvent, evidence: Evidence | None) -> bytes | str:
    """The event's own bytes, or why they are not there."""
    if evidence is None:
        return NO_STATE
    try:
        found = evidence.original(event)
    except (AppiaError, OSError) as error:
        return str(error)
    if id_in(found) != event.event_id:
        return "the state directory has another event there than the replica: is it the same?"
    return found


def _with_days(
    listing: Listing, files: dict[str, bytes], answers: Sequence[Answers], evidence: Evidence
) -> Listing:
    """Add what shows that the events were in their days, and what they were compared with."""
    own = {place for event in listing.events for place in _sealed(event.day, event.segment)}
    shown = {place for one in answers for place in _places(one.similar)}
    evidence.add_days(own | shown, frozenset(own))
    files |= evidence.files
    left_out = [*listing.left_out, *evidence.left_out]
    for number, event in enumerate(listing.events, 1):
        original, generation = files.get(event_file(number, ORIGINAL)), generation_of(event.segment)
        if generation is None:
            left_out.append(LeftOut(f"event {number}", "the day is open: it is signed once it is sealed"))
        elif original is not None and not evidence.holds(event.day, generation, original):
            left_out.append(
                LeftOut(
                    f"event {number}", "that it was in its sealed day cannot be shown: run `appia verify`"
                )
            )
    return replace(listing, head=evidence.head, left_out=tuple(left_out))


def _sealed(day: str, segment: str) -> Iterator[tuple[str, int]]:
    generation = generation_of(segment) if is_place(day, segment) else None
    if generation is not None:
        yield day, generation


def _places(value: object) -> Iterator[tuple[str, int]]:
    """The day and sealed generation of every event that an answer shows."""
    if isinstance(value, dict):
        if "event_id" in value and "segment" in value:
            yield from _sealed(str(value.get("day")), str(value["segment"]))
        for one in value.values():
            yield from _places(one)
    elif isinstance(value, list):
        for one in value:
            yield from _places(one)


def _finished(
    listing: Listing, files: dict[str, bytes], answers: Sequence[Answers], key: SigningKey
) -> tuple[Listing, bytes]:
    files[PAGE] = page_of(listing, [_same(one) for one in answers])
    ordered = {name: files[name] for name in sorted(files)}
    listing = replace(listing, files=digests(ordered))
    listed = to_bytes(listing)
    return listing, archive_of({LISTING: listed, SIGNATURE: sign(listed, key), **ordered})


def _same(answers: Answers) -> dict[str, Mapping[str, Any]]:
    return {name: _timeless(answer) for name, answer in answers.given().items()}


def _document(answer: Mapping[str, Any]) -> bytes:
    """An answer as JSON, without the one number that differs each time."""
    return (json.dumps(_timeless(answer), sort_keys=True, indent=1, allow_nan=False) + "\n").encode("ascii")


def _timeless(answer: Mapping[str, Any]) -> dict[str, Any]:
    same = dict(answer)
    if isinstance(same.get("receipt"), dict):
        same["receipt"] = {key: value for key, value in same["receipt"].items() if key != "took_ms"}
    if isinstance(same.get("explanation"), dict):
        same["explanation"] = _timeless(same["explanation"])
    return same
