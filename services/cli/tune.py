"""`appia tune`: fewer or more detections by a step, and settings that fit the machine; shown before applied."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.config import WAIT_S, WaitOption, Where, WhoOption
from services.cli.look import Style, Styled
from services.cli.options import JsonOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines, print_table
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.cli.proposals import Proposal
    from services.cli.tune_apply import Tuning

    Propose = Callable[[Tuning], tuple[Sequence[Proposal], Sequence[str]]]

DEFAULT_STEP = 0.05


@dataclass(frozen=True)
class Applying:
    """Options about whether and how proposals are applied."""

    note: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Why; kept in the history.", show_default="the command"),
    ] = None
    who: WhoOption = None
    wait: WaitOption = WAIT_S
    yes: Annotated[bool, typer.Option("--yes", help="Apply without asking. Default: asks.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing. Default: off.")
    ] = False
    as_json: JsonOption = False


StepOption = Annotated[
    float, typer.Option(metavar="S", help="How far, 0.005 to 0.2 of the scale of scores from 0 to 1.")
]
SectionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="SECTION",
        help="Whose thresholds: sensors or rag; may be given again.",
        show_default="all",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    tune = typer.Typer(
        no_args_is_help=True, help="Change how much is detected, and fit settings to the machine."
    )
    tune.command(epilog="Example: appia tune accelerate --step 0.1 --note 'too many alarms'")(
        grouped(accelerate)
    )
    tune.command(epilog="Example: appia tune decelerate --service sensors")(grouped(decelerate))
    tune.command(epilog="Example: appia tune optimize --cpu 50 --ram 2000 --dry-run")(grouped(optimize))
    app.add_typer(tune, name="tune")


def accelerate(
    *, step: StepOption = DEFAULT_STEP, sections: SectionOption = None, where: Where, applying: Applying
) -> None:
    """Detect less: every threshold a step higher.

    What is left is surer and sooner looked through. Sensors read theirs with `appia config watch sensors`.
    `appia config rollback` takes it back.
    """
    _step("accelerate", step, sections or (), (where, applying))


def decelerate(
    *, step: StepOption = DEFAULT_STEP, sections: SectionOption = None, where: Where, applying: Applying
) -> None:
    """Detect more: every threshold a step lower.

    For times in which nothing may be missed. Sensors read theirs with `appia config watch sensors`.
    `appia config rollback` takes it back.
    """
    _step("decelerate", step, sections or (), (where, applying))


def optimize(
    *,
    cpu: Annotated[
        float, typer.Option(metavar="PERCENT", min=1, max=100, help="How much of the processor may be used.")
    ] = 75,
    ram: Annotated[
        int | None,
        typer.Option(
            metavar="MB",
            min=64,
            max=16_000_000,
            help="How much memory all services may take together.",
            show_default="three quarters of what is free or in use by them",
        ),
    ] = None,
    temp: Annotated[
        float,
        typer.Option(
            metavar="C",
            min=30,
            max=110,
            help="Degrees Celsius of the processor above which threads are saved.",
        ),
    ] = 80,
    where: Where,
    applying: Applying,
) -> None:
    """Fit settings to the machine, as it is found now.

    Threads, workers, buffers, batches and forms of vectors, by cores, memory and their limits, temperature, disk, and
    what the services use. Each value is shown with its reason before it is applied.
    """
    from services.cli.tune_plan import Limits  # noqa: PLC0415 - `appia --help` starts quicker without it

    required_state(where.state)
    limits = Limits(cpu_percent=cpu, ram_bytes=None if ram is None else ram * 1_000_000, most_c=temp)
    _tune("tune optimize", lambda tuning: tuning.optimized(limits), where, applying)


def _step(direction: str, step: float, sections: Sequence[str], how: tuple[Where, Applying]) -> None:
    from services.cli.tune_steps import Direction, check_step  # noqa: PLC0415 - as above

    way = Direction(direction)
    check_step(step, sections)
    _tune(f"tune {way} --step {step:g}", lambda tuning: (tuning.stepped(way, step, sections), ()), *how)


def _tune(command: str, propose: Propose, where: Where, applying: Applying) -> None:
    """Show what is proposed, ask, apply, and wait for services to say what became of it."""
    from services.cli.config_place import author  # noqa: PLC0415 - as above
    from services.cli.config_run import Wish, change  # noqa: PLC0415 - as above
    from services.cli.tune_apply import Tuning  # noqa: PLC0415 - as above

    if not (applying.dry_run or applying.yes) and (applying.as_json or not sys.stdin.isatty()):
        raise UsageError("nobody can be asked here: give --yes to apply it, or --dry-run to look")
    who, place = author(applying.who, applying.note or command), where.place()
    tuning = Tuning(place)
    proposals, found = propose(tuning)
    changes = [one for one in proposals if one.changes]
    if not applying.as_json:
        _print(proposals, found)
        print_lines("", *(() if changes else ("Nothing to change.",)))
    elif applying.dry_run:
        print_json({"found": list(found), "proposals": [one.as_dict() for one in proposals]})
    if applying.dry_run or not (changes or applying.as_json):
        return
    if applying.yes or typer.confirm(f"Apply {counted(len(changes), 'change')}?", err=True):
        wish = Wish(who, applying.wait, anew=False, as_json=applying.as_json)
        change(place, wish, tuning.edit(changes))
    else:
        print_lines("Nothing was changed.")


def _print(proposals: Sequence[Proposal], found: Sequence[str]) -> None:
    from services.common.config.sections import shown  # noqa: PLC0415 - as above

    if found:
        print_lines(*found, "")
    rows = [
        [
            one.name,
            shown(one.now),
            Styled(shown(one.proposed), Style.HEAD if one.changes else Style.QUIET),
            f"{one.why}{_later(one)}",
        ]
        for one in proposals
    ]
    print_table(["key", ">now", ">proposed", "~why"], rows)


def _later(one: Proposal) -> str:
    """A word on what happens only when a service starts again."""
    from services.common.config.tree import SECTIONS  # noqa: PLC0415 - as above
    from services.common.settings import AT_START, when_taken  # noqa: PLC0415 - as above

    late = when_taken(SECTIONS[one.section].model_fields[one.key]) == AT_START
    return f" (in use {AT_START})" if one.changes and late else ""
