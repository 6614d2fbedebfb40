"""How answers for people end: more about their events, what was understood and said of them, what was searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.answers import receipt_line
from services.cli.answers_as_of import as_of_lines
from services.cli.answers_enriched import show_enrichment
from services.cli.answers_feedback import feedback_lines
from services.cli.answers_firewalls import decision_lines
from services.cli.answers_search import understood_lines
from services.cli.look import Style, Styled
from services.cli.output import print_lines, print_prose

if TYPE_CHECKING:
    from collections.abc import Mapping


def show_end(answer: Mapping[str, Any]) -> None:
    """The same lines in the same order after every answer, as far as there is something to say."""
    show_enrichment(answer)
    if "understood" in answer:
        print_prose(*understood_lines(answer["understood"]))
    print_prose(*feedback_lines(answer))
    print_prose(*decision_lines(answer))
    receipt = answer.get("receipt")
    if receipt:
        style = Style.DOUBTFUL if receipt["missing"] else Style.QUIET
        print_prose(Styled(receipt_line(receipt), style))
        quiet = [Styled(line, Style.QUIET) for line in as_of_lines(answer)]
        print_lines(*quiet[:1])  # not folded: it is there to be copied
        print_prose(*quiet[1:])
