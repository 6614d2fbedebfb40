"""The answer of `novel` as text for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from services.cli.answers_patterns import hosts_cell
from services.cli.event_words import moment
from services.cli.output import counted, print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLUMNS = [
    ">#",
    ">percentile",
    ">times",
    "index",
    ">novel",
    ">of",
    "!first seen (UTC)",
    "!last seen (UTC)",
    "~from",
    "~to",
    "!event",
]


def show_novel(answer: Mapping[str, Any]) -> None:
    """Patterns, the most unusual first; what was nearest before; how each day was measured."""
    groups = answer["groups"]
    if groups:
        print_table(_COLUMNS, [_cells(number, group) for number, group in enumerate(groups, 1)])
        for number, group in enumerate(groups, 1):
            print_prose(f"{number}: {group['narrative']}", *_before(group))
    else:
        print_prose(
            "Nothing was as unlike everything before." if answer["judged"] else "No event passes the filters."
        )
    if answer["patterns"] > len(groups):
        print_prose(f"shown are {len(groups)} of {counted(answer['patterns'], 'pattern')}")
    print_prose(*(_measure(judged, answer["percentile"]) for judged in answer["judged"]))


def _cells(number: int, group: Mapping[str, Any]) -> list[object]:
    threshold = group["threshold"]
    return [
        number,
        f"{math.floor(group['percentile'] * 100) / 100:.2f}",  # 100 says that nothing before was as far
        f"{group['distance'] / threshold:.1f}" if threshold else "-",
        group["index"],
        f"{group['count']:,}",
        f"{group['events']:,}",
        moment(group["first_seen"]),
        moment(group["last_seen"]),
        hosts_cell(group["hosts"]["sources"]),
        hosts_cell(group["hosts"]["destinations"]),
        group["examples"][0]["event_id"],
    ]


def _before(group: Mapping[str, Any]) -> Sequence[str]:
    before = group["nearest_before"]
    if before is None:
        return ["   nothing was before that day"]
    how_far = f"at {before['distance']:.3f} (usual: up to {group['threshold']:.3f})"
    which = f"{moment(before['time'])}, event {before['event_id']}"
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
