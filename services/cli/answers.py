"""Answers of the replicas as text for people. Every function takes the document that `--json` prints."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from services.cli.output import counted, print_lines, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmpv6", 132: "sctp"}
"""IANA, Assigned Internet Protocol Numbers: those that filters know by name."""

EVENT_COLUMNS = ["time (UTC)", "from", "to", "protocol", "class", "category", ">threat", "event"]
HOST_COLUMNS = ["host", "day", ">out", ">in", ">peers", "malicious", "last seen (UTC)"]
MOST_VALUES = 10


def show_hits(answer: Mapping[str, Any]) -> None:
    """The hits of `similar` or `search`, best first."""
    hits = answer["hits"]
    if hits:
        rows = [[number, f"{hit['score']:.4f}", *_event_cells(hit)] for number, hit in enumerate(hits, 1)]
        print_table([">#", ">score", *EVENT_COLUMNS], rows)
        print_lines(*_narratives(hits))
    else:
        print_lines("No event was found.")
    print_lines(receipt_line(answer["receipt"]))


def show_hosts(answer: Mapping[str, Any]) -> None:
    """The host asked about and those like it, best first."""
    asked = answer["host"]
    print_lines(f"{asked['address']} on {asked['day']}: {asked['summary']}")
    hits = answer["hits"]
    if hits:
        rows = [[number, f"{hit['score']:.4f}", *_host_cells(hit)] for number, hit in enumerate(hits, 1)]
        print_table([">#", ">score", *HOST_COLUMNS], rows)
        print_lines(*(f"{number}: {hit['summary']}" for number, hit in enumerate(hits, 1)))
    else:
        print_lines("No other host was found.")
    print_lines(receipt_line(answer["receipt"]))


def show_events(answer: Mapping[str, Any]) -> None:
    """The events of `list`."""
    events = answer["events"]
    if events:
        print_table(EVENT_COLUMNS, [_event_cells(event) for event in events])
    else:
        print_lines("No event passes the filters.")
    print_lines(receipt_line(answer["receipt"]))


def show_event(answer: Mapping[str, Any]) -> None:
    """One event whole."""
    print_lines(*(f"{key}: {answer[key]}" for key in ("day", "segment", "row")))
    narrative = answer["fields"].get("narrative")
    if narrative:
        print_lines(f"in words: {narrative}")
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
            print_lines(f"{name} is of several models: {told}; `appia reindex` brings sealed days up to date")
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
        print_lines(f"{title}: {shown or '-'}{more}")


def receipt_line(receipt: Mapping[str, Any]) -> str:
    """What was searched, what was missing and how long it took, in one line."""
    days: Sequence[str] = receipt["days"]
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "none"
    line = (
        f"searched {counted(receipt['rows'], 'row')} of {counted(len(days), 'day')} ({span}) "
        f"in {receipt['took_ms']:.1f} ms"
    )
    missing = [f"{gap['index']} of {gap['day']}: {gap['reason']}" for gap in receipt["missing"]]
    return f"{line}; missing: {'; '.join(missing)}" if missing else f"{line}; nothing was missing"


def _event_cells(event: Mapping[str, Any]) -> list[object]:
    protocol = event["protocol"]
    return [
        _time(event),
        f"{event['src_ip']}:{event['src_port']}",
        f"{event['dst_ip']}:{event['dst_port']}",
        PROTOCOLS.get(protocol, protocol),
        event["class"],
        event["category"],
        f"{event['overall']:.2f}",
        event["event_id"],
    ]


def _host_cells(host: Mapping[str, Any]) -> list[object]:
    began, received = host["out"], host["in"]
    return [
        host["address"],
        host["day"],
        f"{began['events']:,}",
        f"{received['events']:,}",
        f"{began['peers']:,}+{received['peers']:,}",
        f"{host['verdicts']['malicious']:.1%}",
        str(host["last_seen"]).replace("T", " ")[:19],
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


def _time(event: Mapping[str, Any]) -> str:
    return str(event["time"]).replace("T", " ")[:19]
