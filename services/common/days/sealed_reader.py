"""Reads a sealed generation: every file is checked against its manifest, then mapped. Nothing here ever changes."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from services.common.chain.state import CHUNK, part_name
from services.common.days.checked import check_files, damage_in
from services.common.days.chunk import EVENTS, METADATA, open_chunk
from services.common.days.entity_index import EntityIndex, map_hosts
from services.common.days.leases import hold_folder
from services.common.days.manifest import MANIFEST, manifest_bytes, parse_manifest, read_manifest
from services.common.days.names import ENTITY, INDICES, read_pointer
from services.common.days.opening import PLAIN
from services.common.days.store import SegmentEvents
from services.common.days.trial import NO_TRIALS
from services.common.days.vector_files import map_vectors
from services.common.days.view import SegmentView
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from services.common.days.manifest import Manifest
    from services.common.days.names import GenerationNames
    from services.common.days.opening import Opening
    from services.common.days.trial import Trials
    from services.common.days.vectors import VectorIndex


NOT_BUILT = "not built yet"
"""Why an index is not there that never was."""


def open_index(folder: Path, trials: Trials = NO_TRIALS, manifest: Manifest | None = None) -> VectorIndex:
    """Check, try and map one version of an index; by the manifest there where none is given. Nothing is copied.

    Raises:
        AppiaError: a file is missing or was changed, or does not hold what it should.
    """
    with check_files(folder, manifest or read_manifest(folder)) as files, damage_in(folder):
        trials.check(files)
        return map_vectors(files)


def open_entity_index(
    folder: Path, trials: Trials = NO_TRIALS, manifest: Manifest | None = None
) -> EntityIndex:
    """Check, try and map one version of the index of hosts. As `open_index`."""
    with check_files(folder, manifest or read_manifest(folder)) as files, damage_in(folder):
        trials.check(files)
        return EntityIndex(map_hosts(files), map_vectors(files))


class SealedReader:
    """One generation of a day, opened once. Views may be used by any thread."""

    def __init__(
        self,
        day: str,
        names: GenerationNames,
        versions: Mapping[str, int] | None = None,
        opening: Opening = PLAIN,
    ) -> None:
        """Check and map the chunk.

        Args:
            day: which the generation is of.
            names: of the generation.
            versions: of each index the one to show, and no other index; by default those that are published.
            opening: what has to agree before anything is mapped.

        Raises:
            AppiaError: the chunk cannot be used.
        """
        self.day = day
        self.names = names
        self._opening = opening
        with ExitStack() as opened:
            # What is read by name later on goes only when this folder is let go of.
            opened.callback(os.close, hold_folder(names.folder))
            manifest, digest = self._vouched(CHUNK)
            self._digests: dict[str, str] = {"": digest}
            self.chunk = open_chunk(names.chunk, opening.keys, manifest)
            opened.callback(self.chunk.log.close)
            # Not mapped: what is there now was not changed since it was sealed.
            check_files(names.chunk, self.chunk.manifest, (EVENTS, METADATA)).close()
            self._events = SegmentEvents(names.chunk / METADATA, self.chunk.log.event, sealed=True)
            opened.callback(self._events.close)
            self._opened = opened.pop_all()
        self._wanted = versions
        self._versions: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._indices: dict[str, VectorIndex] = {}
        self._hosts: EntityIndex | None = None
        self._missing: dict[str, str] = {}
        self._view: SegmentView | None = None

    @property
    def through_segment(self) -> int:
        """The last open segment whose events are in this generation."""
        return int(self.chunk.manifest.facts["through_segment"])

    def view(self) -> SegmentView:
        """The generation with the indices to show; the same object while those that are published stay so.

        Blocks while an index is opened that was not before; one that could not be is tried again each time.
        """
        changed = self._view is None
        for name in INDICES:
            changed |= self._follow(name)
        if changed or self._view is None:
            self._view = self._make_view()
        return self._view

    def _follow(self, name: str) -> bool:
        """Open the index version to show, unless it is open already; True when something changed."""
        try:
            version = self._version(name)
            if version is None:
                fault = NOT_BUILT
            elif self._versions.get(name) == version:
                return False
            else:
                self._open(name, version)
                self._versions[name] = version
                self._missing.pop(name, None)
                return True
        except AppiaError as error:
            fault = str(error)
        changed = self._missing.get(name) != fault
        self._missing[name] = fault
        return changed

    def _version(self, name: str) -> int | None:
        if self._wanted is None:
            return read_pointer(self.names.index_current(name))
        return self._wanted.get(name)

    def _open(self, name: str, version: int) -> None:
        folder = self.names.index_version(name, version)
        manifest, digest = self._vouched(part_name(name, version))
        if name == ENTITY:
            self._hosts = open_entity_index(folder, self._opening.trials, manifest)
        else:
            self._indices[name] = open_index(folder, self._opening.trials, manifest)
        self._shown[name] = version
        self._digests[name] = digest

    def _vouched(self, part: str) -> tuple[Manifest, str]:
        """The manifest of a part that may be opened, and its SHA-256. It is read once, so it is the one vouched for."""
        folder = self.names.folder / part
        data = manifest_bytes(folder)
        digest = hashlib.sha256(data).hexdigest()
        self._opening.vouching.check(self.day, self.names.number, part, digest)
        return parse_manifest(data, folder / MANIFEST), digest

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
            missing={**_left_out(self._indices), **self._missing},
            versions={name: self._shown[name] for name in INDICES if name in self._shown},
            damaged=frozenset(name for name, fault in self._missing.items() if fault != NOT_BUILT),
            identity=self._identity(),
        )

    def _identity(self) -> str:
        """Of the manifests, which have the SHA-256 of all else."""
        digests = "".join(f"{name} {digest}\n" for name, digest in sorted(self._digests.items()))
        return hashlib.sha256(digests.encode()).hexdigest()

    def close(self) -> None:
        """Close the files; views given before may no longer fetch events."""
        self._opened.close()


def _left_out(indices: Mapping[str, VectorIndex]) -> dict[str, str]:
    """What is to be said of each index that sampling left rows out of."""
    return {
        name: f"{index.rows - index.left_out} of {index.rows} rows: benign events are sampled"
        for name, index in indices.items()
        if index.left_out
    }
