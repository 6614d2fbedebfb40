"""Versions of an index of a sealed generation: which is served, which was before, and which waits to be served.

`<index>/CURRENT` names the served one. At most one older version is kept, to go back to, and at most one newer, which
somebody has to look at before it is served. Changing between them (`switching.py`) is replacing CURRENT; replicas
follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.manifest import read_manifest
from services.common.days.names import numbered, read_pointer
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.names import DayNames, GenerationNames
    from services.common.durable import Disk


@dataclass(frozen=True)
class Versions:
    """Numbers of the versions of an index; None for one that there is not."""

    served: int | None
    before: int | None = None
    waiting: int | None = None


def served_generation(names: DayNames) -> GenerationNames:
    """The served generation of a day.

    Raises:
        AppiaError: the day is not sealed.
    """
    current = read_pointer(names.current)
    if current is None:
        raise AppiaError(
            f"Day {names.day} is not sealed: `appia days` shows which are, and `appia seal {names.day}` seals it if it "
            "has events."
        )
    return names.generation(current)


def versions_of(generation: GenerationNames, index: str) -> Versions:
    """The versions of an index. Raises `AppiaError` where CURRENT is damaged."""
    served = read_pointer(generation.index_current(index))
    if served is None:
        return Versions(None)
    numbers = numbered(generation.index(index))
    return Versions(
        served,
        before=max((number for number in numbers if number < served), default=None),
        waiting=max((number for number in numbers if number > served), default=None),
    )


def model_of(generation: GenerationNames, index: str, version: int) -> str:
    """The id of the model that made a version. Raises `AppiaError` where its manifest is damaged."""
    return str(read_manifest(generation.index_version(index, version)).facts["model"])


def drop_waiting(generation: GenerationNames, index: str, keep: int, disk: Disk) -> None:
    """Remove all versions that wait but `keep`."""
    served = read_pointer(generation.index_current(index))
    for number in numbered(generation.index(index)):
        if served is not None and number > served and number != keep:
            disk.remove(generation.index_version(index, number))
