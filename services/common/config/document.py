"""The document that the live configuration is: what differs from files and defaults, and who changed it when and why.

One value named `config` (`services/common/values`), sealed as JSON:

    {"values": {SECTION: {KEY: VALUE}},
     "changes": [{"revision", "at", "who", "why", "before": {SECTION.KEY: VALUE or null}, "after": {...}}]}

The newest 200 changes are kept, fewer where they would take more than 192 KiB. Nothing here asks a clock or a disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.config.tree import Value

NAME: Final = "config"
MOST_CHANGES = 200
MOST_BYTES = 192 * 1024
MOST_WHO, MOST_WHY, MOST_TEXT = 64, 400, 256

Text = Annotated[str, Field(max_length=MOST_TEXT)]
Stored = Annotated[bool | int | float | Text, Field()]
"""A `Value` as the document holds it; JSON tells its types apart."""


class Frozen(BaseModel):
    """Base of what is kept: frozen, without fields that are not known, and numbers that JSON has."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Change(Frozen):
    """One change: the values of the keys that it changed, before and after; None where a key had no live value."""

    revision: int = Field(ge=1)
    at: str = Field(max_length=64)
    who: str = Field(max_length=MOST_WHO)
    why: str = Field(max_length=MOST_WHY)
    before: dict[str, Stored | None]
    after: dict[str, Stored | None]


class Document(Frozen):
    """The whole live configuration."""

    values: dict[str, dict[str, Stored]] = Field(default_factory=dict)
    changes: tuple[Change, ...] = Field(default=(), max_length=MOST_CHANGES)

    def of(self, section: str) -> dict[str, Value]:
        """The live values of one section by key."""
        return dict(self.values.get(section, {}))

    def flat(self) -> dict[str, Value]:
        """All live values by `SECTION.KEY`."""
        return {
            f"{section}.{key}": value for section, keys in self.values.items() for key, value in keys.items()
        }


@dataclass(frozen=True)
class Author:
    """Who makes a change, why, and when (ISO time in UTC)."""

    who: str
    why: str
    at: str

    def __post_init__(self) -> None:
        """Raises UsageError where a text is too long or cannot be printed, or nobody is named."""
        if not 0 < len(self.who) <= MOST_WHO or not self.who.isprintable():
            raise UsageError(
                f"Who changes the configuration is named by 1 to {MOST_WHO} characters, all of them printable."
            )
        if len(self.why) > MOST_WHY or not self.why.isprintable():
            raise UsageError(
                f"A note about a change has at most {MOST_WHY} characters, all of them printable."
            )


def same(one: Value | None, other: Value | None) -> bool:
    """Whether two values are the same one: `True` is not 1, and 1 is 1.0."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def changed(
    document: Document, revision: int, wanted: Mapping[str, Value | None], author: Author
) -> Document:
    """The document with other values, as its state `revision`; None takes the live value of a key away.

    Keys that have the wanted value already are no part of the change. Gives `document` itself where nothing changes.
    """
    now = document.flat()
    after = {key: value for key, value in wanted.items() if not same(now.get(key), value)}
    if not after:
        return document
    before = {key: now.get(key) for key in after}
    change = Change(
        revision=revision, at=author.at, who=author.who, why=author.why, before=before, after=after
    )
    return _bounded(_nested({**now, **after}), (*document.changes, change))


def values_at(document: Document, revision: int) -> dict[str, Value]:
    """All live values by `SECTION.KEY` as they were after the change `revision`; 0 is before the first.

    Raises:
        UsageError: there is no such revision, or the changes since are not all kept any more.
    """
    newest = document.changes[-1].revision if document.changes else 0
    if not 0 <= revision <= newest:
        raise UsageError(f"There is no revision {revision}; the newest is {newest}.")
    since = [change for change in document.changes if change.revision > revision]
    oldest = document.changes[0].revision if document.changes else 0
    if len(since) == len(document.changes) and oldest > 1 and revision < oldest - 1:
        raise UsageError(
            f"The changes back to revision {revision} are not kept any more; revision {oldest - 1} is the oldest."
        )
    values: dict[str, Value | None] = dict(document.flat())
    for change in reversed(since):
        values.update(change.before)
    return {key: value for key, value in values.items() if value is not None}


def _nested(flat: Mapping[str, Value | None]) -> dict[str, dict[str, Value]]:
    values: dict[str, dict[str, Value]] = {}
    for name, value in sorted(flat.items()):
        section, _, key = name.partition(".")
        if value is not None:
            values.setdefault(section, {})[key] = value
    return values


def _bounded(values: dict[str, dict[str, Value]], changes: tuple[Change, ...]) -> Document:
    """A document with as many of the newest changes as may be kept; the last one always is."""
    document = Document(values=values, changes=changes[-MOST_CHANGES:])
    while len(document.changes) > 1 and len(document.model_dump_json().encode()) > MOST_BYTES:
        document = Document(values=values, changes=document.changes[max(1, len(document.changes) // 10) :])
    return document
