"""The answer of `ask` as text for people: what was said, who said it, and what it was said from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers import receipt_line
from services.cli.look import Style, Styled
from services.cli.output import counted, print_lines, print_prose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNSUPPORTED = (
    "The model's answer cites no event that was found: nothing shows it. What was found, without the model:"
)
_REMOVED = {"labels": "unknown citation", "links": "link", "markup": "tag"}


def show_answer(answer: Mapping[str, Any]) -> None:
    """What was said, and how far it can be trusted; `show_end` follows."""
    print_prose(*answer["answer"].splitlines())
    if answer["summary"] is not None:
        print_lines("")
        print_prose(Styled(_UNSUPPORTED, Style.BAD), *answer["summary"].splitlines())
    print_lines("")
    print_prose(Styled(_teller(answer), Style.HEAD), *_notes(answer))


def _teller(answer: Mapping[str, Any]) -> str:
    if answer["by"] == "model":
        return f"told by the model {answer['model']}; it cites {counted(len(answer['citations']), 'event')}"
    return f"a summary: {answer['reason'].rstrip('.')}"


def _notes(answer: Mapping[str, Any]) -> Iterator[str]:
    for citation in answer["citations"]:
        if f"[{citation['label']}]" in answer["answer"]:  # an id that is nothing to be put into a text
            yield f"[{citation['label']}] is the event {citation['event_id']}"
    if answer["unseen"]:
        yield f"named, and in nothing that was found: {', '.join(answer['unseen'])}"
    removed = [
        counted(answer["removed"][kind], name) for kind, name in _REMOVED.items() if answer["removed"][kind]
    ]
    if removed:
        yield f"left out of the answer: {', '.join(removed)}"
    for one in answer["also"]:
        if one["problem"] is None:
            yield f"asked too: `appia {one['op']}` {receipt_line(one['answer']['receipt'])}"
        else:
            yield f"`appia {one['op']}` was asked too and gave nothing: {one['problem']}"
