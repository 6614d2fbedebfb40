"""`appia models install`: models of the store into a state directory, for an ingester that runs without `appia up`."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import print_json, print_lines
from services.cli.store_folder import ModelsOption, model_store_folder

if TYPE_CHECKING:
    from services.common.days.chosen_models import ChosenModels
    from services.common.days.names import StateNames


def install(
    *,
    state: StateOption = None,
    models: ModelsOption = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Settings of the ingester, which may choose other models.",
            show_default="each index has the model of its own name",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a state directory the models that its ingester embeds with.

    The directory is made if it is missing; `appia up` does this by itself. A model in use there that the store does
    not have stays; one that is new is taken up by the ingester's next start. Run it as the user of the services.
    """
    from services.cli.stack import prepare_models  # noqa: PLC0415 - other commands start quicker without it
    from services.common.days.layout import claim_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.private_folders import UMASK  # noqa: PLC0415 - as above

    chosen = _chosen(settings)
    os.umask(UMASK)
    names = StateNames(required_state(state).expanduser().absolute())
    claim_layout(names, Disk())
    installed = prepare_models(model_store_folder(models, os.environ), names, chosen)
    _tell(names, installed, as_json=as_json)


def _chosen(settings: Path | None) -> ChosenModels:
    from services.common.days.chosen_models import ChosenModels  # noqa: PLC0415 - as above
    from services.common.settings import load_settings  # noqa: PLC0415 - as above
    from services.ingester.settings import IngesterSettings  # noqa: PLC0415 - as above

    return ChosenModels() if settings is None else load_settings(IngesterSettings, settings).models


def _tell(names: StateNames, installed: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"installed": installed, "store": str(names.models)})
    elif installed:
        print_lines(*(f"{model} is in {names.models}" for model in installed))
    else:
        print_lines(f"The models in {names.models} are those in use already.")
