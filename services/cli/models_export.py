"""`appia models export`: models that others trained, from a folder, into the model store."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption  # noqa: TC001 - as above
from services.cli.output import print_json, print_lines, say
from services.cli.store_folder import ModelsOption, model_store_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.embedding.manifest import Manifest


class Kind(StrEnum):
    """Kinds of folders that can be exported."""

    SBERT = "sbert"
    CHRONOS = "chronos"


# The setting of the ingester that chooses a model of each kind.
SETTINGS = {Kind.SBERT: "semantic_model", Kind.CHRONOS: "temporal_model"}


@dataclass(frozen=True)
class Source:
    """What to export, and how."""

    folder: Annotated[
        Path, typer.Option("--from", metavar="FOLDER", help="Folder with the model's files. No default.")
    ]
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Name in the store.", show_default="made of the folder's"),
    ] = None
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="sbert: hold the weights in 8 bits, a quarter of the size. Default: off."
        ),
    ] = False


def export_model(
    *,
    kind: Annotated[
        Kind,
        typer.Argument(
            metavar="sbert|chronos",
            help="What the folder is of: the sentence-transformers library, or Chronos on T5. No default.",
        ),
    ],
    source: Source,
    models: ModelsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an ONNX model of a folder and store it.

    It is compared with torch before. Needs the extra train. A setting of the ingester then chooses the model:
    semantic_model or temporal_model.
    """
    from services.training.extra import require  # noqa: PLC0415 - `appia --help` starts quicker without it

    require("torch", "transformers", "onnx", "safetensors")
    manifest = _export(kind, source, model_store_folder(models, os.environ), say if as_json else print_lines)
    if as_json:
        print_json({"model": manifest.model_id, "measured": manifest.measured})
        return
    print_lines(
        *(f"{figure}: {value:.6g}" for figure, value in manifest.measured.items()),
        f'{manifest.model_id} is in the store. To use it: {SETTINGS[kind]} = "{manifest.name}" below [ingester] '
        "in a file, and `appia up --settings FILE`.",
    )


def _export(kind: Kind, source: Source, store: Path, report: Callable[[str], None]) -> Manifest:
    from services.common.embedding.store import ModelStore  # noqa: PLC0415 - as above
    from services.training.export_chronos import export_chronos  # noqa: PLC0415 - as above
    from services.training.export_sbert import export_sbert  # noqa: PLC0415 - as above
    from services.training.exporting import ExportOptions, name_for, store_export  # noqa: PLC0415 - as above

    options = ExportOptions(source.folder, name_for(source.folder, source.name), report, int8=source.int8)
    made = (export_sbert if kind is Kind.SBERT else export_chronos)(options)
    return store_export(ModelStore(store), made, options, dt.datetime.now(dt.UTC))
