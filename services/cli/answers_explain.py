"""The answer of `explain` as text for people. Takes the document that `--json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.event_words import event_line
from services.cli.output import counted, print_lines, print_prose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_DELTAS = 6
LEAST_SIGMAS = 0.1
MOST_FOLLOWING = 4
MOST_NEIGHBOURS = 5


def show_explanation(answer: Mapping[str, Any]) -> None:
    """What tells an event from others, which index sees them as alike, and what would make it benign."""
    print_prose(*_asked(answer))
    for number, other in enumerate(answer["others"], 1):
        print_lines("")
        print_prose(*_other(number, other))
    print_lines("")
    print_prose(*_what_if(answer["what_if"]))
    print_lines("")


def _asked(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"event {event_line(answer['event'])}"
    yield f"   {answer['event']['narrative']}"
    day = answer["day"]
    if answer["others"]:
        yield (
            f"compared with {counted(len(answer['others']), 'other')}; sigmas are those of {day['day']}, "
            f"from {day['sampled']:,} of its {counted(day['rows'], 'event')}"
        )
    else:
        yield "No other event was found to compare it with."


def _other(number: int, other: Mapping[str, Any]) -> Iterator[str]:
    yield f"{number}: {event_line(other['event'])}"
    yield f"   {other['event']['narrative']}"
    yield f"   near by {_likeness(other['likeness'])}"
    told = [delta for delta in other["deltas"] if abs(delta["sigmas"]) >= LEAST_SIGMAS]
    deltas = [delta["says"] for delta in [*other["changed"], *told]]
    yield from _some(deltas, MOST_DELTAS, "difference")
    if not deltas:
        least = f" by {LEAST_SIGMAS} sigmas" if other["deltas"] else ""
        yield f"   no feature differs{least}"
    yield f"   {counted(other['alike'], 'feature')} alike{_unmatched(other['unmatched'])}"


def _unmatched(paths: Sequence[str]) -> str:
    return f"; {counted(len(paths), 'feature')} only one of the two has" if paths else ""


def _likeness(likeness: Mapping[str, Mapping[str, Any]]) -> str:
    told = (
        f"{index} {found['score']:.3f} ({'not among the nearest' if found['rank'] is None else _rank(found)})"
        for index, found in likeness.items()
    )
    return ", ".join(told) or "no index: there is no vector of one of the two"


def _rank(found: Mapping[str, Any]) -> str:
    return "the nearest" if found["rank"] == 1 else f"{found['rank'] - 1} nearer"


def _what_if(change: Mapping[str, Any]) -> Iterator[str]:
    yield f"to be benign: {change['says']}"
    for knob in change["changes"]:
        more = len(knob["features"]) - 1
        with_it = f" (and {counted(more, 'number')} with it)" if more else ""
        yield f"   {knob['says']}{with_it}"
    following = [value["says"] for value in change["follows"]]
    if following:
        yield "   what follows from that:"
        yield from _some(following, MOST_FOLLOWING, "number")
    near = change["neighbours"]
    if near:
        yield "   its nearest events would be:"
        verdicts = [
            f"{event_line(event)} ({'benign' if event['benign'] else 'not benign'})" for event in near
        ]
        yield from _some(verdicts, MOST_NEIGHBOURS, "event")


def _some(told: Sequence[str], most: int, thing: str) -> Iterator[str]:
    """The first of some lines, indented, and how many more there are."""
    yield from (f"   - {line}" for line in told[:most])
    if len(told) > most:
        yield f"   - and {counted(len(told) - most, f'more {thing}')}"
