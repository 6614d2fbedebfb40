"""A summary of what was found, in fixed words: the answer where no model gives one. The same records, the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.rag.assistant.checking import Checked, cite, plain_field
from services.rag.assistant.records import FIELD, WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.rag.assistant.records import Record

SHOWN = 5
"""Records of each kind that are told."""
NOTHING = "No event was found that answers this."
_TITLES = {
    "timeline": "What changed:",
    "novel": "What was unlike everything before:",
    "search": "What fits the question best:",
}


def summarize(records: Sequence[Record]) -> Checked:
    """The most important records, each with an event to look at."""
    labels: dict[str, str] = {}
    lines: list[str] = []
    for kind, title in _TITLES.items():
        told = [record for record in records if record.found_by == kind]
        lines += _lines(title, told, labels)
    return cite("\n".join(lines) or NOTHING, labels)


def _lines(title: str, records: Sequence[Record], labels: dict[str, str]) -> Iterator[str]:
    """A title and a line for each record; the events that these cite are added to `labels`."""
    totals = [record for record in records if not record.events]
    yield from (_total(record) for record in totals)
    shown = [record for record in records if record.events]
    if not shown:
        return
    yield title
    for number, record in enumerate(shown[:SHOWN], 1):
        label = f"E{len(labels) + 1}"
        labels[label] = record.events[0].event_id
        yield f"{number}. {_told(record)} [{label}]"


def _told(record: Record) -> str:
    facts = record.facts
    span = _span(str(facts["first_seen"]), str(facts["last_seen"]))
    words = plain_field(facts["in_words"], WORDS)
    if record.found_by == "timeline":
        return f"{span}: {words}"
    count = facts.get("new_events", facts["events"])
    hosts = f"from {plain_field(facts['from'], FIELD)} to {plain_field(facts['to'], FIELD)}"
    return f"{count:,} event{'' if count == 1 else 's'}, {span}, {hosts}: {words}"


def _span(first: str, last: str) -> str:
    """From when to when, without saying the same day or moment twice."""
    day, _, moment = last.partition(" ")
    if first == last:
        return first
    return f"{first} to {moment if first.startswith(day) else last}"


def _total(record: Record) -> str:
    facts = record.facts
    return (
        f"{plain_field(facts['host'], FIELD)} began {facts['events_begun']:,} and received "
        f"{facts['events_received']:,} events, with {facts['other_hosts']:,} other hosts, in "
        f"{facts['active_hours']:,} of {facts['watched_hours']:,} hours that were watched."
    )
