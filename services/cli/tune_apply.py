"""Looks at what tuning begins with, makes proposals, and the edit that applies them: what was shown, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.config_place import open_config
from services.cli.durations import sized
from services.cli.hardware import DiskKind, find_hardware
from services.cli.output import counted
from services.cli.running import read_running
from services.cli.tune_plan import budget, plan
from services.cli.tune_steps import steps
from services.cli.tune_values import pinned_keys, use_now, values_in_force
from services.common.config.sections import shown
from services.common.days.names import StateNames
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.cli.config_run import Edit
    from services.cli.proposals import Proposal
    from services.cli.tune_plan import Budget, Limits
    from services.cli.tune_steps import Direction
    from services.common.config.document import Document
    from services.common.config.store import Place
    from services.common.config.tree import Value


class Tuning:
    """The configuration of one place, for a command that tunes it."""

    def __init__(self, place: Place) -> None:
        """Read the configuration. Blocks for the registry.

        Raises:
            AppiaError: the configuration cannot be read.
        """
        self._place = place
        self._now = values_in_force(place, open_config(place).read().content)

    def stepped(self, direction: Direction, step: float, sections: Sequence[str]) -> tuple[Proposal, ...]:
        """Thresholds a step higher or lower."""
        return self._free(steps(self._now, direction, step, sections))

    def optimized(self, limits: Limits) -> tuple[tuple[Proposal, ...], tuple[str, ...]]:
        """What fits the machine; and what was found, in sentences.

        Raises:
            AppiaError: nothing runs, so that nobody knows what is used.
        """
        root = self._place.state
        names, running = StateNames(root), read_running(root)
        machine, use = find_hardware(root), use_now(names, running)
        spend = budget(machine, limits, use)
        return self._free(plan(spend, self._now)), tuple(_found(spend))

    def edit(self, proposals: Sequence[Proposal]) -> Edit:
        """The edit that makes the proposed values those in force.

        It raises AppiaError where a value is another one by then: what is applied is what was shown, or nothing.
        """

        def change(found: Document) -> dict[str, Value | None]:
            now = values_in_force(self._place, found)
            for one in proposals:
                if now[one.section][one.key] != one.now:
                    became = shown(now[one.section][one.key])
                    raise AppiaError(f"{one.name} became {became} meanwhile, nothing was changed: look again")
            return {one.name: one.proposed for one in proposals}

        return change

    def _free(self, proposals: Sequence[Proposal]) -> tuple[Proposal, ...]:
        """The proposals without changes of what the environment of a service says, which wins anyway."""
        pinned = pinned_keys(self._place)
        return tuple(
            one.kept("the environment of the service says it") if one.name in pinned else one
            for one in proposals
        )


def _found(spend: Budget) -> Iterator[str]:
    """What the plan begins with, in lines."""
    machine, use = spend.machine, spend.use
    heat = "" if machine.temperature_c is None else f", {machine.temperature_c:.0f} °C"
    yield (
        f"machine   {machine.cores:g} cores{heat}, {sized(machine.memory_bytes)} of memory with "
        f"{sized(machine.available_bytes)} free"
    )
    yield (
        f"disk      {_kind(machine.disk)}, {spend.disk_percent:.0f} % used; "
        f"{sized(use.index_bytes)} are sealed indices"
    )
    yield f"in use    {sized(use.resident_bytes)} by all services, {counted(use.replicas, 'replica')} among them"
    yield f"to spend  {spend.cores:g} cores, {_spare(spend.spare_bytes)}"


def _kind(disk: DiskKind) -> str:
    return "of unknown kind" if disk is DiskKind.UNKNOWN else str(disk)


def _spare(spare_bytes: int) -> str:
    if spare_bytes < 0:
        return f"{sized(-spare_bytes)} of memory less than services usually take"
    return f"{sized(spare_bytes)} of memory beyond what services usually take"
