"""The settings files of a stack's services: what `appia up` decides, and on top what the operator's file says."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECTIONS = ("ingester", "rag", "health")


def read_overrides(path: Path | None) -> dict[str, dict[str, Any]]:
    """The tables `[ingester]`, `[rag]` and `[health]` of the operator's settings file; empty ones without a file.

    Raises:
        UsageError: the file cannot be read, or has anything else in it.
    """
    if path is None:
        return {section: {} for section in SECTIONS}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"the settings file {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UsageError(f"the settings file {path} is not TOML: {error}") from None
    for name, table in found.items():
        if name not in SECTIONS or not isinstance(table, dict):
            raise UsageError(
                f"{path} has {name!r} at its top; put settings below [ingester], [rag] or [health]"
            )
    return {section: found.get(section, {}) for section in SECTIONS}


def to_toml(values: Mapping[str, Any]) -> str:
    """Settings as a TOML file: text, numbers, booleans and lists of them.

    Raises:
        UsageError: a value is of another kind.
    """
    return "".join(f"{key} = {_toml(key, value)}\n" for key, value in values.items())


def _toml(key: str, value: object) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        # A basic string of TOML is a JSON string, but that TOML wants DEL escaped as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_toml(key, item) for item in value) + "]"
    raise UsageError(f"the setting {key!r} is of a kind that settings do not have ({type(value).__name__})")
