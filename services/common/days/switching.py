"""Changes which version of an index is served: the one that waits, or back to the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.link import SERVED
from services.common.chain.state import part_name
from services.common.chain.store import NoLinks
from services.common.days.linking import Versioned, link_index, require_signed_as_is
from services.common.days.manifest import check_artifacts, read_manifest
from services.common.days.names import number_name, numbered
from services.common.days.versions import drop_waiting, model_of, served_generation, versions_of
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.chain.store import Links
    from services.common.days.names import DayNames, GenerationNames
    from services.common.durable import Disk

_UNSIGNED = NoLinks()


@dataclass(frozen=True)
class Switch:
    """Which version of an index is served now, and which was until now."""

    day: str
    index: str
    version: int
    model: str
    before: int
    before_model: str


def activate(names: DayNames, index: str, disk: Disk, links: Links = _UNSIGNED) -> Switch:
    """Serve the version that waits. Older ones than that served before are removed. Blocks to read its files whole.

    Raises:
        AppiaError: none waits, it is damaged or was altered, or the day is not sealed.
    """
    generation = served_generation(names)
    found = versions_of(generation, index)
    if found.served is None or found.waiting is None:
        raise AppiaError(
            f"No other version of {index} of {names.day} waits: `appia reindex {names.day} --index {index}` makes one."
        )
    switch = _switch(names.day, generation, index, (found.served, found.waiting), links)
    change = Versioned(index, found.waiting, {found.served, found.waiting})
    link_index(links, names, SERVED, change)
    _point(generation, index, found.waiting, disk)
    for number in numbered(generation.index(index)):
        if number < found.served:
            disk.remove(generation.index_version(index, number))
    return switch


def roll_back(names: DayNames, index: str, disk: Disk, links: Links = _UNSIGNED) -> Switch:
    """Serve the version before; the one served until now waits from then on. Blocks to read its files whole.

    Raises:
        AppiaError: there is none before, it is damaged or was altered, or the day is not sealed.
    """
    generation = served_generation(names)
    found = versions_of(generation, index)
    if found.served is None or found.before is None:
        raise AppiaError(f"There is no earlier version of {index} of {names.day} to go back to.")
    switch = _switch(names.day, generation, index, (found.served, found.before), links)
    link_index(links, names, SERVED, Versioned(index, found.before, {found.before, found.served}))
    _point(generation, index, found.before, disk)
    drop_waiting(generation, index, found.served, disk)
    return switch


def _switch(
    day: str, generation: GenerationNames, index: str, versions: tuple[int, int], links: Links
) -> Switch:
    before, after = versions
    require_signed_as_is(links, day, generation, part_name(index, after))
    folder = generation.index_version(index, after)
    faults = check_artifacts(folder, read_manifest(folder))
    if faults:
        raise AppiaError(f"{'; '.join(faults)}: this version is not served.")
    before_model, model = (model_of(generation, index, version) for version in versions)
    return Switch(day, index, after, model, before, before_model)


def _point(generation: GenerationNames, index: str, version: int, disk: Disk) -> None:
    disk.write_file(generation.index_current(index), f"{number_name(version)}\n".encode())
