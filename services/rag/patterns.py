"""Groups hits into patterns: all events with the same narrative are one (docs/queries.md, "Patterns").

What is said about a pattern is about all its events that pass the filters, however far the search looked: it is read
from the tables of segments (`pattern_tables`), and where filters choose some rows of a segment, counted from these.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.columns import ADDRESS_BYTES
from services.rag.entities import address_text
from services.rag.pattern_tables import PatternTable, merge_tables
from services.rag.scope import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from services.rag.nearest import Hits
    from services.rag.pattern_tables import Pairs
    from services.rag.scope import Scope

    Show = Callable[[NDArray[np.int64]], Sequence[dict[str, Any]]]

EXAMPLES = 3
"""Events of a pattern that are shown."""
NAMED = 3
"""Hosts of either side of a pattern that are named, those with the most events."""
_FACTS = ("index", "model", "score", "scores", "distance")
"""What a pattern has of its best hit."""
_MERGED_KEPT = 4
"""Sets of sealed segments whose merged tables are kept: all days, and those of the last few filters by day."""


class Patterns:
    """Groups hits, and remembers the merged tables of sealed days. Safe for several threads."""

    def __init__(self) -> None:
        """Know nothing yet: tables are made when they are first asked for."""
        self._lock = threading.Lock()
        self._merged: OrderedDict[tuple[PatternTable, ...], PatternTable] = OrderedDict()

    def groups(self, scope: Scope, hits: Hits, show: Show, k: int) -> list[dict[str, Any]]:
        """The patterns of ranked hits: at most `k`, in the order of the best hit of each.

        Args:
            scope: what was searched.
            hits: the best first.
            show: gives the hits with some numbers as plain fields, with their facts (`nearest.show`); those that are
                shown are the `EXAMPLES` best of each pattern.
            k: how many patterns at most.

        Returns:
            For each pattern `narrative`, the facts of its best hit (`score` and so on), `count`, `first_seen` and
            `last_seen` (ISO 8601, UTC), `classes`, `hosts` and `examples`.
        """
        numbers: dict[str, list[int]] = {}
        for number, text in enumerate(narratives_of(scope, hits)):
            if text in numbers or len(numbers) < k:
                numbers.setdefault(text, []).append(number)
        chosen = {text: found[:EXAMPLES] for text, found in numbers.items()}
        shown = iter(show(np.array([number for found in chosen.values() for number in found], np.int64)))
        examples = {text: [next(shown) for _ in found] for text, found in chosen.items()}
        tables = self._tables(scope, list(chosen))
        return [_group(text, found, _told(tables, text)) for text, found in examples.items()]

    def describe(self, scope: Scope, narratives: Sequence[str]) -> list[dict[str, Any]]:
        """What is known about the events with each narrative that pass: `count` to `hosts` of `groups`."""
        tables = self._tables(scope, narratives)
        return [_told(tables, text) for text in narratives]

    def count(self, scope: Scope) -> int:
        """How many patterns there are among all events that pass."""
        sealed = tuple(p.segment.tables.of(p.view) for p in scope.parts if p.rows is None and p.view.sealed)
        known = self._merge(sealed).numbers if sealed else {}
        more: set[str] = set()
        for part in scope.parts:
            if part.rows is not None:
                codes = np.bincount(np.asarray(part.view.columns["narrative"][part.rows]))
                more.update(part.view.texts[code] for code in np.flatnonzero(codes).tolist())
            elif not part.view.sealed:
                more.update(part.segment.tables.of(part.view).numbers)
        return len(known) + len(more - known.keys())

    def _tables(self, scope: Scope, narratives: Sequence[str]) -> list[PatternTable]:
        """Tables that together have the events of these narratives that pass; at most one for what never changes."""
        sealed, others, chosen = [], [], []
        for part in scope.parts:
            table = part.segment.tables.of(part.view)
            if part.rows is not None:
                chosen.append(table.of_rows(part.view, part.rows, narratives))
            elif part.view.sealed:
                sealed.append(table)
            else:
                others.append(table)
        return [
            *([self._merge(tuple(sealed))] if sealed else []),
            *others,
            *([merge_tables(chosen)] if chosen else []),
        ]

    def _merge(self, tables: tuple[PatternTable, ...]) -> PatternTable:
        """The tables of sealed segments as one; blocks while it is made, about a millisecond a day."""
        with self._lock:
            found = self._merged.pop(tables, None)
            if found is None:
                found = merge_tables(tables)
            self._merged[tables] = found
            if len(self._merged) > _MERGED_KEPT:
                self._merged.popitem(last=False)
            return found


def narratives_of(scope: Scope, hits: Hits) -> list[str]:
    """The narrative of each hit."""
    codes = np.zeros(len(hits.rows), np.int64)
    for number in np.flatnonzero(np.bincount(hits.parts)).tolist():
        here = hits.parts == number
        codes[here] = scope.parts[number].view.columns["narrative"][hits.rows[here]]
    texts = [part.view.texts for part in scope.parts]
    return [texts[part][code] for part, code in zip(hits.parts.tolist(), codes.tolist(), strict=True)]


def _group(narrative: str, examples: list[dict[str, Any]], told: dict[str, Any]) -> dict[str, Any]:
    best = examples[0]
    facts: dict[str, Any] = {name: best[name] for name in _FACTS if name in best}
    return {"narrative": narrative, **facts, **told, "examples": examples}


def _told(tables: Sequence[PatternTable], narrative: str) -> dict[str, Any]:
    """What is said about all events with a narrative."""
    found = [(table, table.numbers[narrative]) for table in tables if narrative in table.numbers]
    spans = [(table.spans, number) for table, number in found]
    counts = [int(spans.counts[number]) for spans, number in spans]
    sources, destinations = (
        _hosts([(table.sides[side], number, table.addresses) for table, number in found]) for side in range(2)
    )
    classes: Counter[str] = Counter()
    for table, number in found:
        codes, events = table.classes.of(number)
        for code, count in zip(codes.tolist(), events.tolist(), strict=True):
            classes[table.texts[code]] += count
    return {
        "count": sum(counts),
        "first_seen": iso_time(min(int(s.first_ns[number]) for s, number in spans)),
        "last_seen": iso_time(max(int(s.last_ns[number]) for s, number in spans)),
        "classes": dict(sorted(classes.items(), key=lambda item: (-item[1], item[0]))),
        "hosts": {"sources": sources, "destinations": destinations},
    }


def _hosts(found: Sequence[tuple[Pairs, int, NDArray[np.uint8]]]) -> dict[str, Any]:
    """How many hosts there are on one side, and those with the most events.

    Of a narrative whose hosts were cut off somewhere, both their number and their events are the least there can be.
    """
    total: dict[bytes, int] = {}
    least = 0
    for pairs, number, addresses in found:
        codes, events = pairs.of(number)
        raw = addresses[codes].tobytes()
        for place, count in enumerate(events.tolist()):
            address = raw[place * ADDRESS_BYTES : (place + 1) * ADDRESS_BYTES]
            total[address] = total.get(address, 0) + count
        least = max(least, pairs.cut.get(number, 0))
    most = nsmallest(NAMED, total.items(), key=lambda item: (-item[1], item[0]))
    return {
        "count": max(len(total), least),
        "at_least": least > 0,
        "most": [{"address": address_text(address), "events": count} for address, count in most],
    }
