"""`appia version`."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

from services.cli.options import JsonOption  # noqa: TC001 - typer reads it when a command is made

if TYPE_CHECKING:
    import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia version --json")(version)


def version(*, as_json: JsonOption = False) -> None:
    """Print the version of appia and of the Python that runs it."""
    from importlib.metadata import version as installed  # noqa: PLC0415 - other commands start quicker without it

    facts = {"appia": installed("appia"), "python": platform.python_version()}
    text = json.dumps(facts) if as_json else f"appia {facts['appia']} (Python {facts['python']})"
    print(text)  # noqa: T201 - the command's answer
