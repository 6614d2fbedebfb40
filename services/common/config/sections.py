"""Keys and values of the sections: read from words, held against their types, and laid over what files say."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from services.common.config.tree import SECTIONS, Live, Value
from services.common.errors import UsageError
from services.common.settings import environment_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.common.settings import ServiceSettings

_LONGEST_SHOWN = 60

L = TypeVar("L", bound=Live)


@dataclass(frozen=True)
class Base(Generic[L]):
    """What a service was started with, below the live values.

    Attributes:
        section: Its name.
        schema: Its class.
        values: What environment, file and defaults say together.
        pinned: Keys that the environment says: they win over live values.
    """

    section: str
    schema: type[L]
    values: L
    pinned: frozenset[str] = frozenset()

    def under(self, overrides: Mapping[str, Value]) -> L:
        """The section with live values on top, but for what is pinned.

        Raises:
            UsageError: a key or value is not allowed; the sentence says which.
        """
        below = {key: getattr(self.values, key) for key in self.schema.model_fields}
        free = {key: value for key, value in overrides.items() if key not in self.pinned}
        return checked(self.section, self.schema, {**below, **free})


def base_of(section: str, schema: type[L], settings: ServiceSettings) -> Base[L]:
    """The base that a service's settings are; `settings` inherit from `schema`. Reads the environment."""
    pinned = environment_keys(type(settings), os.environ) & set(schema.model_fields)
    values = schema.model_validate({key: getattr(settings, key) for key in schema.model_fields})
    return Base(section, schema, values, frozenset(pinned))


def checked(section: str, schema: type[L], values: Mapping[str, Any]) -> L:
    """A section of these values; text is read as the key's type.

    Raises:
        UsageError: a key or value is not allowed; the sentence says which and what is allowed.
    """
    for key in values:
        if key not in schema.model_fields:
            raise UsageError(_unknown(f"{section}.{key}"))
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(_sentence(section, schema, error)) from None


def split_key(name: str) -> tuple[str, str]:
    """Section and key of `SECTION.KEY`.

    Raises:
        UsageError: there is no such key.
    """
    section, _, key = name.partition(".")
    if section not in SECTIONS or key not in SECTIONS[section].model_fields:
        raise UsageError(_unknown(name))
    return section, key


def known_keys() -> list[str]:
    """Every `SECTION.KEY` there is, in the order in which they are shown."""
    return [f"{section}.{key}" for section, schema in SECTIONS.items() for key in schema.model_fields]


def parse_words(words: Sequence[str]) -> dict[str, str]:
    """The keys and texts of words like `rag.weight_attack=2`.

    Raises:
        UsageError: a word is none of these, its key is unknown, or comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word[:_LONGEST_SHOWN]!r} is not KEY=VALUE, for example rag.weight_attack=2.")
        split_key(name)
        if name in found:
            raise UsageError(f"{name} is given twice: which one is meant?")
        found[name] = text
    return found


def typed(now: Mapping[str, Value], wanted: Mapping[str, Value | None]) -> dict[str, Value | None]:
    """What is wanted as the types of its keys, held against the bounds together with all other live values.

    Args:
        now: live values by `SECTION.KEY`.
        wanted: values by `SECTION.KEY`, as text or typed; None takes a live value away.

    Raises:
        UsageError: a value is not allowed.
    """
    result: dict[str, Value | None] = {}
    for section in dict.fromkeys(split_key(name)[0] for name in wanted):
        prefix = f"{section}."
        mine = {name: value for name, value in wanted.items() if name.startswith(prefix)}
        after = {**{name: value for name, value in now.items() if name.startswith(prefix)}, **mine}
        schema = SECTIONS[section]
        held = checked(
            section,
            schema,
            {n.removeprefix(prefix): value for n, value in after.items() if value is not None},
        )
        for name, value in mine.items():
            result[name] = None if value is None else getattr(held, name.removeprefix(prefix))
    return result


def shown(value: object) -> str:
    """A value as it is written in `config set`."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if _is_round(value) else str(value)


def _is_round(value: object) -> bool:
    return isinstance(value, float) and float(f"{value:g}") == value


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, known_keys(), 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`appia config get` lists those that there are."
    return f"There is no key {name[:_LONGEST_SHOWN]!r} in the configuration: {hint}"


def _sentence(section: str, schema: type[Live], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    reason = f"{reason[:1].lower()}{reason[1:]}"
    if not first["loc"]:
        return f"The section {section} does not fit together: {reason}."
    key = str(first["loc"][0])
    value = repr(first["input"])[:_LONGEST_SHOWN]
    return f"{section}.{key} cannot be {value}, {reason}; it is: {schema.model_fields[key].description}."
