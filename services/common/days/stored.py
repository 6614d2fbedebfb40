"""What a day takes on the disk, and in which form its vectors are kept. Reads manifests and sizes, no content."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.days.manifest import read_manifest
from services.common.days.names import EVENT_INDICES, read_pointer
from services.common.days.versions import versions_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.common.days.manifest import Manifest
    from services.common.days.names import DayNames, GenerationNames

FULL = "fast"
"""The policy that keeps every number of a vector."""
FEW = 1_000
"""An index of fewer vectors has no smaller form (`compression.SMALL`, whose module needs faiss)."""


@dataclass(frozen=True)
class Stored:
    """What lies on the disk of a day.

    Attributes:
        day: YYYY-MM-DD.
        bytes: all its files, as they are long.
        sealed: whether all its events are sealed.
        packable: by index whose served vectors are whole and could be kept in a smaller form, the bytes of its files.
        leftover: by index whose smaller form is served, the bytes of the same vectors, whole, that lie beside it.
    """

    day: str
    bytes: int
    sealed: bool
    packable: Mapping[str, int] = field(default_factory=dict)
    leftover: Mapping[str, int] = field(default_factory=dict)


def look_at_stored(names: DayNames) -> Stored:
    """Look at a day. Blocks on the disk for a few milliseconds.

    Raises:
        AppiaError: a pointer or manifest is damaged.
    """
    current = read_pointer(names.current)
    if current is None:
        return Stored(names.day, size_of(names.folder), sealed=False)
    packable: dict[str, int] = {}
    leftover: dict[str, int] = {}
    generation = names.generation(current)
    read_manifest(generation.chunk)  # of a day without one nobody knows what it holds
    for index in EVENT_INDICES:
        found = versions_of(generation, index)
        if found.served is None:
            continue
        served = read_manifest(generation.index_version(index, found.served))
        if is_whole(served) and served.facts["items"] >= FEW:
            packable[index] = bytes_of(served)
        elif found.before is not None and is_replaced(generation, index, found.before, served):
            leftover[index] = bytes_of(read_manifest(generation.index_version(index, found.before)))
    return Stored(
        names.day, size_of(names.folder), sealed=not names.segments(), packable=packable, leftover=leftover
    )


def is_whole(manifest: Manifest) -> bool:
    """Whether the vectors of an index were never asked to be kept in a smaller form."""
    return bool(manifest.facts.get("wanted", FULL) == FULL)


def is_replaced(generation: GenerationNames, index: str, version: int, served: Manifest) -> bool:
    """Whether a version has the same vectors as the one that is served, whole, and nothing else."""
    before = read_manifest(generation.index_version(index, version))
    same_model = before.facts["model"] == served.facts["model"]
    return bool(same_model and is_whole(before) and not is_whole(served))


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, as they are long; 0 where it is gone. Blocks on the disk."""
    found = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.lstat(os.path.join(top, name)).st_size  # noqa: PTH118 - os.walk gives strings
            except FileNotFoundError:
                continue  # sealed or retired since it was listed
    return found


def bytes_of(manifest: Manifest) -> int:
    """Bytes of the files that a manifest names."""
    return sum(artifact.bytes for artifact in manifest.artifacts.values())
