"""What the build scripts share: their command line, the manifest, and publishing into the model store."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.embedding.manifest import InputSchema, MadeBy, Manifest
from services.common.embedding.model_inputs import inputs_digest, script_of
from services.common.embedding.store import ModelStore, sha256_of
from services.common.errors import AppiaError
from services.training.installing import install

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.embedding.port import Metric
    from services.training.port import TrainedModel

PROJECT = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Recipe:
    """What a script knows of its model before it has made it."""

    name: str
    version: str
    input: InputSchema
    dim: int
    metric: Metric
    licence: str
    training_data: str


@dataclass(frozen=True)
class Made:
    """What a script made: the files by name, and the figures measured."""

    recipe: Recipe
    files: dict[str, bytes]
    measured: dict[str, float]
    arguments: tuple[str, ...] = field(default=())
    libraries: tuple[str, ...] = field(default=_LIBRARIES)


def made_of(trained: TrainedModel, arguments: tuple[str, ...]) -> Made:
    """What a script made through a trainer of the project."""
    recipe = Recipe(
        name=trained.name,
        version=trained.version,
        input=trained.input,
        dim=trained.dim,
        metric=trained.metric,
        licence="Apache-2.0 (made by this project)",
        training_data=trained.training_data,
    )
    return Made(recipe, trained.files, trained.measured, arguments, (*_LIBRARIES, "torch"))


def progress(name: str, text: str) -> None:
    """One line of progress, at once."""
    print(f"{name}: {text}", flush=True)


def manifest_of(made: Made) -> Manifest:
    """The manifest of what a script made, just now."""
    recipe = made.recipe
    return Manifest(
        format=1,
        name=recipe.name,
        version=recipe.version,
        files={name: sha256_of(data) for name, data in made.files.items()},
        input=recipe.input,
        dim=recipe.dim,
        metric=recipe.metric,
        licence=recipe.licence,
        training_data=recipe.training_data,
        measured={name: float(f"{value:.6g}") for name, value in made.measured.items()},
        made_by=MadeBy(
            script=script_of(recipe.name),
            arguments=made.arguments,
            libraries={library: metadata.version(library) for library in made.libraries},
        ),
        inputs_digest=inputs_digest(PROJECT, recipe.name),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )


def publish(store: ModelStore, made: Made) -> Manifest:
    """Write the files and their manifest into `store` and make the model the active one."""
    manifest = manifest_of(made)
    install(store, manifest, made.files)
    progress(manifest.name, f"{manifest.model_id} is ready in {store.root}")
    return manifest


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options every script has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--store", type=Path, required=True, help="the model store to publish into")
    return options


def run(make: Callable[[Any], Made], options: argparse.ArgumentParser) -> None:
    """Make and publish; an error the operator can act on becomes one sentence and exit status 1."""
    chosen = options.parse_args()
    try:
        publish(ModelStore(chosen.store), make(chosen))
    except AppiaError as error:
        sys.exit(str(error))
