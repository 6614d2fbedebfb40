"""Answers of the replicas as text for people. Every function takes the document that `--json` prints."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from services.cli.event_words import event_cells, event_columns, event_line, moment
from services.cli.output import counted, print_lines, print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST_COLUMNS = ["~host", "day", ">out", ">in", ">peers", ">malicious", "!last seen (UTC)"]
MOST_VALUES = 10


def show_hits(answer: Mapping[str, Any]) -> None:
    """The hits of `similar` or `search`, best first."""
    hits = answer["hits"]
    if hits:
        rows = [[number, f"{hit['score']:.4f}", *event_cells(hit)] for number, hit in enumerate(hits, 1)]
        print_table([">#", ">score", *event_columns(hits)], rows)
        print_prose(*_narratives(hits))
    else:
        print_lines("No event was found.")


def show_hosts(answer: Mapping[str, Any]) -> None:
    """The host asked about and those like it, best first."""
    asked = answer["host"]
    print_prose(f"{asked['address']} on {asked['day']}: {asked['summary']}")
    hits = answer["hits"]
    if hits:
        rows = [[number, f"{hit['score']:.4f}", *_host_cells(hit)] for number, hit in enumerate(hits, 1)]
        print_table([">#", ">score", *HOST_COLUMNS], rows)
        print_prose(*(f"{number}: {hit['summary']}" for number, hit in enumerate(hits, 1)))
    else:
        print_lines("No other host was found.")


def show_events(answer: Mapping[str, Any]) -> None:
    """The events of `list`."""
    events = answer["events"]
    if events:
        print_table(event_columns(events), [event_cells(event) for event in events])
    else:
        print_lines("No event passes the filters.")
    if answer["next"]:
        print_lines(f"more: --after {shlex.quote(answer['next'])}")


def show_event(answer: Mapping[str, Any]) -> None:
    """One event whole."""
    fields = answer["fields"]
    print_prose(event_line(fields), f"   {fields['narrative']}")
    if "blocked" in fields:
        print_lines(f"   blocked by a firewall: {fields['blocked']}")
    print_lines(f"   row {answer['row']} of {answer['segment']} of {answer['day']}")
    print_lines(*json.dumps(answer["event"], indent=2, ensure_ascii=False).splitlines())


def show_days(answer: Mapping[str, Any]) -> None:
    """The days that are served."""
    days = answer["days"]
    if not days:
        print_lines("There are no events yet.")
        return
    names = list(days[0]["indices"])
    rows = [
        [
            day["day"],
            day["state"],
            f"{day['rows']:,}",
            *(f"{day['indices'][n]['rows']:,}" for n in names),
            f"{day['hosts']['rows']:,}" if day["hosts"] else "on demand",
        ]
        for day in days
    ]
    print_table(["day", "state", ">events", *(f">{name}" for name in names), ">hosts"], rows)
    for name in names:
        models = Counter(day["indices"][name]["model"] for day in days if day["indices"][name]["model"])
        if len(models) > 1:
            told = ", ".join(f"{model} {counted(count, 'day')}" for model, count in sorted(models.items()))
            print_prose(f"{name} is of several models: {told}; `appia reindex` brings sealed days up to date")
    for day in days:
        print_lines(*(f"{day['day']}: {fault}" for fault in day["faults"]))


def show_stats(answer: Mapping[str, Any]) -> None:
    """Counts over everything that is served."""
    print_lines(f"{counted(answer['rows'], 'event')} in {counted(len(answer['days']), 'day')}")
    if answer["first_event"]:
        print_lines(f"first {answer['first_event']}, last {answer['last_event']}")
    if answer["hosts"]:
        hosts = answer["hosts"].values()
        print_lines(f"hosts: up to {max(hosts):,} a day in {counted(len(hosts), 'sealed day')}")
    for title in ("classes", "categories", "nodes"):
        counts = list(answer[title].items())
        shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in counts[:MOST_VALUES])
        more = f", and {len(counts) - MOST_VALUES} more" if len(counts) > MOST_VALUES else ""
        print_prose(f"{title}: {shown or '-'}{more}")


def receipt_line(receipt: Mapping[str, Any]) -> str:
    """What was searched, what was missing and how long it took, in one line."""
    days: Sequence[str] = receipt["days"]
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "none"
    line = (
        f"searched {counted(receipt['rows'], 'row')} of {counted(len(days), 'day')} ({span}) "
        f"in {receipt['took_ms']:.1f} ms"
    )
    newest = receipt.get("newest_event")
    if newest and not receipt["rows"]:
        line += f"; the newest event here is of {moment(newest)}"
    missing = [f"{gap['index']} of {gap['day']}: {gap['reason']}" for gap in receipt["missing"]]
    return f"{line}; missing: {'; '.join(missing)}" if missing else f"{line}; nothing was missing"


def _host_cells(host: Mapping[str, Any]) -> list[object]:
    began, received = host["out"], host["in"]
    return [
        host["address"],
        host["day"],
        f"{began['events']:,}",
        f"{received['events']:,}",
        f"{began['peers']:,}+{received['peers']:,}",
        f"{host['verdicts']['malicious']:.1%}",
        moment(host["last_seen"]),
    ]


def _narratives(hits: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the hits are in words, each text once, behind the numbers of its hits."""
    numbers: dict[str, list[int]] = {}
    for number, hit in enumerate(hits, 1):
        numbers.setdefault(hit["narrative"], []).append(number)
    return [f"{_spans(found)}: {text}" for text, found in numbers.items()]


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in few characters: 1-3, 7."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
