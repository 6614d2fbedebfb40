"""From a trained model to a stored one: the manifest, and the store that publishes it whole."""

from __future__ import annotations

import datetime as dt
from importlib import metadata
from typing import TYPE_CHECKING

from services.common.embedding.manifest import MANIFEST_FILE, MadeBy, Manifest
from services.common.embedding.store import sha256_of

if TYPE_CHECKING:
    from services.common.embedding.store import ModelStore
    from services.training.port import TrainedModel

FIGURES = 6
_LIBRARIES = ("numpy", "torch", "onnx", "onnxruntime")


def made_by(script: str, arguments: tuple[str, ...] = ()) -> MadeBy:
    """Who made a model: the script or command, and the libraries that matter as far as they are installed."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return MadeBy(script=script, arguments=arguments, libraries=versions)


def manifest_of(
    trained: TrainedModel, maker: MadeBy, created: dt.datetime, *, inputs_digest: str = "", licence: str
) -> Manifest:
    """The manifest of a trained model.

    `inputs_digest` is empty for a model of a user's own days: no file of the project makes it again.
    """
    return Manifest(
        format=1,
        name=trained.name,
        version=trained.version,
        files={name: sha256_of(data) for name, data in trained.files.items()},
        input=trained.input,
        dim=trained.dim,
        metric=trained.metric,
        licence=licence,
        training_data=trained.training_data,
        measured={name: float(f"{value:.{FIGURES}g}") for name, value in trained.measured.items()},
        rows_at_once=trained.rows_at_once,
        made_by=maker,
        inputs_digest=inputs_digest,
        created=created.astimezone(dt.UTC).isoformat(timespec="seconds"),
    )


def install(store: ModelStore, manifest: Manifest, files: dict[str, bytes]) -> str:
    """Publish a model in `store` and make it the active one; return its model id.

    Waits while another process installs a model of this name. Raises AppiaError if it is not whole.
    """
    with store.stage(manifest.name) as staged:
        for name, data in files.items():
            store.disk.put(staged / name, data)
        store.disk.put(staged / MANIFEST_FILE, manifest.to_json())
        store.install(staged)
    return manifest.model_id
