"""Signs what is published of a day, before the pointer moves, and mends what a crash left between the two.

    publish (rename)  ->  link (synced)  ->  CURRENT

So a pointer never names what no link names. A link whose pointer did not move is followed by moving it; what was
renamed into place and never named by a link was never served, and goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.link import INDEXED, SEALED
from services.common.chain.state import CHUNK, DayState, GenerationState, IndexState, part_name
from services.common.days.manifest import MANIFEST, digest_file, read_manifest
from services.common.days.names import INDICES, number_name, numbered, read_pointer
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from services.common.chain.store import Links
    from services.common.days.names import DayNames, GenerationNames
    from services.common.durable import Disk


@dataclass(frozen=True)
class Versioned:
    """What becomes of an index of the served generation: the version that is served, and all that stay."""

    index: str
    served: int
    kept: Collection[int]
    made: int | None = None  # the version that was made just now, and is in no link yet


def manifest_digest(generation: GenerationNames, part: str) -> str:
    """SHA-256 (hex) of the manifest of a part, such as `chunk` or `attack/000001`; raises `OSError`."""
    return digest_file(generation.folder / part / MANIFEST).sha256


def describe(generation: GenerationNames) -> GenerationState:
    """A generation as it lies on disk. Raises `AppiaError` for a damaged pointer, `OSError` for a missing manifest."""
    indices = {}
    for name in INDICES:
        served = read_pointer(generation.index_current(name))
        if served is not None:
            versions = numbered(generation.index(name))
            digests = {number: manifest_digest(generation, part_name(name, number)) for number in versions}
            indices[name] = IndexState(served, digests)
    return GenerationState(manifest_digest(generation, CHUNK), indices)


def link_sealed(links: Links, names: DayNames, number: int, *, keep_before: bool = True) -> None:
    """Sign a generation that was just published, and with it that all others are retired, but for the one before.

    That one is damaged and goes, too, where it is not to be kept.
    """
    before = max((one for one in names.generations() if one < number), default=0)
    known = links.state_of(names.day)
    if known is None or not keep_before or before not in known.generations:
        kept = {}
    else:
        kept = {before: known.generations[before]}
    links.append(SEALED, DayState(names.day, number, {**kept, number: describe(names.generation(number))}))


def link_index(links: Links, names: DayNames, what: str, change: Versioned) -> None:
    """Sign what becomes of an index of the served generation; nothing happens for a day that is not signed.

    Raises:
        AppiaError: the version to serve is not signed, though its day is.
    """
    found = _served_state(links, names)
    if found is None:
        return
    number, state = found
    generation = state.generations[number]
    before = generation.indices.get(change.index)
    known = {} if before is None else {n: one for n, one in before.versions.items() if n in change.kept}
    if change.made is not None:
        part = part_name(change.index, change.made)
        known = {**known, change.made: manifest_digest(names.generation(number), part)}
    if change.served not in known:
        raise AppiaError(
            f"Version {change.served} of {change.index} of {names.day} is not signed, though its day is: "
            f"look at it with `appia verify {names.day}`, then sign it with `appia chain adopt {names.day}`."
        )
    changed = generation.with_index(change.index, IndexState(change.served, known))
    links.append(what, state.with_generation(number, changed))


def link_built(links: Links, names: DayNames, index: str, version: int) -> None:
    """Sign an index that the served generation lacked until now."""
    link_index(links, names, INDEXED, Versioned(index, version, {version}, made=version))


def require_signed_as_is(links: Links, day: str, generation: GenerationNames, part: str) -> None:
    """Refuse a part that is other than it was signed; one that was never signed passes.

    Raises:
        AppiaError: its manifest was altered.
    """
    state = links.state_of(day)
    signed = None if state is None else state.generations.get(generation.number)
    digest = None if signed is None else signed.parts().get(part)
    if digest is not None and manifest_digest(generation, part) != digest:
        raise AppiaError(
            f"{generation.folder / part / MANIFEST} was altered: it is not the manifest that was signed. "
            f"`appia verify {day}` names all that was; restore it from a backup."
        )


def mend(links: Links, names: DayNames, disk: Disk) -> list[str]:
    """Finish or undo what a crash left of the publishing of a day; gives what was done, one sentence each.

    For the one writer, while nobody else publishes.

    Raises:
        AppiaError: a pointer or the chain is damaged.
    """
    done = list(_mend_generation(links, names, disk))
    found = _served_state(links, names)
    if found is not None:
        number, state = found
        generation = names.generation(number)
        for index in INDICES:
            done += _mend_index(generation, index, state.generations[number].indices.get(index), disk)
    return done


def _served_state(links: Links, names: DayNames) -> tuple[int, DayState] | None:
    """The served generation and the signed state of its day, where the generation is signed."""
    current, state = read_pointer(names.current), links.state_of(names.day)
    return None if current is None or state is None or current not in state.generations else (current, state)


def _mend_generation(links: Links, names: DayNames, disk: Disk) -> Iterator[str]:
    state, current = links.state_of(names.day), read_pointer(names.current) or 0
    served = 0 if state is None else state.served or 0
    if state is not None and served > current and _is_there(names.generation(served), state):
        _point(names.current, served, disk)
        current = served
        yield f"{names.current} names generation {served} now, as the last link says"
    for number in names.generations():
        if number > max(current, served) and _was_never_served(names, number, max(current, served)):
            disk.remove(names.generation(number).folder)
            yield f"generation {number} of {names.day} was never served: a crash came before; it is made again"


def _is_there(generation: GenerationNames, state: DayState) -> bool:
    try:
        return manifest_digest(generation, CHUNK) == state.generations[generation.number].chunk
    except OSError:
        return False


def _was_never_served(names: DayNames, number: int, served: int) -> bool:
    """Whether a generation above the served one can go: what it was made from, segments or that one, is still here."""
    try:
        through = _through(names, number)
        return any(segment <= through for segment in names.segments()) or (
            served in names.generations() and through == _through(names, served)
        )
    except AppiaError:
        return False


def _through(names: DayNames, number: int) -> int:
    """The last open segment whose events a generation has."""
    return int(read_manifest(names.generation(number).chunk).facts["through_segment"])


def _mend_index(
    generation: GenerationNames, index: str, signed: IndexState | None, disk: Disk
) -> Iterator[str]:
    current = read_pointer(generation.index_current(index))
    if (
        signed is not None
        and current != signed.served
        and generation.index_version(index, signed.served).is_dir()
    ):
        current = signed.served
        _point(generation.index_current(index), current, disk)
        yield f"{generation.index_current(index)} names version {current} now, as the last link says"
    named = set() if signed is None else set(signed.versions)
    for number in numbered(generation.index(index)):
        if number not in named and number > (current or 0):
            disk.remove(generation.index_version(index, number))
            yield f"version {number} of {index} in {generation.folder} was in no link: a crash came before; it is gone"


def _point(pointer: Path, number: int, disk: Disk) -> None:
    disk.write_file(pointer, f"{number_name(number)}\n".encode())
