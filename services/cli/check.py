"""`appia check`: whether days are consistent, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.look import Style, Styled
from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import counted, print_json, print_lines, print_prose, print_table
from services.cli.progress import files_shown
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.common.days.consistency import DayState, Part
    from services.common.days.names import StateNames

ADVICE = {
    "repair": "`appia repair {day}` makes it anew from the day's events",
    "reindex": "`appia reindex {day}` makes newer vectors and shows how answers change",
    "backup": "nothing else has these events: restore the day from a backup",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia check 2026-01-22 --full --state ~/appia")(check)


def check(
    *,
    day: Annotated[
        str | None,
        typer.Argument(
            metavar="[DAY]",
            help="UTC day, YYYY-MM-DD. Default: all.",
            show_default=False,
            autocompletion=offers.days,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All days, as without a DAY. Default: off.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Read and compare every byte too. Default: presence and sizes.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check whether every event is whole and in every index.

    Says for each index what is missing, stale (of other events, or of an older model) or corrupt, and what helps. The
    exit status is 1 when anything is. Looks at the disk itself, whether the stack runs or not, and changes nothing;
    whether files are those that were signed is for `appia verify`.
    """
    names = wanted_state(state)
    found = check_days(names, wanted_days(names, day, every=every), full=full)
    if as_json:
        print_json(_as_plain(found))
    else:
        _show(found)
    wrong = [one.day for one in found if not one.is_consistent]
    if wrong:
        raise AppiaError(f"{counted(len(wrong), 'day')} not consistent: {', '.join(wrong)}")


def wanted_state(state: Any) -> StateNames:
    """The state directory that was given. Raises `UsageError` and `AppiaError` where it is none."""
    from services.common.days.layout import check_layout  # noqa: PLC0415 - `appia --help` starts quicker
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(required_state(state))
    check_layout(names)
    return names


def wanted_days(names: StateNames, day: str | None, *, every: bool) -> list[str]:
    """One day, or all of them, the oldest first.

    Raises:
        UsageError: both were asked for, or `day` is none.
        AppiaError: the day is not there.
    """
    from services.common.days.names import parse_day  # noqa: PLC0415 - as above

    if day is None:
        return names.days()
    if every:
        raise UsageError("give one DAY, or --all")
    if parse_day(day) not in names.days():
        raise AppiaError(f"{names.root} has no day {day}: `appia days` shows those there are")
    return [day]


def check_days(names: StateNames, days: Sequence[str], *, full: bool) -> list[DayState]:
    """Check days; blocks, and in a full check shows how many mebibytes were read."""
    from services.common.days.active_models import active_models  # noqa: PLC0415 - as above
    from services.common.days.consistency import check_day  # noqa: PLC0415 - as above

    models = active_models(names)
    with files_shown("checking") as show:
        if not full:
            return list(_each(days, lambda day: check_day(names.day(day), models), show))
        from services.common.days.consistency import look_at_day  # noqa: PLC0415 - as above
        from services.common.days.scrub import Pace, Scrubber  # noqa: PLC0415 - as above

        total = sum(look_at_day(names.day(day), models).bytes for day in days) >> 20
        pace = Pace(progress=lambda read: show(read >> 20, total))
        return [Scrubber(models, pace).check_day(names.day(day)) for day in days]


def _each(
    days: Sequence[str], look: Callable[[str], DayState], show: Callable[[int, int], None]
) -> Iterator[DayState]:
    for done, day in enumerate(days):
        show(done, len(days))
        yield look(day)


def _as_plain(found: Sequence[DayState]) -> dict[str, Any]:
    from services.common.days.consistency import percent_of  # noqa: PLC0415 - as above

    total, consistent = _sums(found)
    return {
        "total": total,
        "consistent": consistent,
        "percent": round(percent_of(consistent, total), 3),
        "indices": {
            index: {"percent": round(percent_of(good, rows), 3), "wrong": wrong}
            for index, (good, rows, wrong) in _by_index(found).items()
        },
        "days": [one.as_plain() for one in found],
    }


def _sums(found: Sequence[DayState]) -> tuple[int, int]:
    return sum(one.total for one in found), sum(one.consistent for one in found)


def _by_index(found: Sequence[DayState]) -> dict[str, tuple[int, int, dict[str, list[str]]]]:
    """For each index the events of sealed days that it has right, how many there are, and the days by what is wrong."""
    from services.common.days.names import INDICES  # noqa: PLC0415 - as above

    told = {}
    for index in INDICES:
        good = rows = 0
        wrong: dict[str, list[str]] = {}
        for day in found:
            part = day.part(index)
            if part is None or day.chunk is None:
                continue
            rows += day.chunk.rows
            good += 0 if part.why else day.chunk.rows
            if part.why:
                wrong.setdefault(part.state, []).append(day.day)
        told[index] = (good, rows, wrong)
    return told


def _show(found: Sequence[DayState]) -> None:
    from services.common.days.consistency import PARTS, percent_of  # noqa: PLC0415 - as above

    if not found:
        print_lines("There is no day to check.")
        return
    rows = [[one.day, f"{one.total:,}", _percent(one.percent), *map(_cell, _parts(one))] for one in found]
    print_table(["day", ">events", ">consistent", *PARTS], rows)
    for one in found:
        print_prose(*(_sentence(one, part) for part in one.wrong))
        print_prose(*(f"{one.day} open: {fault}" for part in one.open for fault in part.faults))
    total, consistent = _sums(found)
    share = _percent(percent_of(consistent, total))
    print_lines(f"{consistent:,} of {counted(total, 'event')} consistent, {share}")
    by_index = _by_index(found).items()
    indices = [f"{index} {_percent(percent_of(good, of))}" for index, (good, of, _) in by_index if of]
    if indices:
        print_lines(f"sealed events by index: {', '.join(indices)}")


def _parts(state: DayState) -> list[Part | None]:
    from services.common.days.consistency import PARTS  # noqa: PLC0415 - as above

    return [state.part(name) for name in PARTS]


def _cell(part: Part | None) -> object:
    if part is None:
        return "open"
    return Styled(part.state, Style.BAD) if part.why else part.state


def _percent(share: float) -> str:
    """Never 100 % while anything is wrong."""
    return f"{int(share * 100) / 100:g} %"


def _sentence(state: DayState, part: Part) -> str:
    advice = ADVICE.get(part.remedy, "").format(day=state.day)
    return f"{state.day} {part.name} is {part.state}: {part.why}; {advice}"
