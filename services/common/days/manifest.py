"""Manifests: what a sealed folder holds, with the size and SHA-256 of every file. JSON, readable without code."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.common.days.names import NO_FILE
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from services.common.durable import Disk

FORMAT, INDEX_FORMAT = 1, 2
"""The newest formats of a chunk and of an index."""
MANIFEST = "manifest.json"
THROUGH = "through_segment"
"""The fact of a chunk that names the last open segment in it."""
_MOST = 1 << 63
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Artifact:
    """Size in bytes and SHA-256 (hex) of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One sealed folder: the chunk of a day, or one index of it."""

    kind: str  # "chunk" or "index"
    day: str
    generation: int
    rows: int
    created: str  # ISO 8601, UTC
    artifacts: Mapping[str, Artifact]
    facts: Mapping[str, Any] = field(default_factory=dict)  # what only this kind has, see docs/formats.md
    format: int = FORMAT
    min_reader: int = FORMAT  # the lowest format version a reader must know

    def to_json(self) -> bytes:
        """The manifest as it lies on disk."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def digest_file(path: Path) -> Artifact:
    """Size and SHA-256 of a file. Blocks while it reads it whole."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(path.stat().st_size, digest)


def digest_folder(folder: Path) -> dict[str, Artifact]:
    """Size and SHA-256 of every file in `folder`, the manifest excepted."""
    return {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def add_artifact(folder: Path, name: str, disk: Disk) -> None:
    """Name one more file in the manifest of a folder that is not published yet. Raises as `read_manifest`."""
    manifest = read_manifest(folder)
    artifacts = {**manifest.artifacts, name: digest_file(folder / name)}
    disk.put(folder / MANIFEST, replace(manifest, artifacts=artifacts).to_json())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a sealed folder.

    Raises:
        AppiaError: it is absent, malformed or of a newer release.
    """
    return parse_manifest(manifest_bytes(folder), folder / MANIFEST)


def manifest_bytes(folder: Path) -> bytes:
    """The manifest as it lies on disk, for who has to know that what was vouched for is what is parsed.

    Raises:
        AppiaError: it is absent.
    """
    path = folder / MANIFEST
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise AppiaError(f"{path} is missing: `appia check` says what helps") from None
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        raise AppiaError(f"{path} is no file ({error.strerror}): `appia check` says what helps") from None


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """The manifest that a file holds; `path` names it in messages. Raises as `read_manifest`."""
    try:
        raw = json.loads(data)
        artifacts = {_plain_name(name): Artifact(**value) for name, value in raw.pop("artifacts").items()}
        manifest = Manifest(artifacts=artifacts, **raw)
        _check_types(manifest)
        known = INDEX_FORMAT if manifest.kind == "index" else FORMAT
        too_new = manifest.min_reader > known
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AppiaError(f"{path} is no valid manifest ({error}): `appia check` says what helps") from None
    if too_new:
        raise AppiaError(
            f"{path} needs a reader of format {manifest.min_reader}, this release knows {known}: install a newer appia"
        )
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Refuse what nobody wrote so: a number that is none, or larger than any; raises `TypeError` and `ValueError`."""
    numbers = [manifest.generation, manifest.rows, manifest.format, manifest.min_reader]
    numbers += [artifact.bytes for artifact in manifest.artifacts.values()]
    numbers.append(manifest.facts.get(THROUGH, 0))
    texts = [manifest.kind, manifest.day, manifest.created]
    texts += [artifact.sha256 for artifact in manifest.artifacts.values()]
    if not (all(type(one) is int for one in numbers) and all(isinstance(one, str) for one in texts)):
        raise TypeError("a value is of another type")
    if not all(0 <= one < _MOST for one in numbers):
        raise ValueError("a number is out of all bounds")


def _plain_name(name: str) -> str:
    """The name of a file in the folder of its manifest, never of one elsewhere."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"it names {name[:80]!r}, which is no file of its folder")
    return name


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file that a manifest names, in one sentence."""

    file: str
    sentence: str
    is_gone: bool = False


def check_artifacts(folder: Path, manifest: Manifest, names: Iterable[str] | None = None) -> list[str]:
    """What is wrong with the files that a manifest names (only `names` where given); empty when all is well."""
    return [fault.sentence for fault in faults_in(folder, manifest, names, hash_file)]


def faults_in(
    folder: Path,
    manifest: Manifest,
    names: Iterable[str] | None = None,
    digest: Callable[[Path], str] | None = None,
) -> list[Fault]:
    """The same as `check_artifacts`, by file; without `digest` (gives a SHA-256 in hex) only sizes are compared."""
    wanted = manifest.artifacts if names is None else names
    return [fault for name in wanted if (fault := _fault_of(folder / name, manifest, digest))]


def hash_file(path: Path) -> str:
    """SHA-256 (hex) of a file. Blocks while it reads it whole."""
    return digest_file(path).sha256


def _fault_of(path: Path, manifest: Manifest, digest: Callable[[Path], str] | None) -> Fault | None:
    wanted = manifest.artifacts.get(path.name)
    if wanted is None:
        return Fault(path.name, f"{path} is not named in its manifest")
    try:
        size = path.stat().st_size if path.is_file() else None
        if size == wanted.bytes and (digest is None or digest(path) == wanted.sha256):
            return None
    except FileNotFoundError:  # removed while it was looked at
        size = None
    except OSError as error:
        return Fault(path.name, f"{path} cannot be read ({error.strerror})")
    if size is None:
        return Fault(path.name, f"{path} is missing", is_gone=True)
    if size != wanted.bytes:
        return Fault(path.name, f"{path} has {size} bytes and should have {wanted.bytes}")
    return Fault(path.name, f"{path} was changed: its SHA-256 is not the one in the manifest")
