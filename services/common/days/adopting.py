"""Signs on request what no link names: days sealed before there was a key, and days that are meant to be gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.link import ADOPTED, REMOVED
from services.common.chain.state import DayState
from services.common.days.linking import describe, manifest_digest
from services.common.days.manifest import check_artifacts, read_manifest
from services.common.days.names import read_pointer
from services.common.days.versions import served_generation
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.chain.store import Links
    from services.common.days.names import DayNames, GenerationNames


@dataclass(frozen=True)
class Signed:
    """What was signed: the generation that is served, and the parts that no link had named before."""

    day: str
    generation: int
    parts: tuple[str, ...]


def adopt(names: DayNames, links: Links) -> Signed:
    """Sign a sealed day as it lies there, after all that is new to the chain was checked. Blocks to read it whole.

    Raises:
        AppiaError: the day is not sealed; a file is damaged; something was signed already, and is other than it was.
    """
    served = served_generation(names).number
    numbers = [number for number in names.generations() if number <= served]
    known = links.state_of(names.day)
    found = DayState(names.day, served, {n: describe(names.generation(n)) for n in numbers})
    faults = [fault for n in numbers for fault in _faults(names.generation(n), found, known)]
    if faults:
        raise AppiaError(f"{'; '.join(faults)}: the day is not signed.")
    new = tuple(
        f"{number:06d}/{part}"
        for number, generation in found.generations.items()
        for part in generation.parts().keys() - _signed(known, number).keys()
    )
    if found != known:
        links.append(ADOPTED, found)
    return Signed(names.day, served, tuple(sorted(new)))


def sign_removal(names: DayNames, links: Links) -> Signed:
    """Sign that a day's sealed files are meant to be gone.

    Raises:
        AppiaError: they are there, or the chain does not know them.
    """
    known = links.state_of(names.day)
    if known is None or known.served is None:
        raise AppiaError(f"The chain has no sealed day {names.day}: there is nothing to say about it.")
    if names.generations() or read_pointer(names.current) is not None:
        raise AppiaError(
            f"{names.sealed_folder} is there: move or delete it first, if the day is meant to go."
        )
    links.append(REMOVED, DayState(names.day, None))
    return Signed(names.day, known.served, ())


def _signed(state: DayState | None, number: int) -> dict[str, str]:
    generation = None if state is None else state.generations.get(number)
    return {} if generation is None else generation.parts()


def _faults(generation: GenerationNames, found: DayState, known: DayState | None) -> Iterator[str]:
    signed = _signed(known, generation.number)
    for part, digest in found.generations[generation.number].parts().items():
        folder = generation.folder / part
        if part not in signed:
            yield from check_artifacts(folder, read_manifest(folder))
            if manifest_digest(generation, part) != digest:
                yield f"{folder} changed while it was read"
        elif signed[part] != digest:
            yield f"{folder}/manifest.json was altered: it is not the manifest that was signed"
