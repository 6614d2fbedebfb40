"""The answer of `campaigns` as text for people: one sentence each, then its steps, and why it belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers_patterns import hosts_cell
from services.cli.output import counted, print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLUMNS = ["   began (UTC)", "ended", "~what", ">events", "~from", "~to"]


def show_campaigns(answer: Mapping[str, Any]) -> None:
    """Campaigns, those that matter most first."""
    campaigns = answer["campaigns"]
    for number, campaign in enumerate(campaigns, 1):
        _show_one(number, campaign)
    if not campaigns:
        print_prose(_none(answer))
    if answer["found"] > len(campaigns):
        print_prose(f"shown are {len(campaigns)} of {counted(answer['found'], 'campaign')}")
    looked_at = f"{counted(answer['events'], 'event')} looked at, in {counted(answer['patterns'], 'pattern')}"
    alone = (
        f"{answer['alone']:,} of these linked to nothing" if answer["alone"] else "each is linked to another"
    )
    print_prose(f"{looked_at}; {alone}" if answer["patterns"] else looked_at)


def _show_one(number: int, campaign: Mapping[str, Any]) -> None:
    print_prose(f"{number}: campaign {campaign['id']}", f"   {campaign['summary']}")
    print_table(_COLUMNS, [_cells(step) for step in campaign["steps"]])
    lines = [f"   why: {link['sentence']}" for link in campaign["links"]]
    ids = ", ".join(example["event_id"] for example in campaign["examples"])
    print_prose(*_more("step", campaign["stepped"], campaign["steps"]), *lines)
    print_prose(*_more("link", campaign["linked"], campaign["links"]), f"   such as {ids}", "")


def _cells(step: Mapping[str, Any]) -> list[object]:
    first, last = (step[key].replace("T", " ")[:16] for key in ("first_seen", "last_seen"))
    return [
        f"   {first}",
        last[11:],
        step["kind"],
        f"{step['count']:,}",
        hosts_cell(step["hosts"]["sources"]),
        hosts_cell(step["hosts"]["destinations"]),
    ]


def _more(thing: str, count: int, shown: Sequence[object]) -> list[str]:
    more = count - len(shown)
    return [f"   and {counted(more, f'more {thing}')}"] if more else []


def _none(answer: Mapping[str, Any]) -> str:
    return "The event is linked to nothing else." if "event" in answer else "No campaign was found."
