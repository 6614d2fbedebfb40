"""Seals a day: builds a generation in staging, publishes it by one rename, and retires what it replaces."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.chain.state import CHUNK
from services.common.chain.store import NoLinks
from services.common.days.chunk import EVENTS, open_chunk
from services.common.days.chunk_builder import (
    ChunkPlan,
    ChunkTools,
    Progress,
    Source,
    build_chunk,
    open_source,
    sealed_source,
)
from services.common.days.generations import retire, sealed_through
from services.common.days.index_builder import IndexTools, build_index
from services.common.days.linking import link_built, link_sealed, mend, require_signed_as_is
from services.common.days.manifest import check_artifacts, read_manifest
from services.common.days.names import (
    INDICES,
    DayNames,
    GenerationNames,
    number_name,
    numbered,
    read_pointer,
)
from services.common.days.vector_files import describe_form
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.common.chain.store import Links
    from services.common.days.chunk import Chunk
    from services.common.days.embedders import Embedders
    from services.common.days.policies import IndexPolicy
    from services.common.durable import Disk
    from services.common.events.vocabulary import Vocabulary
    from services.common.rest.log_keys import LogKeys


@dataclass(frozen=True)
class SealReport:
    """What sealing did."""

    day: str
    generation: int
    rows: int
    lost: int  # damaged stretches of the log that could not be read
    failed: Mapping[str, str] = field(default_factory=dict)  # index -> why it could not be built
    vectors: Mapping[str, str] = field(default_factory=dict)  # index -> in which form its vectors are kept
    reused_ids: int = 0  # events under an id that an event before of the same sensor has; all are kept


@dataclass(frozen=True)
class Sealer:
    """Seals days. One at a time for each day; the ingester sees to that."""

    disk: Disk
    vocabulary: Vocabulary
    embedders: Embedders
    progress: Progress
    compression: str = "balanced"
    policies: Mapping[str, IndexPolicy] = field(default_factory=dict)  # by index; others are kept whole
    retry_after_s: Sequence[float] = (0.5, 2.0)
    sleep: Callable[[float], None] = time.sleep
    keys: LogKeys = NO_KEYS
    links: Links = field(default_factory=NoLinks)

    def seal(self, names: DayNames, through_segment: int) -> SealReport:
        """Fold the open segments up to `through_segment`, and the generation before, into a new generation.

        Blocks until it is published. An index that fails is left out and named in the report; the day serves on.

        Raises:
            AppiaError: the chunk cannot be built; nothing was published then and nothing removed.
        """
        mend(self.links, names, self.disk)
        before = read_pointer(names.current)
        generation = max(names.generations(), default=0) + 1
        self.disk.remove(names.staging)
        self.disk.make_folder(names.staging / "chunk")
        staged = GenerationNames(names.staging)
        sources = self._sources(names, before, through_segment)
        plan = ChunkPlan(names.day, generation, through_segment, self.compression)
        manifest = build_chunk(
            staged.chunk, plan, sources, ChunkTools(self.disk, self.vocabulary, self.progress, self.keys)
        )
        chunk = open_chunk(staged.chunk, self.keys)
        built, failed = self._build_indices(staged, chunk, INDICES)
        chunk.log.close()
        for name, version in built.items():
            self._serve(staged, name, version)
        forms = _forms(staged, INDICES)
        self.disk.publish(names.staging, names.generation(generation).folder)
        link_sealed(self.links, names, generation)
        self.disk.write_file(names.current, f"{number_name(generation)}\n".encode())
        retire(names, self.disk)
        lost, reused = manifest.facts["lost"], manifest.facts["reused_ids"]
        return SealReport(names.day, generation, manifest.rows, lost, failed, forms, reused)

    def build_missing(self, names: DayNames) -> SealReport | None:
        """Build the indices that the served generation lacks; None where it lacks none or the day is not sealed.

        Raises:
            AppiaError: the chunk is damaged or was altered.
        """
        mend(self.links, names, self.disk)
        current = read_pointer(names.current)
        if current is None:
            return None
        generation = names.generation(current)
        lacking = [name for name in INDICES if read_pointer(generation.index_current(name)) is None]
        if not lacking:
            return None
        require_signed_as_is(self.links, names.day, generation, CHUNK)
        chunk = open_chunk(generation.chunk, self.keys)
        built, failed = self._build_indices(generation, chunk, lacking)
        chunk.log.close()
        for name, version in built.items():
            link_built(self.links, names, name, version)
            self._serve(generation, name, version)
        lost, forms = chunk.manifest.facts["lost"], _forms(generation, lacking)
        return SealReport(names.day, current, chunk.rows, lost, failed, forms)

    def _sources(self, names: DayNames, before: int | None, through_segment: int) -> list[Source]:
        sources = [] if before is None else [self._source_before(names, before)]
        done = 0 if before is None else sealed_through(names, before)
        numbers = [number for number in names.segments() if done < number <= through_segment]
        return [*sources, *(open_source(names.segment(number), self.keys) for number in numbers)]

    def _source_before(self, names: DayNames, before: int) -> Source:
        """The generation before. What was altered in it must not be signed once more as part of the next."""
        generation = names.generation(before)
        require_signed_as_is(self.links, names.day, generation, CHUNK)
        chunk = open_chunk(generation.chunk, self.keys)
        faults = check_artifacts(generation.chunk, chunk.manifest, (EVENTS,))
        if faults:
            chunk.log.close()
            raise AppiaError("; ".join(faults))
        return sealed_source(chunk)

    def _build_indices(
        self, generation: GenerationNames, chunk: Chunk, wanted: Sequence[str]
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Build several indices side by side; gives the version of each, and why those failed that did for good."""
        with ThreadPoolExecutor(len(wanted), "build") as pool:
            found = pool.map(lambda name: self._build_with_retries(generation, chunk, name), wanted)
            pairs = list(zip(wanted, found, strict=True))
        failed = {name: fault for name, fault in pairs if isinstance(fault, str)}
        return {name: version for name, version in pairs if isinstance(version, int)}, failed

    def _build_with_retries(self, generation: GenerationNames, chunk: Chunk, name: str) -> int | str:
        fault = ""
        for wait_s in (0.0, *self.retry_after_s):
            self.sleep(wait_s)
            try:
                return self._build_one(generation, chunk, name)
            except Exception as error:  # noqa: BLE001 - whatever breaks one index must not take the others with it
                fault = f"{type(error).__name__}: {error}"
        return fault

    def _build_one(self, generation: GenerationNames, chunk: Chunk, name: str) -> int:
        """Write and publish a version, which nothing points at yet."""
        version = max(numbered(generation.index(name)), default=0) + 1
        staged = generation.index(name) / f"staging-{number_name(version)}"
        self.disk.remove(staged)
        self.disk.make_folder(staged)
        build_index(staged, chunk, name, IndexTools(self.embedders, self.progress, self.policies, self.disk))
        self.disk.publish(staged, generation.index_version(name, version))
        return version

    def _serve(self, generation: GenerationNames, name: str, version: int) -> None:
        self.disk.write_file(generation.index_current(name), f"{number_name(version)}\n".encode())


def _forms(generation: GenerationNames, wanted: Sequence[str]) -> dict[str, str]:
    """In which form the vectors of some indices are kept, of those that were built."""
    versions = {name: read_pointer(generation.index_current(name)) for name in wanted}
    return {
        name: describe_form(read_manifest(generation.index_version(name, version)))
        for name, version in versions.items()
        if version is not None
    }
