"""Where models are when nobody says where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="DIR",
        envvar="APPIA_MODELS",
        help="Model store, shared by all state directories of this user.",
        show_default="appia/models below $XDG_DATA_HOME, or below ~/.local/share",
    ),
]


def model_store_folder(given: Path | None, environment: Mapping[str, str]) -> Path:
    """Where the models are: the folder that was given, or one in the user's data directory.

    The default is that of the XDG Base Directory Specification, in which a relative path counts as unset.
    """
    if given is not None:
        return given
    data = Path(environment.get("XDG_DATA_HOME", ""))
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "appia" / "models"
