"""Whether a day is as it should be: its chunk, each index, its open segments, one word and one sentence for each.

This looks at pointers, manifests, presence and sizes of files, which takes milliseconds; `scrub.py` reads every byte
too. It needs neither numpy nor faiss, so a process that has to stay small can look.

A part is OK, MISSING, STALE (made of other events, or with an older model than is active) or CORRUPT. What helps is its
remedy: `appia repair` makes it anew from the day's own events, `appia reindex` brings newer vectors after a look at how
answers change, and events that are damaged themselves come back from a backup only.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from services.common.chain.state import CHUNK
from services.common.counts import read_counts
from services.common.days.manifest import MANIFEST, faults_in, hash_file, read_manifest
from services.common.days.names import ENTITY, EVENT_INDICES, INDICES, read_pointer
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    Digest = Callable[[Path], str]

    from services.common.days.manifest import Fault, Manifest
    from services.common.days.names import DayNames, GenerationNames, OpenNames

OK, MISSING, STALE, CORRUPT = "ok", "missing", "stale", "corrupt"
STATES = (OK, MISSING, STALE, CORRUPT)
REPAIR, REINDEX, BACKUP = "repair", "reindex", "backup"
EVENTS = "events.log"
"""The file of a chunk that all others are made from; see `chunk.py`, which this cannot import."""
PARTS = (CHUNK, *INDICES)
_LOOKS, _PAUSE_S = 3, 0.25

Models = dict[str, str]
"""The id of the active model by its name, see `active_models.py`."""


@dataclass(frozen=True)
class Part:
    """The chunk of a sealed day, or one of its indices.

    Attributes:
        name: "chunk", or that of the index.
        state: one of STATES.
        why: one sentence where it is not OK.
        remedy: REPAIR, REINDEX or BACKUP where it is not OK.
        rows: its rows as its manifest says, 0 where that cannot be read; hosts where it is the entity index.
        version: the version of an index that is served; 0 where none is.
        model: the id of the model that made it; empty for the chunk.
    """

    name: str
    state: str = OK
    why: str = ""
    remedy: str = ""
    rows: int = 0
    version: int = 0
    model: str = ""

    def spoilt(self, state: str, why: str, remedy: str = REPAIR) -> Part:
        """The same part, with what is wrong with it."""
        return replace(self, state=state, why=why, remedy=remedy)

    def spoilt_by(self, faults: Sequence[Fault], remedy: str) -> Part:
        """The same part, with what is wrong with its files."""
        state = MISSING if any(fault.is_gone for fault in faults) else CORRUPT
        return self.spoilt(state, "; ".join(fault.sentence for fault in faults), remedy)


@dataclass(frozen=True)
class OpenPart:
    """An open segment: rows that have arrived everywhere but the indices, and how many each index has.

    Attributes:
        segment: its number.
        rows: committed with their metadata; in a full check those in its logs.
        committed: rows by index; fewer than `rows` while the index is behind, which is no fault.
        faults: sentences; only a full check looks.
    """

    segment: int
    rows: int
    committed: Mapping[str, int]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class DayState:
    """A day as it was found.

    Attributes:
        day: YYYY-MM-DD.
        generation: the one that is served; 0 for a day that is not sealed.
        chunk: None for a day that is not sealed.
        indices: one for each index of a sealed day.
        open: open segments that are not in the generation.
        full: whether every byte was read and compared.
        bytes: size of the sealed files that are served.
    """

    day: str
    generation: int = 0
    chunk: Part | None = None
    indices: tuple[Part, ...] = ()
    open: tuple[OpenPart, ...] = ()
    full: bool = False
    bytes: int = 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """The chunk and the indices."""
        return () if self.chunk is None else (self.chunk, *self.indices)

    @property
    def wrong(self) -> tuple[Part, ...]:
        """The parts that are not OK."""
        return tuple(part for part in self.parts if part.state != OK)

    @property
    def is_consistent(self) -> bool:
        """Whether nothing is wrong; an index of an open segment that is behind is not."""
        return not self.wrong and not any(one.faults for one in self.open)

    @property
    def total(self) -> int:
        """Events of the day."""
        return (0 if self.chunk is None else self.chunk.rows) + sum(one.rows for one in self.open)

    @property
    def consistent(self) -> int:
        """Events that are whole, and in every index."""
        sealed = self.chunk.rows if self.chunk is not None and not self.wrong else 0
        return sealed + sum(min((one.rows, *one.committed.values())) for one in self.open if not one.faults)

    @property
    def percent(self) -> float:
        """Of the events those that are consistent; 100 for none."""
        return percent_of(self.consistent, self.total)

    def part(self, name: str) -> Part | None:
        """The chunk or an index by its name; None for a day that is not sealed."""
        return next((part for part in self.parts if part.name == name), None)

    def as_plain(self) -> dict[str, Any]:
        """The state as plain values; `day_state_from` reads them."""
        counted = {"total": self.total, "consistent": self.consistent, "percent": round(self.percent, 3)}
        return {**asdict(self), **counted, "is_consistent": self.is_consistent}


def percent_of(consistent: int, total: int) -> float:
    """A share in percent; 100 of nothing."""
    return 100.0 * consistent / total if total else 100.0


def day_state_from(raw: Mapping[str, Any]) -> DayState:
    """The state that `DayState.as_plain` spelled; raises `KeyError` and `TypeError` for other values."""
    chunk = raw["chunk"]
    return DayState(
        day=raw["day"],
        generation=raw["generation"],
        chunk=None if chunk is None else Part(**chunk),
        indices=tuple(Part(**part) for part in raw["indices"]),
        open=tuple(OpenPart(**{**one, "faults": tuple(one["faults"])}) for one in raw["open"]),
        full=raw["full"],
        bytes=raw["bytes"],
    )


def check_day(names: DayNames, models: Models, sleep: Callable[[float], None] = time.sleep) -> DayState:
    """Look at a day. `models` are the active ones; an index made with a model of another name is not compared.

    Blocks for milliseconds, and where something is wrong for half a second: it is looked at again, as the day may be
    sealed or switched at this moment. Raises nothing: a day that cannot be read is damaged, and hides no other.
    """
    return next(check_days((names,), models, sleep))


def check_days(
    days: Iterable[DayNames], models: Models, sleep: Callable[[float], None] = time.sleep
) -> Iterator[DayState]:
    """Look at days; see `check_day`. They wait together, so that a thousand with faults take no longer than one."""
    for _ in range(_LOOKS - 1):
        doubtful = []
        for names in days:
            found = look_at_day(names, models)
            if _may_pass(found):
                doubtful.append(names)
            else:
                yield found
        if not doubtful:
            return
        sleep(_PAUSE_S)
        days = doubtful
    yield from (look_at_day(names, models) for names in days)


def _may_pass(found: DayState) -> bool:
    """Whether something is wrong that another look may find in order: an older model stays one."""
    return any(part.remedy != REINDEX for part in found.wrong) or any(one.faults for one in found.open)


def look_at_day(names: DayNames, models: Models, digest: Digest | None = None) -> DayState:
    """Look at a day once; see `check_day`. With `digest`, which gives a file's SHA-256, every byte is compared."""
    try:
        return _look_at_day(names, models, digest)
    except OSError as error:
        why = f"{names.folder} cannot be read: {error}"
        return DayState(names.day, chunk=Part(CHUNK).spoilt(CORRUPT, why, BACKUP))


