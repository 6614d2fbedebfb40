"""Reads a question: which of its phrases are filters, and what is left to be looked for by meaning."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from services.rag.language.addresses import read_addresses
from services.rag.language.detectors import read_detectors
from services.rag.language.exclusion import (
    blanked,
    excluded_at,
    excluding_clauses,
    is_listed,
)
from services.rag.language.firewalls import read_firewalls
from services.rag.language.hints import hints_of, names_a_kind, read_techniques
from services.rag.language.moments import EARLIEST
from services.rag.language.names import read_names
from services.rag.language.places import read_places
from services.rag.language.ports import read_ports, read_protocols, read_services
from services.rag.language.rest import rest_of
from services.rag.language.text import TAKEN, Draft, one_line, plain
from services.rag.language.thresholds import SCORE_NAMES, read_thresholds
from services.rag.language.times import read_times
from services.rag.language.tongue import language_of
from services.rag.language.understanding import Facts, Part, Understood

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.rag.language.text import Reader, Reading

MAX_CHARACTERS = 1000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC throughout
# What says more comes first: of "ML score between 0.4 and 0.6" nothing is left that could be a time of the day.
_READERS: tuple[Reader, ...] = (
    read_addresses, read_ports, read_thresholds, read_detectors, read_firewalls, read_techniques, read_names,
    read_times, read_places, read_protocols, read_services,
)  # fmt: skip
_EXCLUDES = "is no filter: filters choose, and exclude nothing"
# What joins a phrase to the words before it, and means nothing without it.
_JOINT = re.compile(
    r"(?:(?<!\w)(?:and|but|at|on|in|of|over|via|through|against|towards?|to|from|with|for|by|using|the|our|an?|"
    r"y|pero|con|de|del|en|por|contra|hacia|a|al|el|la|los|las|un|una|desde|sobre|durante) ){1,4}$"
)
_LISTS = frozenset(
    (
        "src", "dst", "host", "src_port", "dst_port", "port", "protocol", "class", "category", "node", "tags",
        "technique", "hours",
    )
)  # fmt: skip


def understand(text: str, now_ns: int, facts: Facts) -> Understood:
    """What a question means, in English or Spanish.

    Args:
        text: the question, of any content and up to a thousand characters; what is behind them is not read.
        now_ns: what "yesterday" is relative to, nanoseconds since 1970 UTC.
        facts: the names that the data holds.

    Pure: the same arguments give the same answer, whatever the clock and the locale. Never raises. Blocks for less than
    a millisecond, with a written date for some, and for a tenth of a second with the first one.
    """
    shown = one_line(text[: 2 * MAX_CHARACTERS])[:MAX_CHARACTERS]
    whole = plain(shown)
    now = max(_EPOCH + timedelta(seconds=now_ns // 10**9), EARLIEST)
    taken: list[_Taken] = []
    draft = Draft(whole, language_of(shown, whole), now, facts)
    for reader in _READERS:
        readings = list(reader(draft))
        taken += [_Taken(reading, reading.note, reading.start) for reading in readings]
        draft = draft.without(readings)
    in_order = _doubted(whole, sorted(taken, key=lambda one: one.reading.start))
    filters, used, notes = _together(shown, in_order)
    excluded = [(one.start, one.reading.stop) for one in in_order if one.doubt == _EXCLUDES]
    left = blanked(_left(whole, used), excluded)
    names = (*facts.categories, *facts.classes)
    clauses = list(excluding_clauses(left, names_a_kind))
    left = blanked(left, clauses)
    return Understood(
        language=draft.language,
        parts=tuple(_part(shown, reading) for reading in used),
        filters=filters,
        rest=rest_of(shown, left),
        hints=hints_of(left, names),
        notes=(*notes, *(f"'{shown[start:stop]}' {_EXCLUDES}." for start, stop in clauses)),
    )


@dataclass(frozen=True)
class _Taken:
    """A reading, and why no filter is made of it: empty where one is."""

    reading: Reading
    doubt: str
    start: int  # where the phrase of the doubt begins


def _doubted(whole: str, taken: Iterable[_Taken]) -> list[_Taken]:
    """Readings in the order of the text; those that the text excludes are doubted."""
    doubted: list[_Taken] = []
    for one in taken:
        reading = one.reading
        start = excluded_at(whole, reading.start) if reading.filters else None
        before = doubted[-1] if doubted else None
        if start is None and before and before.doubt == _EXCLUDES:
            start = reading.start if is_listed(whole[before.reading.stop : reading.start]) else None
        doubted.append(one if start is None else _Taken(reading, _EXCLUDES, start))
    return doubted


def _together(shown: str, taken: Iterable[_Taken]) -> tuple[dict[str, Any], list[Reading], tuple[str, ...]]:
    """One map of all filters, the readings that it is of, and sentences on the others.

    Lists are joined, and of bounds the narrower holds; what contradicts a phrase before it is left out.
    """
    filters: dict[str, Any] = {}
    used, notes = [], []
    for one in taken:
        reading, doubt = one.reading, one.doubt
        joined = {key: _joined(key, filters.get(key, value), value) for key, value in reading.filters.items()}
        if not doubt and _contradict(filters | joined, reading.filters):
            doubt = "contradicts what is said before it, so it is no filter"
        if doubt:
            notes.append(f"'{shown[one.start : reading.stop].strip()}' {doubt}.")
        else:
            filters |= joined
            used.append(reading)
    return filters, used, tuple(notes)


def _joined(key: str, one: Any, other: Any) -> Any:
    if key in _LISTS and one != other:
        values = (one if isinstance(one, list) else [one]) + (other if isinstance(other, list) else [other])
        return list(dict.fromkeys(values))
    if key == "since" or key.startswith("min_"):
        return max(one, other)
    if key == "until" or key.startswith("max_"):
        return min(one, other)
    return one


def _contradict(filters: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether nothing could pass the filters: bounds that cross, or a flag that is both true and false."""
    crossed = "since" in filters and "until" in filters and filters["since"] >= filters["until"]
    crossed |= any(
        filters.get(f"min_{score}", 0) > filters.get(f"max_{score}", math.inf) for score in SCORE_NAMES
    )
    return crossed or any(isinstance(value, bool) and filters[key] != value for key, value in new.items())


def _left(whole: str, found: Sequence[Reading]) -> str:
    """What no filter was made of; what only joins a filter's phrase to the rest goes with it."""
    left = Draft(whole, "", _EPOCH, Facts()).without(found).plain
    for reading in found:
        joint = _JOINT.search(left, 0, reading.start)
        if joint:
            left = left[: joint.start()] + TAKEN * (reading.start - joint.start()) + left[reading.start :]
    return left


def _part(shown: str, reading: Reading) -> Part:
    return Part(shown[reading.start : reading.stop].strip(" ,"), dict(reading.filters), reading.sentence)
