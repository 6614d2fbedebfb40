"""`appia completion`: lets a shell complete commands, options and their values."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption  # noqa: TC001 - read when the command is made
from services.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "_APPIA_COMPLETE"
"""Set by the scripts: the command then prints completions and does nothing else."""


class Shell(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="Example: appia completion bash > ~/.local/share/bash-completion/completions/appia; "
        "for zsh into a file _appia in a folder of $fpath; for fish into ~/.config/fish/completions/appia.fish"
    )(completion)


def completion(
    *,
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Your shell. No default.")],
    as_json: JsonOption = False,
) -> None:
    """Print the script by which a shell completes what you type.

    Commands, options, and the values that they take.
    """
    # `appia --help` starts quicker without it; typer gives the script alone in no other way.
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # noqa: PLC0415

    script = get_completion_script(prog_name="appia", complete_var=VARIABLE, shell=shell.value)
    if as_json:
        print_json({"shell": shell.value, "script": script})
    else:
        sys.stdout.write(f"{script}\n")


def answer_shells(environ: Mapping[str, str]) -> None:
    """Be ready to print completions, where a script of `appia completion` asks for them."""
    if environ.get(VARIABLE):
        from typer.completion import completion_init  # type: ignore[attr-defined] # noqa: PLC0415 - as above

        completion_init()