def _look_at_day(names: DayNames, models: Models, digest: Digest | None) -> DayState:
    try:
        current = read_pointer(names.current)
    except AppiaError as error:
        remedy = REPAIR if names.generations() else BACKUP
        return _unserved(names, Part(CHUNK).spoilt(CORRUPT, str(error), remedy))
    if current is None and names.generations():
        return _unserved(names, Part(CHUNK).spoilt(MISSING, f"{names.current} is missing"))
    if current is None:
        return DayState(names.day, open=_open_parts(names, 0))
    generation = names.generation(current)
    manifest, chunk = _look_at_chunk(generation, digest)
    look = _IndexLook(generation, manifest, models, digest)
    indices = tuple(look.at(name) for name in INDICES)
    through = 0 if manifest is None else int(manifest.facts.get("through_segment", 0))
    size = sum(_bytes_of(folder) for folder in served_folders(generation, indices))
    return DayState(names.day, current, chunk, indices, _open_parts(names, through), bytes=size)


def look_at_index(generation: GenerationNames, index: str, digest: Digest | None = None) -> Part:
    """Look at one index of a generation; its model is not compared."""
    manifest, _ = _look_at_chunk(generation, None)
    return _IndexLook(generation, manifest, {}, digest).at(index)


def served_folders(generation: GenerationNames, indices: Sequence[Part]) -> list[Path]:
    """Folders of the chunk and of the versions of indices that are served and there."""
    versions = [generation.index_version(one.name, one.version) for one in indices if one.version]
    return [folder for folder in (generation.chunk, *versions) if folder.is_dir()]


