"""What analysts said, as text for people: beside the events of any answer, and as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.event_words import endpoint, events_in, verdict_cell
from services.cli.output import print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

VERDICTS = {"true_positive": "true positive", "false_positive": "false positive", None: ""}
COLUMNS = ["said (UTC)", "~by", "verdict", ">sure", "!event", "!from", "!to", "!class", "!~note"]


def feedback_lines(answer: Mapping[str, Any]) -> list[str]:
    """What was said of the events that an answer shows, one line a remark, each event once."""
    lines = [
        f"{event['event_id']}: {_words(remark)}"
        for event in events_in(answer)
        for remark in event.get("feedback", ())
    ]
    return list(dict.fromkeys(lines))


def _words(remark: Mapping[str, Any]) -> str:
    verdict = VERDICTS[remark["verdict"]]
    sure = f" ({remark['confidence']} of 5 sure)" if remark["confidence"] else ""
    said = f"{verdict}{sure}" if verdict else "remark"
    rest = _note(remark)
    return f"{said} by {remark['analyst']}, {_moment(remark)}{': ' if rest else ''}{rest}"


def _note(remark: Mapping[str, Any]) -> str:
    """The note in one line, and the tags."""
    lines = " / ".join(line.strip() for line in remark["note"].splitlines() if line.strip())
    return " ".join([*([lines] if lines else []), *(f"[{tag}]" for tag in remark["tags"])])


def _moment(remark: Mapping[str, Any]) -> str:
    return str(remark["time"]).replace("T", " ")[:16]


def show_remarks(answer: Mapping[str, Any]) -> None:
    """The remarks of `feedback`, the newest first; those that do not stand any more say so."""
    remarks = answer["remarks"]
    if remarks:
        print_table(COLUMNS, [_cells(remark) for remark in remarks])
    else:
        print_prose("Nobody has said anything.")
    print_prose(*(f"missing: {fault}" for fault in answer["faults"]))


def _cells(remark: Mapping[str, Any]) -> list[object]:
    event = remark["event"]
    sides = [endpoint(event, side) if event else "-" for side in ("src", "dst")]
    verdict = "withdrawn" if remark["withdraws"] else VERDICTS[remark["verdict"]] or "remark"
    replaced = "" if remark["stands"] or remark["withdraws"] else " (no longer stands)"
    return [
        _moment(remark),
        remark["analyst"],
        f"{verdict}{replaced}",
        remark["confidence"] or "",
        remark["event_id"],
        *sides,
        verdict_cell(event["class"]) if event else "not served",
        _note(remark),
    ]
