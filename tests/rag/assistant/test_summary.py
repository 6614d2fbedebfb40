"""A summary says what was found, in the same words each time, and where to look."""

from __future__ import annotations

from typing import Any

from services.rag.assistant.records import Record, records_of
from services.rag.assistant.summary import NOTHING, SHOWN, summarize

HOST = {"count": 1, "at_least": False, "most": [{"address": "10.0.0.5", "events": 3}]}
HOSTS = {"count": 70, "at_least": True, "most": [{"address": "10.0.0.9", "events": 3}]}
EVENT: dict[str, Any] = {
    "time": "2026-01-22T10:00:00.123456Z",
    "src_ip": "10.0.0.5",
    "src_port": 1234,
    "dst_ip": "2001:db8::1",
    "dst_port": 443,
    "protocol": 6,
    "class": "MALICIOUS",
    "category": "",
    "label": "",
    "node": "core",
    "tags": "",
    "fast_reason": "",
    "overall": 0.987,
    "divergence": 0.1,
}


def group(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "narrative": f"a scan of kind {number}",
        "count": 1234,
        "first_seen": "2026-01-22T10:00:00.123456Z",
        "last_seen": "2026-01-23T11:00:00.123456Z",
        "hosts": {"sources": HOST, "destinations": HOSTS},
        "examples": [{**EVENT, "event_id": f"id-{number}-{n}"} for n in range(3)],
        **more,
    }


TIMELINE = {
    "host": "10.0.0.5",
    "total": {"out": 1280, "in": 3, "bytes": 5000, "peers": 4},
    "active_hours": 2,
    "watched_hours": 24,
    "changed": 1,
    "hours": [{}],
    "changes": [
        {
            "from": "2026-01-22T09:00:00Z",
            "to": "2026-01-22T10:00:00Z",
            "sentence": "began 1,280 events, usual are 3",
            "event_id": "id-change",
        }
    ],
}
NOVEL = group(7, count=1, events=5, last_seen="2026-01-22T10:00:00.9Z", percentile=99.99, nearest_before=None)


def test_all_that_was_found() -> None:
    """What was asked for in particular first, each with an event to look at."""
    records = [
        *records_of("search", {"groups": [group(1)]}),
        *records_of("novel", {"groups": [NOVEL]}),
        *records_of("timeline", TIMELINE),
    ]
    checked = summarize(records)
    assert checked.text.splitlines() == [
        "10.0.0.5 began 1,280 and received 3 events, with 4 other hosts, in 2 of 24 hours that were watched.",
        "What changed:",
        "1. 2026-01-22 09:00:00 to 10:00:00: began 1,280 events, usual are 3 [id-change]",
        "What was unlike everything before:",
        (
            "1. 1 event, 2026-01-22 10:00:00, from 10.0.0.5 to 10.0.0.9 and at least 69 more: "
            "a scan of kind 7 [id-7-0]"
        ),
        "What fits the question best:",
        (
            "1. 1,234 events, 2026-01-22 10:00:00 to 2026-01-23 11:00:00, "
            "from 10.0.0.5 to 10.0.0.9 and at least 69 more: a scan of kind 1 [id-1-0]"
        ),
    ]
    assert [event_id for _, event_id in checked.citations] == ["id-change", "id-7-0", "id-1-0"]


def test_no_more_than_a_few_of_each() -> None:
    """A summary is short."""
    checked = summarize(records_of("search", {"groups": [group(n) for n in range(30)]}))
    assert len(checked.citations) == SHOWN
    assert len(checked.text.splitlines()) == SHOWN + 1


def test_nothing_was_found() -> None:
    """Then it says so, and cites nothing; so does a host of which nothing is known."""
    assert records_of("timeline", {**TIMELINE, "hours": []}) == []
    checked = summarize([])
    assert (checked.text, checked.citations) == (NOTHING, ())


def test_what_a_record_tells() -> None:
    """Facts in a few words, fields that say nothing left out, ids nowhere among them."""
    (record,) = records_of("search", {"groups": [group(1)]})
    assert isinstance(record, Record)
    assert record.facts == {
        "events": 1234,
        "first_seen": "2026-01-22 10:00:00",
        "last_seen": "2026-01-23 11:00:00",
        "from": "10.0.0.5",
        "to": "10.0.0.9 and at least 69 more",
        "in_words": "a scan of kind 1",
    }
    assert record.events[0].facts == {
        "time": "2026-01-22 10:00:00",
        "from": "10.0.0.5:1234",
        "to": "[2001:db8::1]:443",
        "protocol": "tcp",
        "class": "MALICIOUS",
        "sensor": "core",
        "threat": 0.99,
        "divergence": 0.1,
    }
    assert [event.event_id for event in record.events] == ["id-1-0", "id-1-1", "id-1-2"]


def test_what_analysts_said_is_told_too() -> None:
    """It is the best that is known of an event."""
    said = [{"verdict": "false_positive", "note": "nightly\nbackup"}, {"verdict": None, "note": "ask again"}]
    example = {**EVENT, "event_id": "e", "feedback": said}
    (record,) = records_of("search", {"groups": [group(1, examples=[example])]})
    assert record.events[0].facts["analysts"] == "false_positive: nightly backup; note: ask again"


def test_what_was_nearest_before_is_told() -> None:
    """New against what?"""
    (record,) = records_of("novel", {"groups": [{**NOVEL, "nearest_before": {"narrative": "a question"}}]})
    assert record.facts["most_alike_before"] == "a question"
    assert record.facts["new_events"] == 1
    assert record.facts["events"] == 5
