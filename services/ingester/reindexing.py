"""What the indices of sealed days were made with, against what they would be made with now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.days.active_models import active_model
from services.common.days.names import INDICES, parse_day
from services.common.days.overlap import read_overlap
from services.common.days.versions import model_of, served_generation, versions_of
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.common.days.chosen_models import ChosenModels
    from services.common.days.names import StateNames


def describe_indices(state: StateNames, chosen: ChosenModels, args: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to an `indices` request: {"indices": [...], "faults": [...]}, sealed days only, by day and index.

    `args` may hold `days`, a list, `index`, and `reports`, true for the reports, some kilobytes each.

    For each index: `served`, the model of the version that is served;
    `wanted`, the model that is active; `before`, the model to go back to; `waiting`, the model of a version that waits
    to be served, and `overlap`, the report on it; `begun`, whether making one was broken off. None where there is none.

    Raises:
        UsageError: an argument is wrong.
        AppiaError: a day that was named is not sealed, or a model is not there.
    """
    days, index = args.get("days") or [], args.get("index") or ""
    if not isinstance(days, list):
        raise UsageError("The argument 'days' must be a list.")
    if index not in ("", *INDICES):
        raise UsageError(f"There is no index {str(index)[:80]!r}; there are: {', '.join(INDICES)}.")
    named = [parse_day(str(day)) for day in days]
    for day in named:
        served_generation(state.day(day))
    indices = (index,) if index else INDICES
    wanted = {name: active_model(state, chosen.name_of(name)) for name in indices}
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    for day in named or state.days():
        for name in indices:
            try:
                found += _describe(state, day, name, wanted[name], with_report=args.get("reports") is True)
            except AppiaError as error:  # a damaged index must not hide the others
                faults.append(str(error))
    return {"indices": found, "faults": faults}


def _describe(
    state: StateNames, day: str, index: str, wanted: str, *, with_report: bool
) -> Sequence[dict[str, Any]]:
    names = state.day(day)
    if not names.current.exists():
        return []
    generation = served_generation(names)
    found = versions_of(generation, index)
    if found.served is None:
        return []
    waiting = None if found.waiting is None else generation.index_version(index, found.waiting)
    return [
        {
            "day": day,
            "index": index,
            "served": model_of(generation, index, found.served),
            "wanted": wanted,
            "before": None if found.before is None else model_of(generation, index, found.before),
            "waiting": None if found.waiting is None else model_of(generation, index, found.waiting),
            "overlap": read_overlap(waiting) if with_report and waiting is not None else None,
            "begun": generation.index_work(index).exists(),
        }
    ]
