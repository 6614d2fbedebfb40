"""Tables of patterns say of each narrative what a plain count over the events says, however they came to be."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.rag.entities import address_text
from services.rag.pattern_tables import HOSTS_KEPT, PatternTable, SegmentTables, merge_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.common.days.view import SegmentView
    from services.rag.pattern_tables import Pairs

OLD, NEW, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"


@pytest.fixture
def views(world: Any, follow: Any) -> list[SegmentView]:
    """Two sealed days and an open one; the flood of one host is in all of them."""
    for day in (OLD, NEW, OPEN):
        events = world.make(day, 50)
        world.write(day, [*events, *world.flood(day, 90)])
        if day != OPEN:
            world.seal(day)
    with follow(world).lease() as snapshot:
        return [segment.view for segment in snapshot.segments]


def told(table: PatternTable) -> dict[str, Any]:
    """What a table says of each narrative, in plain values."""

    def hosts(pairs: Pairs, number: int) -> dict[str, int]:
        codes, events = pairs.of(number)
        names = [address_text(table.addresses[code].tobytes()) for code in codes.tolist()]
        return dict(zip(names, events.tolist(), strict=True))

    def classes(number: int) -> dict[str, int]:
        codes, events = table.classes.of(number)
        return {table.texts[c]: e for c, e in zip(codes.tolist(), events.tolist(), strict=True)}

    return {
        text: (
            int(table.spans.counts[number]),
            int(table.spans.first_ns[number]),
            int(table.spans.last_ns[number]),
            hosts(table.sides[0], number),
            hosts(table.sides[1], number),
            classes(number),
        )
        for text, number in table.numbers.items()
    }


def counted(rows: Iterable[tuple[dict[str, Any], int]]) -> dict[str, Any]:
    """The same by a plain look at events (fields and time)."""
    found: dict[str, list[tuple[dict[str, Any], int]]] = {}
    for fields, time_ns in rows:
        found.setdefault(fields["narrative"], []).append((fields, time_ns))
    return {
        text: (
            len(pairs),
            min(time_ns for _, time_ns in pairs),
            max(time_ns for _, time_ns in pairs),
            *(dict(Counter(fields[name] for fields, _ in pairs)) for name in ("src_ip", "dst_ip", "class")),
        )
        for text, pairs in found.items()
    }


def events_of(view: SegmentView) -> list[tuple[dict[str, Any], int]]:
    times: Any = view.columns["time_ns"][: view.rows]
    return list(zip(view.events.fetch(range(view.rows)), times.tolist(), strict=True))


def test_a_table_counts_the_events_of_each_narrative(views: list[SegmentView]) -> None:
    """Number, first, last, hosts and classes of every narrative are those of a plain count."""
    for view in views:
        assert told(PatternTable().grown(view)) == counted(events_of(view))


def test_a_table_that_grew_is_that_made_at_once(views: list[SegmentView]) -> None:
    """However an open day was looked at while it grew, its table is the same."""
    tables = SegmentTables()
    for rows in (0, 1, 40, 41, 130, views[-1].rows):
        seen = replace(views[-1], rows=rows)
        assert told(tables.of(seen)) == counted(events_of(seen))
    assert tables.of(views[-1]) is tables.of(views[-1])


def test_a_question_that_began_earlier_sees_less(views: list[SegmentView]) -> None:
    """The table of fewer rows is right after that of more was made, and does not take its place."""
    tables = SegmentTables()
    whole = tables.of(views[-1])
    seen = replace(views[-1], rows=30)
    assert told(tables.of(seen)) == counted(events_of(seen))
    assert tables.of(views[-1]) is whole


def test_chosen_rows_are_counted_alone(views: list[SegmentView]) -> None:
    """Of the rows that pass a filter only those with the wanted narratives count; unknown narratives have none."""
    for view in views:
        rows = np.arange(0, view.rows, 3)
        events = events_of(view)
        plain = counted([events[row] for row in rows.tolist()])
        wanted = [*list(plain)[:5], "a sentence that no event has"]
        found = told(PatternTable().grown(view).of_rows(view, rows, wanted))
        assert {text: found[text] for text in wanted[:5]} == {text: plain[text] for text in wanted[:5]}
        assert found[wanted[5]][0] == 0


def test_merged_tables_count_all_days(views: list[SegmentView]) -> None:
    """Tables of segments whose numbers of texts and addresses differ add up to a count over all of them."""
    merged = merge_tables([PatternTable().grown(view) for view in views])
    plain = counted([pair for view in views for pair in events_of(view)])
    found = told(merged)
    assert set(found) == set(plain)
    for text, facts in plain.items():
        if len(facts[3]) <= HOSTS_KEPT:
            assert found[text] == facts
        else:
            assert (*found[text][:3], *found[text][4:]) == (*facts[:3], *facts[4:])


def test_the_most_frequent_hosts_are_kept(views: list[SegmentView]) -> None:
    """Of too many hosts those with the most events stay, of equal ones the lowest addresses, and the number of all."""
    table = SegmentTables().of(views[0])
    (number,) = table.sides[0].cut
    assert table.sides[0].cut == {number: 90}
    kept = told(table)[list(table.numbers)[number]][3]
    whole = told(PatternTable().grown(views[0]))[list(table.numbers)[number]][3]
    ordered = sorted(whole.items(), key=lambda item: (-item[1], int(ipaddress.ip_address(item[0]))))
    assert len(kept) == HOSTS_KEPT
    assert sorted(kept.items()) == sorted(ordered[:HOSTS_KEPT])


def test_what_was_cut_off_is_at_least_so_many(world: Any, follow: Any) -> None:
    """Merged days tell the least number of hosts there can be, whichever comes first."""
    for day, hosts in ((OLD, 70), (NEW, 100)):
        world.rng = np.random.default_rng(5)
        world.write(day, world.flood(day, hosts))
        world.seal(day)
    with follow(world).lease() as snapshot:
        tables = [SegmentTables().of(segment.view) for segment in snapshot.segments]
    for order in (tables, tables[::-1]):
        merged = merge_tables(order)
        assert merged.sides[0].cut == {0: 100}
        assert len(merged.sides[0].of(0)[0]) == HOSTS_KEPT
        assert merged.sides[1].cut == {}
