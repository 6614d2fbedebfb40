"""Options that several commands share, and how a command takes a whole group of them as one dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        envvar="APPIA_STATE",
        help="State directory: everything the system knows. Without it the environment variable is used.",
        show_default="none",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document for programs instead of text. Default: off.")
]


def required_state(state: Path | None) -> Path:
    """The state directory that was given.

    Raises:
        UsageError: none was given.
    """
    if state is None:
        raise UsageError("which state directory? Give --state DIR, or set APPIA_STATE")
    return state


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take frozen dataclasses of options: each of their fields becomes an option of its own.

    The fields are declared as parameters of a command are: `name: Annotated[type, typer.Option(...)] = default`.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            groups[name] = hints[name]
            parameters += _parameters_of(hints[name])
        else:
            own = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            parameters.append(own)

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # inspect reads it
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _parameters_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]
