"""The answer of `novel` as text for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from services.cli.answers import receipt_line
from services.cli.output import counted, print_lines, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLUMNS = [
    ">#",
    ">percentile",
    ">times",
    "index",
    ">novel",
    ">of",
    "first seen (UTC)",
    "last seen (UTC)",
    "from",
    "to",
    "event",
]


def show_novel(answer: Mapping[str, Any]) -> None:
    """Patterns, the most unusual first; what was nearest before; how each day was measured."""
    groups = answer["groups"]
    if groups:
        print_table(_COLUMNS, [_cells(number, group) for number, group in enumerate(groups, 1)])
        for number, group in enumerate(groups, 1):
            print_lines(f"{number}: {group['narrative']}", *_before(group))
    else:
        print_lines("Nothing was as unlike everything before.")
    if answer["patterns"] > len(groups):
        print_lines(f"shown are {len(groups)} of {counted(answer['patterns'], 'pattern')}")
    print_lines(*(_measure(judged, answer["percentile"]) for judged in answer["judged"]))
    print_lines(receipt_line(answer["receipt"]))


def _cells(number: int, group: Mapping[str, Any]) -> list[object]:
    threshold = group["threshold"]
    return [
        number,
        f"{math.floor(group['percentile'] * 100) / 100:.2f}",  # 100 says that nothing before was as far
        f"{group['distance'] / threshold:.1f}" if threshold else "-",
        group["index"],
        f"{group['count']:,}",
        f"{group['events']:,}",
        _time(group["first_seen"]),
        _time(group["last_seen"]),
        _hosts(group["hosts"]["sources"]),
        _hosts(group["hosts"]["destinations"]),
        group["examples"][0]["event_id"],
    ]


def _hosts(side: Mapping[str, Any]) -> str:
    """The most frequent host of a side, and how many more there are."""
    more = side["count"] - 1
    found = side["most"][0]["address"]
    if not more:
        return str(found)
    return f"{found} and {'at least ' if side['at_least'] else ''}{more:,} more"


def _before(group: Mapping[str, Any]) -> Sequence[str]:
    before = group["nearest_before"]
    if before is None:
        return ["   nothing was before that day"]
    how_far = f"at {before['distance']:.3f} (usual: up to {group['threshold']:.3f})"
    which = f"{_time(before['time'])}, event {before['event_id']}"
    return [f"   nearest before, {how_far}: {which}: {before['narrative']}"]


def _measure(judged: Mapping[str, Any], percentile: float) -> str:
    past = judged["past_days"]
    compared = (
        f"compared with {counted(judged['compared_days'], 'day')} before"
        if past
        else "the first day of its model: compared with what came before on the day itself"
    )
    looked = f"{judged['novel']:,} of {counted(judged['events'], 'event')} novel"
    return f"{judged['day']} in {judged['index']}: {looked}; {compared}; {_usual(judged, percentile)}"


def _usual(judged: Mapping[str, Any], percentile: float) -> str:
    past = judged["past_days"]
    events = counted(judged["past_events"], "event")
    of = f" of {past[-1]} to {past[0]}" if len(past) > 1 else f" of {past[0]}" if past else ""
    if judged["threshold"] is None:
        return f"by {events}{of} no distance is unusual enough"
    return f"usual for {percentile:g} % of {events}{of} is a distance up to {judged['threshold']:.3f}"


def _time(text: str) -> str:
    return text.replace("T", " ")[:19]
