"""Settings of a service: read once from a TOML file and the environment, checked, and passed on frozen."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from services.common.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails
    from pydantic_settings import PydanticBaseSettingsSource

TAKEN: Final = "taken"
AT_ONCE: Final = "at once"
AT_START: Final = "at the next start"
"""Where a field of a model says when a change of its key is taken up, and what it may say there."""

_LONGEST_SHOWN = 60

Loaded = TypeVar("Loaded", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """Base of every service's settings; a field's description says what is allowed.

    A subclass sets `model_config = service_config("<service>")`. The environment wins over the file.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then what the file says."""
        return env_settings, init_settings


def add_check(parser: ArgumentParser) -> None:
    """Give a service the option `--check`; `services/common/preflight.py` is what it does."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="read the settings and the keys that they name, say what is wrong or `ok`, and end (status 0 or 2); "
        "nothing is opened or changed",
    )


def service_config(service: str) -> SettingsConfigDict:
    """The configuration of a service's settings: frozen, no unknown keys, its environment prefix."""
    return SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=f"APPIA_{service.upper()}_", validate_default=True
    )


def load_settings(cls: type[Loaded], path: Path | None) -> Loaded:
    """Read settings from the TOML file at `path` (None: no file) and the environment.

    Raises:
        UsageError: the file cannot be read, or a key or value is not allowed; the sentence names both.
    """
    values = {} if path is None else _read_toml(path)
    where = "the settings" if path is None else str(path)
    _refuse_unknown(cls, values, where)
    _refuse_unknown_environment(cls)
    try:
        return cls(**values)
    except ValidationError as error:
        raise UsageError(_sentence(cls, error.errors()[0], where)) from None
    except SettingsError as error:
        raise UsageError(f"The environment holds a setting that cannot be read: {error}.") from None


def environment_keys(cls: type[ServiceSettings], environment: Mapping[str, str]) -> set[str]:
    """The settings of a service that the environment says, which wins over everything else."""
    prefix = _prefix(cls)
    return {name[len(prefix) :].lower() for name in environment if name.upper().startswith(prefix)}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"The settings file {path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UsageError(f"The settings file {path} is not TOML: {error}.") from None


def _refuse_unknown(cls: type[ServiceSettings], values: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(values) - set(cls.model_fields))
    if unknown:
        known = ", ".join(sorted(cls.model_fields))
        raise UsageError(f"{where} has the unknown setting {unknown[0]!r}; there are: {known}.")


def _refuse_unknown_environment(cls: type[ServiceSettings]) -> None:
    prefix = _prefix(cls)
    for name in sorted(os.environ):
        if name.upper().startswith(prefix) and name[len(prefix) :].lower() not in cls.model_fields:
            known = ", ".join(sorted(cls.model_fields))
            raise UsageError(
                f"The environment variable {name} names no setting; after {prefix} there are: {known}."
            )


def _sentence(cls: type[ServiceSettings], error: ErrorDetails, where: str) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    field = cls.model_fields.get(key)
    if field is None:
        return f"{where}: {error['msg']}."
    variable = f"{_prefix(cls)}{key.upper()}"
    source = f"the environment variable {variable}" if variable in os.environ else where
    if error["type"] == "missing":
        return f"{source} lacks the setting {key!r}: {field.description}."
    value = repr(error["input"])[:_LONGEST_SHOWN]
    reason = error["msg"].removeprefix("Value error, ")
    return f"{source}: the setting {key!r} is {value}, {_lower(reason)}; it should be: {field.description}."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _prefix(cls: type[ServiceSettings]) -> str:
    return cls.model_config.get("env_prefix", "")


@dataclass(frozen=True)
class SettingRow:
    """One setting as the documentation shows it."""

    name: str
    type: str
    default: str
    changes: str
    description: str


def when_taken(field: FieldInfo) -> str:
    """`AT_ONCE` or `AT_START` for a key that can change while its service runs; empty for another setting."""
    extra = field.json_schema_extra
    return str(extra.get(TAKEN, "")) if isinstance(extra, dict) else ""


def describe_settings(cls: type[BaseModel]) -> list[SettingRow]:
    """Every setting of a service: first those that are read at its start, then those that can change while it runs."""
    rows = [
        SettingRow(
            name,
            _type_name(field.annotation),
            _shown_default(field),
            when_taken(field),
            field.description or "",
        )
        for name, field in cls.model_fields.items()
    ]
    return sorted(rows, key=lambda row: row.changes != "")


def settings_table(cls: type[ServiceSettings]) -> str:
    """The settings of a service as a Markdown table; docs/settings.md holds it."""
    rows = [
        f"| `{row.name}` | {row.type} | {row.default} | {row.changes} | {row.description} |"
        for row in describe_settings(cls)
    ]
    head = ["| Setting | Type | Default | Can be changed | What it is |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])


def _shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "empty" if default == "" else f"`{default}`"


def _type_name(annotation: object) -> str:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return (
        name.replace("pathlib._local.", "").replace("pathlib.", "").replace("typing.", "").replace("|", "or")
    )
