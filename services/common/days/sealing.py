"""Seals a day: builds a generation in staging, publishes it by one rename, and retires what it replaces."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from types import MappingProxyType
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
    log_source,
    open_source,
    sealed_source,
)
from services.common.days.generations import remove_unread, retire, sealed_through
from services.common.days.index_builder import IndexTools, build_index
from services.common.days.linking import link_built, link_sealed, mend, require_signed_as_is
from services.common.days.log import LogReader
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
from services.common.days.versions import served_generation
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


_LOOKS, _PAUSE_S = 20, 0.5
"""How often, in seconds, it is looked whether anybody still reads a generation."""


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
        plan = ChunkPlan(names.day, _next_generation(names), through_segment, self.compression)
        return self._publish(names, plan, self._sources(names, before, through_segment), keep_before=True)

    def seal_again(self, names: DayNames) -> SealReport:
        """Make the next generation of a sealed day from the events of the served one, and of nothing else in it.

        For a chunk of which other files than the events are damaged. Blocks until it is published; the generation
        before is signed as gone. It goes when nobody reads it any more; whoever takes longer than ten seconds to let go
        of it keeps it until the day is sealed again.

        Raises:
            AppiaError: the events are damaged or were altered; nothing was published then.
        """
        served = served_generation(names)
        manifest = read_manifest(served.chunk)
        require_events(self.links, names, served)
        facts = manifest.facts
        plan = ChunkPlan(
            names.day, _next_generation(names), int(facts["through_segment"]), facts["compression"]
        )
        with closing(LogReader(served.chunk / EVENTS, self.keys)) as log:
            report = self._publish(names, plan, [log_source(log, int(facts["lost"]))], keep_before=False)
        for _ in range(_LOOKS):
            if remove_unread(served.folder, self.disk):
                break
            self.sleep(_PAUSE_S)
        return report

    def build_again(self, names: DayNames, index: str) -> int:
        """Make an index of the served generation anew with the model that is active, and serve it; gives its version.

        All other versions go. Blocks until it is served.

        Raises:
            AppiaError: the chunk is damaged or was altered, or the index cannot be built; nothing is changed then.
        """
        generation = served_generation(names)
        require_events(self.links, names, generation)
        chunk = open_chunk(generation.chunk, self.keys)
        with closing(chunk.log):
            found = self._build_with_retries(generation, chunk, index, self._newest_signed(names, index))
        if isinstance(found, str):
            raise AppiaError(f"Index {index} of {names.day} could not be built: {found}")
        link_built(self.links, names, index, found)
        self._serve(generation, index, found)
        for number in numbered(generation.index(index)):
            if number != found:
                self.disk.remove(generation.index_version(index, number))
        return found

    def _newest_signed(self, names: DayNames, index: str) -> int:
        """The highest version of an index that a link names; no other gets its number, though its files are gone."""
        state = self.links.state_of(names.day)
        generation = None if state is None else state.generations.get(served_generation(names).number)
        known = None if generation is None else generation.indices.get(index)
        return 0 if known is None else max(known.versions)

    def _publish(
        self, names: DayNames, plan: ChunkPlan, sources: Sequence[Source], *, keep_before: bool
    ) -> SealReport:
        self.disk.remove(names.staging)
        self.disk.make_folder(names.staging / "chunk")
        staged = GenerationNames(names.staging)
        manifest = build_chunk(
            staged.chunk, plan, sources, ChunkTools(self.disk, self.vocabulary, self.progress, self.keys)
        )
        chunk = open_chunk(staged.chunk, self.keys)
        built, failed = self._build_indices(staged, chunk, INDICES)
        chunk.log.close()
        for name, version in built.items():
            self._serve(staged, name, version)
        forms = _forms(staged, INDICES)
        self.disk.publish(names.staging, names.generation(plan.generation).folder)
        link_sealed(self.links, names, plan.generation, keep_before=keep_before)
        self.disk.write_file(names.current, f"{number_name(plan.generation)}\n".encode())
        retire(names, self.disk)
        lost, reused = manifest.facts["lost"], manifest.facts["reused_ids"]
        return SealReport(names.day, plan.generation, manifest.rows, lost, failed, forms, reused)

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
        used = {name: self._newest_signed(names, name) for name in lacking}
        built, failed = self._build_indices(generation, chunk, lacking, used)
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
        require_events(self.links, names, generation)
        return sealed_source(open_chunk(generation.chunk, self.keys))

    def _build_indices(
        self,
        generation: GenerationNames,
        chunk: Chunk,
        wanted: Sequence[str],
        used: Mapping[str, int] = MappingProxyType({}),
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Build several indices side by side; gives the version of each, and why those failed that did for good.

        `used` is by index the highest version that there was, where its files may be gone.
        """
        with ThreadPoolExecutor(len(wanted), "build") as pool:
            found = pool.map(
                lambda name: self._build_with_retries(generation, chunk, name, used.get(name, 0)), wanted
            )
            pairs = list(zip(wanted, found, strict=True))
        failed = {name: fault for name, fault in pairs if isinstance(fault, str)}
        return {name: version for name, version in pairs if isinstance(version, int)}, failed

    def _build_with_retries(
        self, generation: GenerationNames, chunk: Chunk, name: str, used: int
    ) -> int | str:
        fault = ""
        for wait_s in (0.0, *self.retry_after_s):
            self.sleep(wait_s)
            try:
                return self._build_one(generation, chunk, name, used)
            except Exception as error:  # noqa: BLE001 - whatever breaks one index must not take the others with it
                fault = f"{type(error).__name__}: {error}"
        return fault

    def _build_one(self, generation: GenerationNames, chunk: Chunk, name: str, used: int) -> int:
        """Write and publish a version, which nothing points at yet."""
        version = max((used, *numbered(generation.index(name)))) + 1
        staged = generation.index(name) / f"staging-{number_name(version)}"
        self.disk.remove(staged)
        self.disk.make_folder(staged)
        build_index(staged, chunk, name, IndexTools(self.embedders, self.progress, self.policies, self.disk))
        self.disk.publish(staged, generation.index_version(name, version))
        return version

    def _serve(self, generation: GenerationNames, name: str, version: int) -> None:
        self.disk.write_file(generation.index_current(name), f"{number_name(version)}\n".encode())


def require_events(links: Links, names: DayNames, generation: GenerationNames) -> None:
    """Refuse a generation whose events are not what was sealed. Blocks to read them whole.

    Raises:
        AppiaError: they are damaged, missing or were altered.
    """
    require_signed_as_is(links, names.day, generation, CHUNK)
    faults = check_artifacts(generation.chunk, read_manifest(generation.chunk), (EVENTS,))
    if faults:
        raise AppiaError(
            f"{'; '.join(faults)}. Nothing else has these events: restore {names.day} from a backup (docs/backup.md)."
        )


def _next_generation(names: DayNames) -> int:
    return max(names.generations(), default=0) + 1


def _forms(generation: GenerationNames, wanted: Sequence[str]) -> dict[str, str]:
    """In which form the vectors of some indices are kept, of those that were built."""
    versions = {name: read_pointer(generation.index_current(name)) for name in wanted}
    return {
        name: describe_form(read_manifest(generation.index_version(name, version)))
        for name, version in versions.items()
        if version is not None
    }