def _look_at_chunk(generation: GenerationNames, digest: Digest | None) -> tuple[Manifest | None, Part]:
    """The manifest of a chunk, None where it cannot be read, and what is wrong with its files."""
    part = Part(CHUNK)
    try:
        manifest = read_manifest(generation.chunk)
    except (AppiaError, OSError) as error:
        gone = not (generation.chunk / MANIFEST).exists()
        return None, part.spoilt(MISSING if gone else CORRUPT, str(error), BACKUP)
    part = replace(part, rows=manifest.rows)
    wrong = faults_in(generation.chunk, manifest, digest=digest)
    return manifest, part.spoilt_by(wrong, chunk_remedy(wrong)) if wrong else part


@dataclass(frozen=True)
class _IndexLook:
    """Looks at indices of a generation: pointer, manifest, files, events and model."""

    generation: GenerationNames
    chunk: Manifest | None
    models: Models
    digest: Digest | None

    def at(self, index: str) -> Part:
        part = Part(index)
        try:
            version = read_pointer(self.generation.index_current(index))
            if version is None:
                return part.spoilt(MISSING, f"{self.generation.folder} has no index {index}")
            part = replace(part, version=version)
            folder = self.generation.index_version(index, version)
            manifest = read_manifest(folder)
        except (AppiaError, OSError) as error:
            folder = self.generation.index_version(index, part.version)
            gone = part.version and not (folder / MANIFEST).exists()
            return part.spoilt(MISSING if gone else CORRUPT, str(error))
        part = replace(part, rows=manifest.rows, model=str(manifest.facts.get("model", "")))
        wrong = faults_in(folder, manifest, digest=self.digest)
        return part.spoilt_by(wrong, REPAIR) if wrong else self._compare(part, folder, manifest)

    def _compare(self, part: Part, folder: Path, manifest: Manifest) -> Part:
        other = (
            [] if self.chunk is None else faults_against_chunk(folder, manifest, self.generation, self.chunk)
        )
        if other:
            return part.spoilt(STALE, "; ".join(other))
        wanted = self.models.get(part.model.partition("@")[0], part.model)
        if part.model != wanted:
            return part.spoilt(STALE, f"it was made with {part.model}, and {wanted} is active", REINDEX)
        return part


def faults_against_chunk(
    folder: Path, manifest: Manifest, generation: GenerationNames, chunk: Manifest
) -> list[str]:
    """What shows that a version of an index was not made from the chunk beside it."""
    faults = []
    if manifest.facts.get("index") != ENTITY and manifest.rows != chunk.rows:
        faults.append(f"{folder} has {manifest.rows} rows, the chunk has {chunk.rows}")
    if manifest.facts.get("chunk") != hash_file(generation.chunk / MANIFEST):
        faults.append(f"{folder} was built over another chunk")
    return faults


def chunk_remedy(faults: Sequence[Fault]) -> str:
    """Events can be brought back by a backup only; all else of a chunk is made from them."""
    return BACKUP if any(fault.file == EVENTS for fault in faults) else REPAIR


def _unserved(names: DayNames, chunk: Part) -> DayState:
    """A day whose pointer leads nowhere: nothing of it is served, whatever there is; its newest generation counts."""
    with suppress(AppiaError, OSError):
        newest = names.generation(max(names.generations(), default=0))
        chunk = replace(chunk, rows=read_manifest(newest.chunk).rows)
    why = "its day is not served"
    indices = tuple(Part(name).spoilt(MISSING, why) for name in INDICES if names.generations())
    return DayState(names.day, 0, chunk, indices, _open_parts(names, 0))


def _open_parts(names: DayNames, through: int) -> tuple[OpenPart, ...]:
    return tuple(_open_part(names.segment(number)) for number in names.segments() if number > through)


def _open_part(segment: OpenNames) -> OpenPart:
    faults = []
    counted = {}
    for name in ("metadata", *EVENT_INDICES):
        try:
            counted[name] = read_counts(segment.counts(name))[0]
        except AppiaError as error:
            counted[name] = 0
            faults.append(str(error))
    rows = counted.pop("metadata")
    return OpenPart(segment.number, rows, counted, tuple(faults))


def _bytes_of(folder: Path) -> int:
    """Bytes of the files in a folder; what goes meanwhile counts as nothing."""
    size = 0
    with suppress(OSError):
        for entry in folder.iterdir():
            with suppress(OSError):
                size += entry.stat().st_size
    return size
