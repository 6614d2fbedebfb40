"""The page of a case, `index.html`: for people, without appia and without a network.

It has no script, no link and no picture, and tells the browser to load none. Whatever it shows was written by others.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from services.common.cases.markup import Html, joined, tag, told, told_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.common.cases.listing import CaseEvent, Listing
    from services.common.cases.markup import Child

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1c2733}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem;border-top:2px solid #1c2733;padding-top:.6rem}
h3{font-size:1rem;margin-bottom:.3rem}table{border-collapse:collapse;max-width:100%}
th,td{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0;border-bottom:1px solid #dfe5ea}
th{font-weight:600;white-space:nowrap}td{overflow-wrap:anywhere}code{font-size:.9em;overflow-wrap:anywhere}
bdi{overflow-wrap:anywhere}.wide{overflow-x:auto}.note{border-left:4px solid #b36b00;padding:.1rem 0 .1rem .8rem}
details{margin:.4rem 0}summary{cursor:pointer;color:#0b5394}.quiet{color:#5b6975}
@media(prefers-color-scheme:dark){body{background:#14191e;color:#dfe5ea}h2{border-color:#dfe5ea}
th,td{border-color:#34404a}summary{color:#7db4e8}.quiet{color:#97a5b0}}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
"""Content Security Policy Level 3: the one style sheet that stands in the page, and nothing else."""

_NEIGHBOUR = ("score", "event", "time (UTC)", "from", "to", "class", "events", "in words")
_MOST_DELTAS = 8
_TOLD_ELSEWHERE = frozenset({"event_id", "narrative", "feedback"})
_ABSENT = tag("p", "Not in this case.", class_="quiet")


def page_of(listing: Listing, answers: Sequence[Mapping[str, Any]]) -> bytes:
    """The page; `answers` has for each event of the listing what was answered by `get`, `similar` and `feedback`."""
    title = f"Case of {len(listing.events)} event{'' if len(listing.events) == 1 else 's'}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    events = [
        _event(number, event, answer)
        for number, (event, answer) in enumerate(zip(listing.events, answers, strict=True), 1)
    ]
    body = tag("body", tag("h1", title), *_front(listing), *events)
    return b"<!DOCTYPE html>\n" + tag("html", head, body, lang="en").text.encode("ascii") + b"\n"


def _front(listing: Listing) -> Iterable[Html]:
    if listing.note:
        yield tag("p", told_lines(listing.note))
    yield tag(
        "p",
        "This page shows what the other files of the case hold. Whether they are what was signed, appia says: ",
        tag("code", "appia verify-case FILE --public-key KEY"),
        ". Addresses, names and sentences come from recorded traffic and from people, and may be meant to mislead.",
        class_="quiet",
    )
    facts = {"seen as of": listing.as_of, "head of the chain": listing.head or "no chain was at hand"}
    yield _table((), facts.items())
    if listing.left_out:
        rows = [(one.what, one.why) for one in listing.left_out]
        yield tag("div", tag("h3", "Not in this case"), _table((), rows), class_="note")


def _event(number: int, event: CaseEvent, answer: Mapping[str, Any]) -> Html:
    get, similar, feedback = (answer.get(name) or {} for name in ("get", "similar", "feedback"))
    fields = get.get("fields") or {}
    facts = {
        "day": event.day,
        "place": f"{event.segment}, row {event.row}",
        "SHA-256 of its own bytes": event.sha256 or "not in this case",
        **{key: fields[key] for key in sorted(fields) if key not in _TOLD_ELSEWHERE and fields[key] != ""},
    }
    return tag(
        "section",
        tag("h2", f"Event {number}: ", told(event.event_id)),
        tag("p", told(fields.get("narrative", ""))),
        _value(facts),
        _details("Everything its sensor said", get.get("event")),
        tag("h3", "What analysts said"),
        _remarks(feedback.get("remarks") or []) if feedback else _ABSENT,
        tag("h3", "Most like it"),
        _neighbours(similar) if similar else _ABSENT,
        *_explained(similar.get("explanation") or {}),
        *(
            _details(f"Receipt of {name}", one["receipt"])
            for name, one in (("the event", get), ("what is like it", similar), ("what was said", feedback))
            if one.get("receipt")
        ),
    )


def _remarks(remarks: Sequence[Mapping[str, Any]]) -> Html:
    if not remarks:
        return tag("p", "Nothing.", class_="quiet")
    columns = ("time", "analyst", "verdict", "confidence", "tags", "note", "")
    rows = [
        (
            *(remark.get(key) for key in ("time", "analyst", "verdict", "confidence")),
            ", ".join(map(str, remark.get("tags") or ())),
            told_lines(str(remark.get("note") or "")),
            "" if remark.get("stands") else "no longer stands",
        )
        for remark in remarks
    ]
    return _table(columns, rows)


def _neighbours(similar: Mapping[str, Any]) -> Html:
    groups = similar.get("groups") or []
    if not groups:
        return tag("p", "Nothing was found.", class_="quiet")
    return _table(_NEIGHBOUR, [_neighbour(group) for group in groups])


def _neighbour(group: Mapping[str, Any]) -> tuple[object, ...]:
    nearest = (group.get("examples") or [{}])[0]
    return (
        _number(group.get("score")),
        *(nearest.get(key) for key in ("event_id", "time")),
        *(f"{nearest.get(f'{side}_ip', '')} {nearest.get(f'{side}_port', '')}" for side in ("src", "dst")),
        ", ".join(map(str, group.get("classes") or ())),
        group.get("count"),
        group.get("narrative"),
    )


def _explained(explanation: Mapping[str, Any]) -> Iterable[Html]:
    for other in explanation.get("others") or ():
        told_deltas = [*(other.get("changed") or ()), *(other.get("deltas") or ())]
        lines = [tag("li", told(delta.get("says", ""))) for delta in told_deltas[:_MOST_DELTAS]]
        name = (other.get("event") or {}).get("event_id", "")
        yield tag(
            "details",
            tag("summary", "What tells it from ", told(name)),
            tag("ul", *lines) if lines else tag("p", "Nothing."),
        )
    what_if = explanation.get("what_if") or {}
    if what_if.get("says"):
        yield tag("p", "To be benign: ", told(what_if["says"]))


def _details(summary: str, value: object) -> Html:
    return tag("details", tag("summary", summary), _value(value))


def _value(value: object) -> Html:
    """Any value of JSON: maps and lists of maps as tables in tables."""
    if isinstance(value, dict):
        return _table((), ((key, _value(one)) for key, one in value.items()))
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        return _table((), ((number, _value(one)) for number, one in enumerate(value, 1)))
    if isinstance(value, list):
        return joined(piece for one in value for piece in (_value(one), " "))
    return told(value) if isinstance(value, str) else told(json.dumps(value))


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table; without columns the first cell of each row is its head."""
    lines = [tag("tr", *(tag("th", name) for name in columns))] if columns else []
    for row in rows:
        cells = [tag("td" if number or columns else "th", _cell(cell)) for number, cell in enumerate(row)]
        lines.append(tag("tr", *cells))
    return tag("div", tag("table", tag("tbody", *lines)), class_="wide")


def _cell(value: object) -> Child:
    return value if isinstance(value, Html) else None if value is None else told(value)
