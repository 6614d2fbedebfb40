"""Pulls files that never change: in pieces, going on where it was broken off, and checked before anybody sees them.

Each function is a generator that yields after every piece, so that who drives it can look at open days in between.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.manifest import MANIFEST, parse_manifest
from services.mirror.source import BadSource, Range, read_small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.days.manifest import Manifest
    from services.common.durable import Disk
    from services.mirror.source import Source

MOST_MANIFEST = 4 << 20
_PIECE = 4 << 20  # bytes that are hashed between two yields
_SYNCED = 16 << 20
"""Bytes between two syncs. Publishing syncs everything: gigabytes at once would hold up the open day for minutes."""


@dataclass(frozen=True)
class Wanted:
    """A file to pull: where it lies at the source and comes to lie here, its SHA-256 (hex), and its bytes."""

    remote: Path
    local: Path
    sha256: str
    size: int


def pull_file(source: Source, disk: Disk, wanted: Wanted) -> Iterator[None]:
    """Pull one file into a folder that is not published. Never more bytes than are wanted.

    Raises:
        BadSource: it ends before, or has another SHA-256; nothing is left of it then.
        AppiaError, OSError: as `Source.read`, or it cannot be written; what is here stays, to go on from.
    """
    if wanted.local.exists() and wanted.local.stat().st_size > wanted.size:
        disk.remove(wanted.local)
    unsynced = 0
    with disk.append_to(wanted.local) as file:
        while file.size < wanted.size:
            data = source.read(Range(wanted.remote, file.size, min(source.piece, wanted.size - file.size)))
            if not data:
                raise BadSource(
                    f"{wanted.remote} of the source has {file.size} bytes and should have {wanted.size}."
                )
            file.write(data)
            unsynced += len(data)
            if unsynced >= _SYNCED:
                file.sync()
                unsynced = 0
            yield
    digest = hashlib.sha256()
    with wanted.local.open("rb") as written:
        while data := written.read(_PIECE):
            digest.update(data)
            yield
    if digest.hexdigest() != wanted.sha256:
        disk.remove(wanted.local)
        raise BadSource(
            f"{wanted.remote} of the source does not have the SHA-256 that its manifest says: it is not used."
        )


@dataclass(frozen=True)
class Described:
    """A sealed folder of the source: its manifest as it was read and as it is understood."""

    folder: Path
    data: bytes
    manifest: Manifest

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the manifest."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def bytes(self) -> int:
        """Of all files of the folder."""
        return len(self.data) + sum(artifact.bytes for artifact in self.manifest.artifacts.values())


def describe(source: Source, folder: Path) -> Described:
    """Read the manifest of a sealed folder.

    Raises:
        BadSource: it is none that this release knows.
        AppiaError: as `Source.read`.
    """
    data = read_small(source, folder / MANIFEST, MOST_MANIFEST)
    return Described(folder, data, parse_manifest(data, folder / MANIFEST))


def pull_folder(source: Source, disk: Disk, described: Described, local: Path) -> Iterator[None]:
    """Pull a sealed folder into `local`, which is not published. Begun anew where what is there is of another manifest.

    Raises as `pull_file`.
    """
    manifest = local / MANIFEST
    if local.exists() and (not manifest.exists() or manifest.read_bytes() != described.data):
        disk.remove(local)
    disk.make_folder(local)
    disk.put(manifest, described.data)
    for name, artifact in described.manifest.artifacts.items():
        wanted = Wanted(described.folder / name, local / name, artifact.sha256, artifact.bytes)
        yield from pull_file(source, disk, wanted)
