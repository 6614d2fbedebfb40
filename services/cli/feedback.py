"""`appia feedback`: says what an event was, takes it back, or shows what was said."""

from __future__ import annotations

import getpass
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.answers_feedback import show_remarks
from services.cli.ask import Asking, put
from services.cli.options import grouped, required_state
from services.cli.output import print_json, print_lines
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPILOG = (
    'Example: appia feedback EVENT_ID --false-positive --note "nightly backup" --confidence 5. '
    "Use it: appia list --feedback false_positive; `appia models train` learns from it."
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG)(grouped(feedback))


@dataclass(frozen=True)
class Said:
    """What an analyst says."""

    true_positive: Annotated[
        bool, typer.Option("--true-positive", help="It was what the sensors said it was. Default: off.")
    ] = False
    false_positive: Annotated[
        bool, typer.Option("--false-positive", help="It was harmless. Default: off.")
    ] = False
    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, in words; up to 4 KiB.", show_default="none")
    ] = None
    confidence: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=5, help="How sure: 1 (a guess) to 5 (certain).", show_default="none"
        ),
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD", help="A word to find it by; may be given several times.", show_default="none"
        ),
    ] = None
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back what you said about the event. Default: off.")
    ] = False
    analyst: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", envvar="APPIA_ANALYST", help="Who says so.", show_default="your login name"
        ),
    ] = None

    @property
    def is_anything(self) -> bool:
        """Whether something is said, so that it is not a question."""
        flags = self.true_positive, self.false_positive, self.withdraw
        return any(flags) or bool(self.tag or self.confidence) or self.note is not None

    def arguments(self, event_id: str) -> dict[str, Any]:
        """What the ingester is told; each call is a remark of its own.

        Raises:
            UsageError: both verdicts are given, or it is not known who speaks.
        """
        if self.true_positive and self.false_positive:
            raise UsageError("give --true-positive or --false-positive, not both")
        verdict = "true_positive" if self.true_positive else "false_positive" if self.false_positive else None
        return {
            "feedback_id": uuid.uuid4().hex,
            "event_id": event_id,
            "analyst": self.analyst or _login(),
            "verdict": verdict,
            "note": self.note,
            "confidence": self.confidence,
            "tags": self.tag or [],
            "withdraw": self.withdraw,
        }


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise UsageError("who says so? Give --analyst NAME, or set APPIA_ANALYST") from None


def feedback(
    *,
    event_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[EVENT_ID]",
            help="An event's id. Default: all events, to see what was said.",
            show_default=False,
        ),
    ] = None,
    said: Said,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Remarks to show at most.")] = 20,
    asking: Asking,
) -> None:
    """Say what an event was, or show what analysts said.

    It is on disk when the command ends. Your newest verdict on an event counts, with the notes you add to it; what
    others say stands beside it. Without a verdict, note or tag, what was said is shown, the newest first.
    """
    from services.cli.asking import ask  # noqa: PLC0415 - `appia --help` starts quicker without it

    if not said.is_anything:
        put(asking, show_remarks, "feedback", {"event_id": event_id, "limit": limit})
        return
    if event_id is None:
        raise UsageError("which event is it about? Give its id, as `appia list` shows it")
    arguments = said.arguments(event_id)
    state = required_state(asking.state)
    if not said.withdraw:  # what was said of an event that is gone can still be taken back
        ask(asking, "get", {"event_id": event_id})
    from services.cli.jobs import call, ingester_of  # noqa: PLC0415 - as above
    from services.common.access.credentials import Credentials  # noqa: PLC0415 - as above

    credentials = Credentials.read(asking.key, asking.server_key)
    with ingester_of(state, credentials) as ingester:
        kept = call(ingester, "feedback", arguments)
    if asking.as_json:
        print_json(kept)
    else:
        print_lines(_told(arguments))


def _told(arguments: Mapping[str, Any]) -> str:
    event_id, analyst = arguments["event_id"], arguments["analyst"]
    if arguments["withdraw"]:
        return f"Withdrawn: nothing that {analyst} said about {event_id} stands."
    what = {"true_positive": "a true positive", "false_positive": "a false positive"}.get(
        arguments["verdict"]
    )
    return (
        f"Kept: {event_id} is {what}, says {analyst}."
        if what
        else f"Kept: a remark by {analyst} on {event_id}."
    )
