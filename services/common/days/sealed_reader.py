"""Reads a sealed generation: every file is checked against its manifest, then mapped. Nothing here ever changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.chunk import METADATA, open_chunk
from services.common.days.entity_index import EntityIndex, map_hosts
from services.common.days.manifest import check_artifacts, read_manifest
from services.common.days.names import ENTITY, INDICES, read_pointer
from services.common.days.open_writer import VectorSpec
from services.common.days.store import SegmentEvents
from services.common.days.vectors import Accelerator, Postings, VectorIndex
from services.common.days.view import SegmentView
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import GenerationNames

FLAT, IVF, ROWS = "vectors.faiss", "ivf.faiss", "rows.bin"


def open_index(folder: Path) -> VectorIndex:
    """Check and map one version of an index. Nothing is copied: faiss maps its files by `IO_FLAG_MMAP_IFC`.

    Raises:
        AppiaError: a file is missing or was changed.
    """
    manifest = read_manifest(folder)
    faults = check_artifacts(folder, manifest)
    if faults:
        raise AppiaError("; ".join(faults))
    facts = manifest.facts
    spec = VectorSpec(facts["index"], facts["model"], facts["dim"], facts["metric"])
    vectors, owner = flat_vectors(folder / FLAT, facts["items"], spec.dim)
    accelerator = None
    if IVF in manifest.artifacts:
        ivf = faiss.read_index(str(folder / IVF), faiss.IO_FLAG_MMAP_IFC)
        accelerator = Accelerator(ivf, facts["nprobe"])
    codes = postings = None
    if ROWS in manifest.artifacts:
        raw = np.asarray(
            np.memmap(folder / ROWS, "<u4", "r", shape=(2 * manifest.rows + facts["items"] + 1,))
        )
        codes, order, starts = np.split(raw, [manifest.rows, 2 * manifest.rows])
        postings = Postings(order, starts)
    return VectorIndex(spec, manifest.rows, vectors, codes, postings, accelerator, owner)


def open_entity_index(folder: Path) -> EntityIndex:
    """Check and map one version of the index of hosts. Raises as `open_index`."""
    vectors = open_index(folder)
    return EntityIndex(map_hosts(folder), vectors)


def flat_vectors(path: Path, items: int, dim: int) -> tuple[NDArray[np.float32], object]:
    """The vectors of a flat faiss file as float32 (items, dim), mapped, and the object that owns the mapping.

    Raises:
        AppiaError: the file holds another number of vectors or other dimensions.
    """
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if (index.ntotal, index.d) != (items, dim):
        raise AppiaError(f"{path} has {index.ntotal} x {index.d} numbers and should have {items} x {dim}")
    if not items:
        return np.empty((0, dim), np.float32), index
    stored: Any = index  # faiss types what it reads as the base class
    return faiss.rev_swig_ptr(stored.get_xb(), items * dim).reshape(items, dim), index


class SealedReader:
    """One generation of a day, opened once. Views may be used by any thread."""

    def __init__(self, day: str, names: GenerationNames) -> None:
        """Check and map the chunk.

        Raises:
            AppiaError: the chunk cannot be used.
        """
        self.day = day
        self.names = names
        self.chunk = open_chunk(names.chunk)
        self._events = SegmentEvents(names.chunk / METADATA, self.chunk.log.event, sealed=True)
        self._versions: dict[str, int] = {}
        self._indices: dict[str, VectorIndex] = {}
        self._hosts: EntityIndex | None = None
        self._missing: dict[str, str] = {}
        self._view: SegmentView | None = None

    @property
    def through_segment(self) -> int:
        """The last open segment whose events are in this generation."""
        return int(self.chunk.manifest.facts["through_segment"])

    def view(self) -> SegmentView:
        """The generation with the indices that are published now; the same object while that stays so."""
        changed = self._view is None
        for name in INDICES:
            changed |= self._follow(name)
        if changed or self._view is None:
            self._view = self._make_view()
        return self._view

    def _follow(self, name: str) -> bool:
        """Open the index version that CURRENT names, unless it is open already; True when something changed."""
        try:
            version = read_pointer(self.names.index_current(name))
            if version is None:
                fault = "not built yet"
            elif self._versions.get(name) == version:
                return False
            else:
                self._versions[name] = version
                self._open(name, self.names.index_version(name, version))
                self._missing.pop(name, None)
                return True
        except AppiaError as error:
            fault = str(error)
        changed = self._missing.get(name) != fault
        self._missing[name] = fault
        return changed

    def _open(self, name: str, folder: Path) -> None:
        if name == ENTITY:
            self._hosts = open_entity_index(folder)
        else:
            self._indices[name] = open_index(folder)

    def _make_view(self) -> SegmentView:
        return SegmentView(
            day=self.day,
            name=f"sealed-{self.names.folder.name}",
            sealed=True,
            generation=self.names.number,
            rows=self.chunk.rows,
            columns=self.chunk.columns,
            addresses=self.chunk.addresses,
            texts=self.chunk.texts,
            indices=dict(self._indices),
            events=self._events,
            hosts=self._hosts,
            missing=dict(self._missing),
        )

    def close(self) -> None:
        """Close the files; views given before may no longer fetch events."""
        self._events.close()
        self.chunk.log.close()
