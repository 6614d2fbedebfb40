"""Patterns as text for people: a line of figures each, then each in words with the events that are its examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers import show_hits
from services.cli.event_words import moment, verdict_cell
from services.cli.look import Styled
from services.cli.output import counted, print_lines, print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLUMNS = [
    ">#",
    ">score",
    ">events",
    "!first seen (UTC)",
    "!last seen (UTC)",
    "~from",
    "~to",
    "class",
]
_CLASSES = 2


def show_similar(answer: Mapping[str, Any]) -> None:
    """The patterns of `similar`, or with `--flat` its events, best first."""
    if "hits" in answer:
        show_hits(answer)
        return
    show_groups(answer)


def show_groups(answer: Mapping[str, Any]) -> None:
    """The patterns of an answer, best first, and how many there are in all where it says so."""
    groups = answer["groups"]
    if not groups:
        print_lines("No event was found.")
        return
    print_table(_COLUMNS, [_cells(number, group) for number, group in enumerate(groups, 1)])
    for number, group in enumerate(groups, 1):
        ids = ", ".join(example["event_id"] for example in group["examples"])
        print_prose(f"{number}: {group['narrative']}", f"   such as {ids}")
    if answer.get("patterns", 0) > len(groups):
        print_lines(f"shown are {len(groups)} of {counted(answer['patterns'], 'pattern')}")


def hosts_cell(side: Mapping[str, Any]) -> str:
    """The host with the most events of one side of a pattern, and how many others there are."""
    first, others = side["most"][0]["address"], side["count"] - 1
    if not others:
        return str(first)
    return f"{first} and {'at least ' if side['at_least'] else ''}{others:,} more"


def _cells(number: int, group: Mapping[str, Any]) -> list[object]:
    return [
        number,
        f"{group['score']:.4f}",
        f"{group['count']:,}",
        moment(group["first_seen"]),
        moment(group["last_seen"]),
        hosts_cell(group["hosts"]["sources"]),
        hosts_cell(group["hosts"]["destinations"]),
        _classes(group["classes"]),
    ]


def _classes(classes: Mapping[str, int]) -> Styled:
    """The most frequent classes; the first says how it stands out."""
    names = [name or "(none)" for name in classes]
    more = f", {len(names) - _CLASSES} more" if len(names) > _CLASSES else ""
    return Styled(", ".join(names[:_CLASSES]) + more, verdict_cell(next(iter(classes))).style)
