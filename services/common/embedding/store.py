"""The model store: models on disk, named by their sha256, published whole or not at all.

    <root>/<name>/<sha256>/manifest.json, model.onnx, tokenizer.json ...   published whole
    <root>/<name>/ACTIVE                                                  the sha256 in use, and a newline
    <root>/<name>/.staging/, .lock                                        a model being made

The lock is held by the system for the maker's process, so a maker that is killed leaves only a staging
folder, which the next one clears.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.durable import REAL, Disk
from services.common.embedding.inspection import refuse_unsafe_model
from services.common.embedding.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, parse_manifest
from services.common.errors import AppiaError
from services.common.locks import locked_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACTIVE = "ACTIVE"
_LOCK = ".lock"
_STAGING = ".staging"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODEL_ID = re.compile(r"([a-z][a-z0-9-]{0,40})@([0-9a-f]{12})")


@dataclass(frozen=True)
class LoadedModel:
    """A model whose every byte was checked: its manifest and the contents of the files it names."""

    manifest: Manifest
    files: dict[str, bytes]


@dataclass(frozen=True)
class StoredModel:
    """One line of the list: what is stored, and whether it is the one in use."""

    name: str
    sha256: str
    active: bool
    manifest: Manifest


class ModelStore:
    """The models below `root`. Reading needs no lock; two makers of one model wait for each other."""

    def __init__(self, root: Path, disk: Disk = REAL) -> None:
        self.root = root
        self.disk = disk

    def active(self, name: str) -> str:
        """The sha256 of the model in use. Raises AppiaError where there is none."""
        pointer = self.root / name / ACTIVE
        try:
            sha256 = pointer.read_text("ascii").strip()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise AppiaError(
                f"No {name} model is in {self.root}; build the models with `appia models build` "
                "or copy a models folder there."
            ) from error
        except UnicodeDecodeError:
            sha256 = ""
        if not _SHA256.fullmatch(sha256):
            raise AppiaError(f"{pointer} does not hold a sha256; build the models again.")
        return sha256

    def find(self, model_id: str) -> tuple[str, str]:
        """The name and the sha256 of a stored model by its id, `name@` and the first 12 digits.

        Raises:
            AppiaError: it is not in the store.
        """
        match = _MODEL_ID.fullmatch(model_id)
        found = [] if match is None else sorted((self.root / match[1]).glob(f"{match[2]}*"))
        whole = [folder.name for folder in found if _SHA256.fullmatch(folder.name)]
        if match is None or not whole:
            raise AppiaError(f"The model {model_id} is not in {self.root}; copy its folder there.")
        return match[1], whole[0]

    def use(self, model_id: str) -> Manifest:
        """Make a stored model the active one of its name, after checking it as `load` does.

        Raises:
            AppiaError: it is not in the store, or is damaged.
        """
        name, sha256 = self.find(model_id)
        manifest = self.verify(name, sha256)
        self._point(self.root / name, sha256)
        return manifest

    def load(self, name: str, sha256: str | None = None) -> LoadedModel:
        """Read a model (the active one by default), checking each file against the manifest.

        The bytes returned are those that were hashed; nothing is read again afterwards.

        Raises:
            AppiaError: a file is missing, differs from its sha256, or is an ONNX model that could reach
                outside itself.
        """
        folder = self.root / name / (sha256 or self.active(name))
        manifest = _read_manifest(folder)
        if (manifest.name, manifest.sha256) != (name, folder.name):
            raise AppiaError(
                f"The model in {folder} is another one than its place says ({manifest.model_id}); "
                "it is not used: build the models again."
            )
        return LoadedModel(manifest, _read_files(folder, manifest))

    def verify(self, name: str, sha256: str) -> Manifest:
        """Check one stored model as `load` does, and return its manifest."""
        return self.load(name, sha256).manifest

    def models(self) -> list[StoredModel]:
        """All stored models, by name and sha256. Reads manifests only; raises AppiaError on a bad one."""
        found = []
        for folder in sorted(self.root.glob("*/*")):
            if not _SHA256.fullmatch(folder.name):
                continue
            name = folder.parent.name
            pointer = folder.parent / ACTIVE
            active = pointer.exists() and pointer.read_text("ascii").strip() == folder.name
            found.append(StoredModel(name, folder.name, active, _read_manifest(folder)))
        return found

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        """An empty folder to make a model in, for `install`. Waits while another process makes the same."""
        home = self.root / name
        self.disk.make_folder(home)
        staging = home / _STAGING
        with locked_file(self.disk, home / _LOCK):
            self.disk.remove(staging)
            self.disk.make_folder(staging)
            try:
                yield staging
            finally:
                self.disk.remove(staging)

    def install(self, staged: Path) -> str:
        """Publish the model in `staged` (from `stage`) and make it the active one; return its sha256.

        Its files are synced before the rename that publishes it. If the same model is already there and whole,
        only its manifest is replaced (it may tell of another making); a damaged one is replaced altogether.
        Raises AppiaError if the staged model is not whole.
        """
        manifest = _read_manifest(staged)
        _read_files(staged, manifest)
        home = self.root / manifest.name
        target = home / manifest.sha256
        if self._is_whole(manifest):
            self.disk.sync_file(staged / MANIFEST_FILE)
            self.disk.calls.chmod(staged / MANIFEST_FILE, Disk.SEALED_MODE)
            self.disk.rename(staged / MANIFEST_FILE, target / MANIFEST_FILE)
        else:
            self.disk.remove(target)
            self.disk.publish(staged, target)
        self._point(home, manifest.sha256)
        return manifest.sha256

    def _is_whole(self, manifest: Manifest) -> bool:
        try:
            self.verify(manifest.name, manifest.sha256)
        except AppiaError:
            return False
        return True

    def _point(self, home: Path, sha256: str) -> None:
        self.disk.write_file(home / ACTIVE, f"{sha256}\n".encode("ascii"))


def copy_active(source: ModelStore, target: ModelStore, names: tuple[str, ...]) -> list[str]:
    """Copy the active models `names` from one store to another and make them active there.

    The copy is a real one, so that damage to one store never reaches the other. A model that is already
    active and whole in `target` is left alone. Returns the model ids now active.

    Raises:
        AppiaError: `source` lacks one of them or holds a damaged one.
    """
    ids = []
    for name in names:
        loaded = source.load(name)
        ids.append(loaded.manifest.model_id)
        with target.stage(name) as staged:
            for file, data in loaded.files.items():
                target.disk.put(staged / file, data)
            target.disk.put(staged / MANIFEST_FILE, loaded.manifest.to_json())
            target.install(staged)
    return ids


def sha256_of(data: bytes) -> str:
    """The sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    try:
        data = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise AppiaError(
            f"The model in {folder} has no readable {MANIFEST_FILE} ({error.strerror}); "
            "build the models again."
        ) from error
    return parse_manifest(data, str(folder / MANIFEST_FILE))


def _read_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    files = {}
    for name, expected in manifest.files.items():
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise AppiaError(
                f"The model file {folder / name} cannot be read ({error.strerror}); build the models again."
            ) from error
        found = sha256_of(data)
        if found != expected:
            raise AppiaError(
                f"The model file {folder / name} is damaged: its sha256 is {found[:12]}..., the manifest "
                f"says {expected[:12]}...; it is not used: build the models again."
            )
        files[name] = data
    refuse_unsafe_model(files[MODEL_FILE], str(folder / MODEL_FILE))
    return files
