"""Pulls models: folders that never change and are named by their SHA-256, and then which of them are in use."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from services.common.embedding.inspection import refuse_unsafe_model
from services.common.embedding.manifest import MANIFEST_FILE, MODEL_FILE, parse_manifest
from services.common.embedding.store import ACTIVE
from services.mirror.source import BadSource, Gone, Range, read_small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.embedding.manifest import Manifest
    from services.mirror.source import Source

MOST_MODEL = 4 << 30
"""Bytes of one file of a model: a model's manifest does not say how long its files are."""
_MOST_MANIFEST = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def pull_models(source: Source, disk: Disk, local: StateNames, remote: StateNames) -> Iterator[None]:
    """Pull every model of the source that is not here, and follow which are active. Yields after each piece.

    Where the store here is a link, its models are somebody else's, and nothing happens.

    Raises:
        BadSource: a model is not what its name says; nothing of it is used.
        AppiaError, OSError: the source cannot be read, or a file not be written.
    """
    if local.models.is_symlink():
        return
    for name in _names(source, remote.models, _NAME):
        home = local.models / name
        for sha256 in _names(source, remote.models / name, _SHA256):
            if not (home / sha256).exists():
                disk.make_folder(home)
                yield from _pull_model(source, disk, remote.models / name / sha256, home / sha256)
        _follow_active(source, disk, remote.models / name / ACTIVE, home)
        yield


def _names(source: Source, folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        return sorted(
            name for name, size in source.sizes(folder).items() if size < 0 and pattern.fullmatch(name)
        )
    except Gone:
        return []


def _pull_model(source: Source, disk: Disk, remote: Path, final: Path) -> Iterator[None]:
    data = read_small(source, remote / MANIFEST_FILE, _MOST_MANIFEST)
    manifest = parse_manifest(data, str(remote / MANIFEST_FILE))
    if (manifest.name, manifest.sha256) != (final.parent.name, final.name):
        raise BadSource(f"The model in {remote} of the source is another one than its place says.")
    staged = final.with_name(f".staging-{final.name[:12]}")
    disk.make_folder(staged)
    for name, sha256 in manifest.files.items():
        yield from _pull_file(source, disk, remote / name, (staged / name, sha256))
    _refuse_unsafe(disk, staged, manifest)
    disk.put(staged / MANIFEST_FILE, data)
    disk.publish(staged, final)


def _pull_file(source: Source, disk: Disk, remote: Path, wanted: tuple[Path, str]) -> Iterator[None]:
    local, sha256 = wanted
    with disk.append_to(local) as file:
        while data := source.read(Range(remote, file.size, source.piece)):
            if file.size + len(data) > MOST_MODEL:
                raise BadSource(f"{remote} of the source is longer than {MOST_MODEL} bytes.")
            file.write(data)
            yield
    with local.open("rb") as written:
        found = hashlib.file_digest(written, "sha256").hexdigest()
    if found != sha256:
        disk.remove(local)
        raise BadSource(
            f"{remote} of the source does not have the SHA-256 that its manifest says: it is not used."
        )


def _refuse_unsafe(disk: Disk, staged: Path, manifest: Manifest) -> None:
    """Let go of a model that could reach outside itself; raises `AppiaError` for one."""
    place = staged / MODEL_FILE
    try:
        refuse_unsafe_model(place.read_bytes(), str(place))
    except BaseException:
        disk.remove(staged)
        raise
    for path in staged.iterdir():
        if path.name not in manifest.files:
            disk.remove(path)


def _follow_active(source: Source, disk: Disk, remote: Path, home: Path) -> None:
    try:
        active = read_small(source, remote, 100)
    except Gone:
        return
    sha256 = active.decode("ascii", "replace").strip()
    if not _SHA256.fullmatch(sha256) or not (home / sha256).exists():
        raise BadSource(f"{remote} of the source names no model that there is.")
    pointer = home / ACTIVE
    if not pointer.exists() or pointer.read_bytes() != active:
        disk.write_file(pointer, active)
