"""Pulls what a day has that is sealed: the generation that its source serves, and the versions of its indices.

manifests  ->  files into staging  ->  each checked  ->  one rename  ->  CURRENT  ->  what it replaces goes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.state import CHUNK, part_name
from services.common.days.generations import remove_unread, retire
from services.common.days.manifest import THROUGH
from services.common.days.names import (
    INDICES,
    GenerationNames,
    number_name,
    numbered,
    parse_number,
    read_pointer,
)
from services.common.errors import AppiaError
from services.mirror.pulling import describe, pull_folder
from services.mirror.source import BadSource, Gone, SourceAway, read_small

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.common.chain.follower import Vouching
    from services.common.days.names import DayNames
    from services.common.durable import Disk
    from services.mirror.faults import Faults
    from services.mirror.pulling import Described
    from services.mirror.source import Source

LONGEST_POINTER = 64


@dataclass(frozen=True)
class Tools:
    """What is needed to pull sealed days."""

    disk: Disk
    source: Source
    vouching: Vouching
    faults: Faults


@dataclass(frozen=True)
class Offer:
    """What the source has of a day that is sealed: manifests that were vouched for, by folder in the generation."""

    day: str
    generation: int
    chunk: Described
    indices: Mapping[str, tuple[int, Described]]

    @property
    def through(self) -> int:
        """The last open segment whose events are in it."""
        return int(self.chunk.manifest.facts[THROUGH])

    @property
    def bytes(self) -> int:
        """Of all files."""
        return self.chunk.bytes + sum(described.bytes for _, described in self.indices.values())


def parse_pointer(data: bytes | None, path: Path) -> int | None:
    """The number in a CURRENT file of the source; None where there is none.

    Raises:
        BadSource: it holds something else.
    """
    if data is None:
        return None
    number = parse_number(data.decode("ascii", "replace").strip())
    if number is None:
        raise BadSource(f"{path} of the source names no folder.")
    return number


def look_at_offer(tools: Tools, remote: DayNames, number: int) -> Offer:
    """Read the manifests of a generation. An index that cannot be used is noted, and left out.

    Raises:
        BadSource: the chunk is not what it should be.
        AppiaError: it is in no link of the chain, or cannot be read.
    """
    generation = remote.generation(number)
    chunk = _vouched(tools, generation, remote.day, CHUNK)
    if type(chunk.manifest.facts.get(THROUGH)) is not int:
        raise BadSource(f"{generation.chunk} of the source does not say which segments are in it.")
    indices = {}
    for name in INDICES:
        found = look_at_index(tools, remote, generation, name)
        if found is not None:
            indices[name] = found
    return Offer(remote.day, number, chunk, indices)


def look_at_index(
    tools: Tools, remote: DayNames, generation: GenerationNames, name: str
) -> tuple[int, Described] | None:
    """The version of an index that the source serves; None where there is none, or none that can be used now."""
    part = f"{remote.day} {name}"
    if not tools.faults.is_due(part):
        return None
    try:
        version = _version(tools.source, generation.index_current(name))
        found = None if version is None else _vouched(tools, generation, remote.day, part_name(name, version))
    except SourceAway:
        raise
    except AppiaError as error:
        tools.faults.note(part, str(error))
        return None
    return None if version is None or found is None else (version, found)


def _version(source: Source, pointer: Path) -> int | None:
    try:
        return parse_pointer(read_small(source, pointer, LONGEST_POINTER), pointer)
    except Gone:
        return None


def _vouched(tools: Tools, generation: GenerationNames, day: str, part: str) -> Described:
    found = describe(tools.source, generation.folder / part)
    tools.vouching.check(day, generation.number, part, found.digest)
    manifest = found.manifest
    kind = "chunk" if part == CHUNK else "index"
    if (manifest.kind, manifest.day, manifest.generation) != (kind, day, generation.number):
        raise BadSource(f"{found.folder} of the source is of another day or generation than its place says.")
    return found


def missing_bytes(local: DayNames, offer: Offer) -> int:
    """How many bytes of an offer are still to be pulled; what is in staging counts as pulled."""
    staged = local.pulled(offer.generation)
    parts = [(staged / CHUNK, offer.chunk)]
    parts += [(staged / part_name(name, one[0]), one[1]) for name, one in offer.indices.items()]
    return sum(_lacking(folder, described) for folder, described in parts)


def _lacking(folder: Path, described: Described) -> int:
    found = 0
    for name, artifact in described.manifest.artifacts.items():
        path = folder / name
        found += max(artifact.bytes - (path.stat().st_size if path.exists() else 0), 0)
    return found


def pull_generation(tools: Tools, local: DayNames, offer: Offer) -> Iterator[None]:
    """Pull an offer, publish it, and let go of what it replaces. Yields after each piece.

    An index that cannot be used is noted and left out: the day then serves without it, and it is tried again later.

    Raises:
        BadSource: a file of the chunk is not what its manifest says.
        AppiaError, OSError: as `pull_file`.
    """
    disk, staged = tools.disk, local.pulled(offer.generation)
    clear_staged(local, disk, keep=offer.generation)
    disk.make_folder(staged)
    yield from pull_folder(tools.source, disk, offer.chunk, staged / CHUNK)
    for name in INDICES:
        yield from _pull_index(tools, local.day, GenerationNames(staged), (name, offer.indices.get(name)))
    # A crash, or a day that went for room and comes back, may have left it: whoever maps that keeps what it maps.
    disk.remove(local.generation(offer.generation).folder)
    disk.publish(staged, local.generation(offer.generation).folder)
    _point(local.current, offer.generation, disk)
    retire(local, disk)


def _pull_index(
    tools: Tools, day: str, staged: GenerationNames, wanted: tuple[str, tuple[int, Described] | None]
) -> Iterator[None]:
    name, found = wanted
    for number in numbered(staged.index(name)):
        if found is None or number != found[0]:
            tools.disk.remove(staged.index_version(name, number))
    if found is None:
        tools.disk.remove(staged.index(name))
        return
    version, described = found
    try:
        yield from pull_folder(tools.source, tools.disk, described, staged.index_version(name, version))
    except SourceAway:
        raise
    except AppiaError as error:
        tools.faults.note(f"{day} {name}", str(error))
        tools.disk.remove(staged.index(name))
        return
    tools.faults.clear(f"{day} {name}")
    tools.disk.put(staged.index_current(name), f"{number_name(version)}\n".encode())


def pull_version(
    tools: Tools, local: DayNames, number: int, offered: tuple[str, int, Described]
) -> Iterator[None]:
    """Pull another version of an index of the generation that serves here, and serve it. As `pull_generation`.

    Raises:
        BadSource: a file is not what the manifest says.
        AppiaError, OSError: as `pull_file`.
    """
    name, version, described = offered
    generation, disk = local.generation(number), tools.disk
    final = generation.index_version(name, version)
    if not final.exists():
        staged = generation.index(name) / f"staging-{number_name(version)}"
        yield from pull_folder(tools.source, disk, described, staged)
        disk.publish(staged, final)
    _point(generation.index_current(name), version, disk)


def _point(pointer: Path, number: int, disk: Disk) -> None:
    disk.write_file(pointer, f"{number_name(number)}\n".encode())


def clear_staged(local: DayNames, disk: Disk, keep: int = 0) -> None:
    """Remove what was gathered of other generations than `keep`."""
    if not local.sealed_folder.is_dir():
        return
    disk.clear_going(local.sealed_folder)
    for folder in local.sealed_folder.glob("staging-*"):
        if folder != local.pulled(keep):
            disk.remove(folder)


def let_go(local: DayNames, disk: Disk, *, keep_before: bool) -> None:
    """Remove what nobody reads any more: versions of indices but the one before, and without `keep_before` that too.

    Without it the generation before goes as well.
    """
    current = read_pointer(local.current)
    if current is None:
        return
    if not keep_before:
        for number in local.generations():
            if number < current:
                remove_unread(local.generation(number).folder, disk)
    generation = local.generation(current)
    for name in INDICES:
        served = read_pointer(generation.index_current(name))
        if served is not None:
            versions = numbered(generation.index(name))
            before = max((version for version in versions if version < served), default=served)
            kept = {served, before} if keep_before else {served}
            for version in versions:
                if version not in kept:
                    remove_unread(generation.index_version(name, version), disk)
