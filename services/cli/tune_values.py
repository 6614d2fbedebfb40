"""What tuning begins with: the values in force, who pins them, and what the services use now."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.cli.config_place import below
from services.cli.config_taken import KINDS, services_say
from services.cli.tune_plan import Use
from services.common.config.tree import SECTIONS
from services.common.days.names import INDICES
from services.common.errors import AppiaError
from services.health.probes.processes import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.cli.running import Running
    from services.common.config.document import Document
    from services.common.config.store import Place
    from services.common.config.tree import Value
    from services.common.days.names import StateNames


def values_in_force(place: Place, document: Document) -> dict[str, dict[str, Value]]:
    """Every key's value by section: live values over settings files and defaults.

    Raises:
        UsageError: a value is not allowed by this release.
    """
    under = below(place)
    return {section: under[section].base.under(document.of(section)).model_dump() for section in SECTIONS}


def pinned_keys(place: Place) -> frozenset[str]:
    """`SECTION.KEY` of what the environment of a running service says, which wins over live values.

    Blocks for the registry; one that is away says nothing.
    """
    found: set[str] = set()
    with suppress(AppiaError):
        for said in services_say(place, KINDS, 0):
            found |= said.pinned
    return frozenset(found)


def use_now(names: StateNames, running: Running) -> Use:
    """How many replicas there are, what all services have in memory, and what the sealed indices take on disk."""
    pids = (running.pid, running.ingester.pid, *(replica.pid for replica in running.replicas))
    return Use(
        replicas=len(running.replicas),
        resident_bytes=sum(resident_bytes(pid) or 0 for pid in pids),
        index_bytes=sum(_index_bytes(names)),
    )


def _index_bytes(names: StateNames) -> Iterator[int]:
    """The sizes of the files of all indices of sealed days; what goes away meanwhile counts as nothing."""
    for day in map(names.day, names.days()):
        for number in day.generations():
            for index in INDICES:
                yield from map(_size, day.generation(number).index(index).rglob("*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
