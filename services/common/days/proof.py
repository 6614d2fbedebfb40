"""Proves days against the chain: every manifest, pointer and folder is the one that was signed, and there is no other.

The contents of files are for `verify.py`, which checks them against the manifests; what it does not look at, all
generations but the one that CURRENT names, is checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.linking import manifest_digest
from services.common.days.manifest import MANIFEST, check_artifacts, read_manifest
from services.common.days.names import INDICES, numbered, read_pointer
from services.common.days.overlap import OVERLAP
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from services.common.chain.check import CheckedChain
    from services.common.chain.link import Link
    from services.common.chain.state import DayState, GenerationState, IndexState
    from services.common.days.names import DayNames, GenerationNames

_UNNAMED = {MANIFEST, OVERLAP}  # manifests of older releases do not name the report of a version


@dataclass(frozen=True)
class DayProof:
    """What the chain proves of a day: the number of the link that describes it, 0 for none, and what is wrong."""

    day: str
    link: int
    faults: tuple[str, ...]


def prove_day(
    day: str, folders: Sequence[DayNames], chain: CheckedChain, *, contents: bool = True
) -> DayProof:
    """Compare a day, wherever it lies, with its last link: its manifests, and with `contents` the generation before."""
    there = [names for names in folders if names.generations() or names.current.exists()]
    served = [names for names in there if names.current.exists()]
    links = chain.links_of(day)
    if not links:
        return DayProof(day, 0, tuple(f"{names.sealed_folder} is sealed and not signed" for names in there))
    last = links[-1]
    faults: list[str] = []
    if last.state is not None and last.state.served is None:
        # Without a pointer nothing is served of it: its files go when the last replica has let go of them.
        faults = [
            f"{names.sealed_folder} is there, and link {last.number} says it is removed" for names in served
        ]
    elif not there:
        faults = [f"day {day} was removed: link {last.number} says that it is sealed"]
    else:
        faults = [fault for names in there for fault in _compare(names, links, contents=contents)]
    return DayProof(day, last.number, tuple(faults))


def _compare(names: DayNames, links: Sequence[Link], *, contents: bool) -> Iterator[str]:
    state = links[-1].state
    if state is None or state.served is None:
        return
    yield from _compare_pointer(names.current, state.served, links[-1])
    checked = _pointed(names.current)  # by `verify.py`
    for number, signed in state.generations.items():
        generation = names.generation(number)
        if not generation.folder.is_dir():
            yield f"{generation.folder} was removed: link {links[-1].number} names it"
            continue
        yield from _compare_parts(generation, signed, links[-1])
        yield from _compare_indices(generation, signed, links)
        if contents and number != checked:
            yield from _contents(generation, signed)
    for number in names.generations():
        if number not in state.generations and not _was_named(links, number):
            yield f"{names.generation(number).folder} is in no link: it was put in, or is not signed"


def _compare_pointer(pointer: Path, signed: int, link: Link) -> Iterator[str]:
    try:
        found = read_pointer(pointer)
    except AppiaError as error:
        yield str(error)
        return
    if found != signed:
        names = "is missing" if found is None else f"names {found}"
        yield f"{pointer} {names}, and link {link.number} says {signed}: it was set by somebody else"


def _pointed(pointer: Path) -> int | None:
    try:
        return read_pointer(pointer)
    except AppiaError:
        return None


def _compare_parts(generation: GenerationNames, signed: GenerationState, link: Link) -> Iterator[str]:
    for part, digest in signed.parts().items():
        folder = generation.folder / part
        try:
            found = manifest_digest(generation, part)
        except OSError as error:
            yield f"{folder / MANIFEST} cannot be read ({error.strerror}): link {link.number} names it"
            continue
        if found != digest:
            yield f"{folder / MANIFEST} was altered: link {link.number} names another SHA-256"
        yield from _put_in(folder)


def _put_in(folder: Path) -> Iterator[str]:
    """Files that no manifest names."""
    try:
        named = read_manifest(folder).artifacts.keys() | _UNNAMED
    except AppiaError:
        return  # that it is not what was signed is said already
    for entry in sorted(folder.iterdir()):
        if entry.name not in named:
            yield f"{entry} was put in: the manifest does not name it"


def _compare_indices(
    generation: GenerationNames, signed: GenerationState, links: Sequence[Link]
) -> Iterator[str]:
    for index in INDICES:
        known = signed.indices.get(index)
        if known is not None:
            yield from _compare_pointer(generation.index_current(index), known.served, links[-1])
        for version in numbered(generation.index(index)):
            if (known is None or version not in known.versions) and not _was_version(
                links, generation.number, index, version
            ):
                yield f"{generation.index_version(index, version)} is in no link: it was put in, or is not signed"


def _contents(generation: GenerationNames, signed: GenerationState) -> Iterator[str]:
    for part in signed.parts():
        try:
            yield from check_artifacts(generation.folder / part, read_manifest(generation.folder / part))
        except AppiaError as error:
            yield str(error)


def _was_named(links: Sequence[Link], number: int) -> bool:
    """Whether a generation was signed once: then it is retired, and only not gone yet."""
    return any(number in state.generations for state in _states(links))


def _was_version(links: Sequence[Link], generation: int, index: str, version: int) -> bool:
    return any(version in one.versions for one in _index_states(links, generation, index))


def _states(links: Sequence[Link]) -> Iterator[DayState]:
    yield from (link.state for link in links if link.state is not None)


def _index_states(links: Sequence[Link], generation: int, index: str) -> Iterator[IndexState]:
    for state in _states(links):
        found = state.generations.get(generation)
        if found is not None and index in found.indices:
            yield found.indices[index]
