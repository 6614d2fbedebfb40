"""Checks what lies on disk: every sealed file against its manifest, every open log record by record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.days.chunk import EVENTS, METADATA
from services.common.days.consistency import faults_against_chunk
from services.common.days.manifest import check_artifacts, read_manifest
from services.common.days.metadata import check_database
from services.common.days.names import INDICES, read_pointer
from services.common.days.scrub import check_segment
from services.common.days.vector_files import describe_form
from services.common.days.versions import versions_of
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.common.days.manifest import Manifest
    from services.common.days.names import DayNames, GenerationNames
    from services.common.rest.log_keys import LogKeys


@dataclass(frozen=True)
class DayCheck:
    """What was checked of a day, and what is wrong with it, one sentence each."""

    day: str
    rows: int
    files: int
    faults: tuple[str, ...]
    vectors: Mapping[str, str] = field(default_factory=dict)  # index -> in which form its vectors are kept


def verify_day(names: DayNames, keys: LogKeys = NO_KEYS) -> DayCheck:
    """Check all of a day that is served, and the versions of its indices that could be.

    Reads every byte of it; changes nothing; raises nothing for damage. Records of encrypted logs are checked by their
    checksum, and with `keys` by their seal too.
    """
    faults: list[str] = []
    vectors: dict[str, str] = {}
    rows = files = 0
    try:
        current = read_pointer(names.current)
        through = 0
        if current is not None:
            generation = names.generation(current)
            manifest = read_manifest(generation.chunk)
            through = int(manifest.facts["through_segment"])
            rows += manifest.rows
            files += len(manifest.artifacts)
            faults += _check_chunk(generation, manifest)
            for index in INDICES:
                checked = _check_index(generation, manifest, index)
                faults += [fault for _, found in checked for fault in found]
                files += sum(len(described.artifacts) for described, _ in checked if described)
                if checked[0][0] is not None:
                    vectors[index] = describe_form(checked[0][0])
        for number in names.segments():
            if number > through:
                events, logs, found = check_segment(names.segment(number), keys)
                rows, files = rows + events, files + logs
                faults += found
    except AppiaError as error:
        faults.append(str(error))
    return DayCheck(names.day, rows, files, tuple(faults), vectors)


def _check_chunk(generation: GenerationNames, manifest: Manifest) -> Iterator[str]:
    faults = check_artifacts(generation.chunk, manifest)
    yield from faults
    if manifest.facts.get("lost"):
        yield f"{generation.chunk}: {manifest.facts['lost']} damaged stretches of the log could not be taken in"
    if any(METADATA in fault or EVENTS in fault for fault in faults):
        return
    yield from (
        f"{generation.chunk / METADATA}: {fault}" for fault in check_database(generation.chunk / METADATA)
    )


def _check_index(
    generation: GenerationNames, chunk: Manifest, index: str
) -> list[tuple[Manifest | None, list[str]]]:
    """The manifest of each version of an index and what is wrong with it, the one that is served first."""
    found = versions_of(generation, index)
    if found.served is None:
        return [
            (None, [f"{generation.folder} has no index {index}: the ingester builds it again, see its log"])
        ]
    numbers = [number for number in (found.served, found.before, found.waiting) if number is not None]
    return [_check_version(generation, chunk, generation.index_version(index, number)) for number in numbers]


def _check_version(generation: GenerationNames, chunk: Manifest, folder: Path) -> tuple[Manifest, list[str]]:
    manifest = read_manifest(folder)
    faults = check_artifacts(folder, manifest)
    return manifest, [*faults, *faults_against_chunk(folder, manifest, generation, chunk)]
