"""Joins events to decisions of firewalls by address, time and kind: was it blocked?

A block holds for everything that its address sends or gets, from the decision until it ends: by its duration, or by a
later decision that releases the address. The events that led to a decision come before it: those of the last two
minutes before that are of its kind (`leads`) count as blocked too, since what they belong to was stopped.

    event      |-- BEFORE, same kind --| decision |-- duration, any kind --|
    blocked         yes                     yes                               no, while firewalls report; else unknown
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from services.common.decisions.decision import Effect
from services.common.events.known_names import BENIGN_WORDS
from services.common.events.network_security_pb2 import DetectionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.common.days.view import SegmentView
    from services.common.decisions.book import Page

    Times = NDArray[np.int64]
    Mask = NDArray[np.bool_]

BEFORE_NS = 120 * 10**9
"""How long before a decision the events are that led to it: a flow is seen, judged, and then decided upon."""
AROUND_NS = 3600 * 10**9
"""A firewall that decided anything within an hour of an event would have said if it had blocked it."""
US = 1000
"""Nanoseconds; times are compared in whole microseconds, which is how answers show them."""
Whole = TypeVar("Whole", int, "NDArray[np.int64]")
_BENIGN, _DDOS, _RANSOMWARE, _INTERNAL = 1, 2, 4, 8
_TRAITS = (
    (_DDOS, re.compile(r"\bd?dos|flood|denial")),
    (_RANSOMWARE, re.compile(r"ransom")),
    (_INTERNAL, re.compile(r"internal|insider|lateral|exfil")),
)
_LED_TO: dict[int, int] = {
    DetectionType.DETECTION_DDOS: _DDOS,
    DetectionType.DETECTION_RANSOMWARE: _RANSOMWARE,
    DetectionType.DETECTION_INTERNAL_THREAT: _INTERNAL,
}


class Blocked(StrEnum):
    """Whether a firewall stopped an event."""

    YES = "yes"
    NO = "no"
    """A firewall decided something within an hour of it, and nothing that stopped it."""
    UNKNOWN = "unknown"
    """No firewall reported around that time, or the decision does not say what was done."""


def traits_of(klass: str, category: str) -> int:
    """What the words of an event say about its kind, as bits."""
    text = f"{klass} {category}".casefold().replace("_", " ").replace("-", " ")
    found = sum(bit for bit, pattern in _TRAITS if pattern.search(text))
    return found | (_BENIGN if klass.casefold() in BENIGN_WORDS else 0)


def leads(kind: int, traits: Times) -> Mask:
    """Whether events with these traits (n,) may have led to a decision of a kind (DetectionType).

    A benign one never; otherwise one that is of the kind, one whose words name no kind, and any where the decision
    names none: UNKNOWN and SUSPICIOUS_TRAFFIC.
    """
    alarming = (traits & _BENIGN) == 0
    wanted = _LED_TO.get(kind)
    if wanted is None:
        return np.asarray(alarming, bool)
    named = traits & (_DDOS | _RANSOMWARE | _INTERNAL)
    return np.asarray(alarming & ((named == 0) | ((named & wanted) != 0)), bool)


def ends_of(found: NDArray[np.void]) -> Times:
    """When each decision on one address ends, nanoseconds: by itself, or because a later one releases the address."""
    until: Times = found["until_ns"].copy()
    releases = np.flatnonzero(found["effect"] == Effect.RELEASES)
    if len(releases):
        following = np.searchsorted(releases, np.arange(len(found)), "right")
        ended = following < len(releases)
        until[ended] = np.minimum(until[ended], found["time_ns"][releases[following[ended]]])
    return until


def covered(found: NDArray[np.void], effect: Effect, times: Times, traits: Times) -> Mask:
    """Which events on one address decisions with an effect stand for.

    Args:
        found: all decisions on the address, ordered by time.
        effect: of the decisions that count.
        times: of the events, nanoseconds in whole microseconds, (n,).
        traits: of the events, (n,).
    """
    chosen = found["effect"] == effect
    if not chosen.any():
        return np.zeros(len(times), bool)
    begin, end = whole_us(found["time_ns"][chosen]), whole_us(ends_of(found)[chosen])
    standing = _inside(begin, end, times)
    for kind in np.unique(found["kind"][chosen]).tolist():
        of_kind = begin[found["kind"][chosen] == kind]
        standing |= _inside(of_kind - BEFORE_NS, of_kind, times) & leads(kind, traits)
    return standing


def deciding(found: NDArray[np.void], effect: Effect, time_ns: int, traits: int) -> int | None:
    """The place of the decision that stands for one event, as `covered` has it; None where none does.

    Of several it is the latest that had been taken when the event was; where there is none yet, the first after it.
    """
    chosen = np.flatnonzero(found["effect"] == effect)
    if not len(chosen):
        return None
    begin, end = whole_us(found["time_ns"][chosen]), whole_us(ends_of(found)[chosen])
    standing = np.flatnonzero((begin <= time_ns) & (time_ns < end))
    if len(standing):
        return int(chosen[standing[-1]])
    following = np.flatnonzero((begin - BEFORE_NS <= time_ns) & (time_ns < begin))
    led = (at for at in chosen[following].tolist() if leads(found["kind"][at], np.array([traits]))[0])
    return next(led, None)


def whole_us(times: Whole) -> Whole:
    """Nanoseconds without what is finer than a microsecond."""
    return times // US * US


def _inside(begins: Times, ends: Times, times: Times) -> Mask:
    """Which times lie in one of the spans `[begin, end)`: more have begun there than have ended."""
    begun = np.searchsorted(np.sort(begins), times, "right")
    return np.asarray(begun > np.searchsorted(np.sort(ends), times, "right"), bool)


def covered_rows(page: Page, view: SegmentView, effects: Sequence[Effect]) -> list[Times]:
    """For each effect the rows of a segment that decisions with it stand for, int64, ascending."""
    passing = np.zeros((len(effects), view.rows), bool)
    codes, rows = _rows_with(view, page.known_among(view.addresses))
    times = whole_us(np.asarray(view.columns["time_ns"][rows], np.int64))
    traits = _traits_of_rows(view, rows)
    for start, stop in zip(*_stretches(codes), strict=True):
        found = page.of(view.addresses[codes[start]].tobytes())
        its = slice(start, stop)
        for number, effect in enumerate(effects):
            passing[number, rows[its]] |= covered(found, effect, times[its], traits[its])
    return [np.flatnonzero(one) for one in passing]


def _rows_with(view: SegmentView, codes: Times) -> tuple[Times, Times]:
    """The rows that have one of some addresses on a side, once for each side: its code, ascending, and the row."""
    if not len(codes):
        return codes, codes
    wanted = np.zeros(len(view.addresses), bool)
    wanted[codes] = True
    sides = [np.asarray(view.columns[side][: view.rows], np.int64) for side in ("src_ip", "dst_ip")]
    rows = [np.flatnonzero(wanted.take(side)) for side in sides]
    found = np.concatenate([side[at] for side, at in zip(sides, rows, strict=True)])
    order = np.argsort(found, kind="stable")
    return found[order], np.concatenate(rows)[order]


def _stretches(ordered: NDArray[np.generic]) -> tuple[list[int], list[int]]:
    """Where stretches of equal values begin and end."""
    if not len(ordered):
        return [], []
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]).tolist()
    return begins, [*begins[1:], len(ordered)]


def _traits_of_rows(view: SegmentView, rows: Times) -> Times:
    klass, category = (np.asarray(view.columns[name][rows], np.int64) for name in ("class", "category"))
    distinct, places = np.unique(klass * len(view.texts) + category, return_inverse=True)
    pairs = (divmod(number, len(view.texts)) for number in distinct.tolist())
    known = [traits_of(view.texts[one], view.texts[other]) for one, other in pairs]
    return np.array(known, np.int64)[places] if known else np.zeros(0, np.int64)
