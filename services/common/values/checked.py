"""Values as their readers want them: opened, not older than one seen before, and of the right schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from services.common.errors import AppiaError
from services.common.values.port import ABSENT, Conflict, Stored, Values

if TYPE_CHECKING:
    from services.common.sealed import Opened, Seals, SeenRevisions

Model = TypeVar("Model", bound=BaseModel)


class NotSound(AppiaError):  # noqa: N818 - it names a state of the world, not a fault of the caller
    """A value opens, and is not what its schema says."""


@dataclass(frozen=True)
class Held(Generic[Model]):
    """A value and its revision, which counts its changes from 1."""

    content: Model
    revision: int


class CheckedValues(Generic[Model]):
    """Values of one schema in a store. Not safe for several threads.

    Args:
        values: Where they are kept.
        seals: What they are sealed with.
        schema: A frozen pydantic model that forbids what it does not know.
        seen: The highest revisions seen so far.
    """

    def __init__(self, values: Values, seals: Seals, schema: type[Model], seen: SeenRevisions) -> None:
        self._values = values
        self._seals = seals
        self._schema = schema
        self._seen = seen

    def get(self, name: str) -> Held[Model] | None:
        """Read a value; None where there never was one. Blocks as the store does.

        Raises:
            NotOpened: it is not sealed as it should be, or an older one than was seen before.
            NotSound: it is none of the schema, or was removed.
            ValuesUnavailable: the store does not answer.
        """
        stored = self._values.get(name)
        return None if stored is None and not self._was_seen(name) else self._checked(name, stored)

    def put(self, name: str, content: Model, revision: int) -> int:
        """Write a value in the place of the one of `revision` (0: none), and give its new revision. Blocks.

        What does not open cannot be replaced by this: remove it where it is kept, when you know why.

        Raises:
            Conflict: there is another one.
            NotOpened, NotSound, ValuesUnavailable: as `get` does.
        """
        stored = self._values.get(name)
        opened = None if stored is None else self._opened(name, stored)
        if (0 if opened is None else opened.revision) != revision:
            raise Conflict(
                f"{name} has revision {0 if opened is None else opened.revision}, not {revision}: read it again."
            )
        where, new = self._values.where(name), self.next_revision(name, revision)
        sealed = self._seals.seal(where, new, content.model_dump_json().encode())
        self._values.put(name, sealed, ABSENT if stored is None else stored.version)
        self._seen.check(where, new)
        return new

    def next_revision(self, name: str, revision: int) -> int:
        """The revision that `put` gives a value in the place of the one of `revision`."""
        return max(revision, self._seen.highest(self._values.where(name))) + 1

    def is_removed(self, name: str) -> bool:
        """Whether there was a value and there is none. Blocks as the store does. Raises ValuesUnavailable."""
        return self._was_seen(name) and self._values.get(name) is None

    def _was_seen(self, name: str) -> bool:
        return self._seen.highest(self._values.where(name)) > 0

    def _opened(self, name: str, stored: Stored) -> Opened:
        where = self._values.where(name)
        opened = self._seals.open(where, stored.content)
        self._seen.check(where, opened.revision)
        return opened

    def _checked(self, name: str, stored: Stored | None) -> Held[Model]:
        if stored is None:
            raise NotSound(f"{name} was removed; what was known of it stays in use.")
        opened = self._opened(name, stored)
        try:
            return Held(self._schema.model_validate_json(opened.plain), opened.revision)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "its whole"
            raise NotSound(
                f"{name}, revision {opened.revision}, is not sound at {place}: {first['msg']}."
            ) from None
