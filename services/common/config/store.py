"""Where the live configuration is kept: read whole, and changed by comparing first, so that nobody's change is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.config.document import NAME, Document, changed
from services.common.config.sections import typed
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.registry.connect import check_registry_url
from services.common.sealed import NotOpened
from services.common.values.checked import CheckedValues, Held, NotSound
from services.common.values.files import FileValues
from services.common.values.port import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.common.config.document import Author
    from services.common.config.tree import Value
    from services.common.registry.keys import RegistryKeys
    from services.common.sealed import SeenRevisions
    from services.common.values.port import Values

TRIES = 5
NOTHING: Held[Document] = Held(Document(), 0)


class NoSealingKey(UsageError):  # noqa: N818 - it names a state of the world
    """There is no key that values are sealed with, so there is no live configuration."""


@dataclass(frozen=True)
class Place:
    """Where a configuration is: the registry's URL, the state directory, and the folder of registry keys."""

    registry: str
    state: Path
    registry_keys: Path | None


def open_values(place: Place, seen: SeenRevisions) -> CheckedValues[Document]:
    """The store of a place; does not ask whether it answers. Blocks on the disk for the keys.

    Raises:
        NoSealingKey: values cannot be sealed there.
        AppiaError: a key cannot be used.
    """
    from services.common.registry.keys import read_registry_keys  # noqa: PLC0415 - cryptography loads slowly

    keys = read_registry_keys(place.registry_keys)
    if keys.seals is None:
        raise NoSealingKey(
            "The live configuration needs a sealing key, and there is none: make it with `appia keys registry`, and "
            "copy it to every machine that uses the registry."
        )
    return CheckedValues(_values(place, keys), keys.seals, Document, seen)


def _values(place: Place, keys: RegistryKeys) -> Values:
    if check_registry_url(place.registry) == "file":
        return FileValues(StateNames(place.state).values, Disk())
    from services.common.registry.etcd_client import EtcdClient  # noqa: PLC0415 - an HTTP client for who needs it
    from services.common.registry.etcd_url import parse_etcd_url  # noqa: PLC0415 - as above
    from services.common.values.etcd import EtcdValues  # noqa: PLC0415 - as above

    settings = parse_etcd_url(place.registry)
    return EtcdValues(EtcdClient(settings, keys), settings.prefix)


@dataclass(frozen=True)
class Changed:
    """What a change found and left; both are the same where there was nothing to change."""

    before: Held[Document]
    after: Held[Document]

    @property
    def is_new(self) -> bool:
        """Whether anything changed."""
        return self.after.revision != self.before.revision


class ConfigStore:
    """The configuration for who changes it. Not safe for several threads; several processes may change at once.

    `edit` says what a change wants, from the document that it finds; it is called again where another one was quicker.
    """

    def __init__(self, values: CheckedValues[Document]) -> None:
        self._values = values

    def read(self, *, anew: bool = False) -> Held[Document]:
        """The configuration; an empty one of revision 0 where there never was one. Blocks as the store does.

        Args:
            anew: an empty one also where it was there and was removed.

        Raises:
            AppiaError: it cannot be read, is not sealed as it should be, or older than one seen before.
        """
        try:
            return self._values.get(NAME) or NOTHING
        except NotSound:
            if not self._values.is_removed(NAME):
                raise
            if anew:
                return NOTHING
            raise NotSound(
                "The configuration was removed, and services go on with what they have: `appia config set --anew` "
                "begins a new one."
            ) from None
        except NotOpened as error:
            raise NotOpened(
                f"{error} Services go on with what they have; when you know why, remove it where it is kept, and "
                "begin a new one with `appia config set --anew`."
            ) from None

    def change(
        self,
        edit: Callable[[Document], Mapping[str, Value | None]],
        author: Author,
        *,
        anew: bool = False,
    ) -> Changed:
        """Make a change, again where another one came first; durable on return. Blocks as the store does.

        Raises:
            UsageError: `edit` wants what is not allowed; nothing is changed.
            AppiaError: as of `read`; or others changed it five times meanwhile.
        """
        for _ in range(TRIES):
            before = self.read(anew=anew)
            revision = self._values.next_revision(NAME, before.revision)
            wanted = typed(before.content.flat(), edit(before.content))
            document = changed(before.content, revision, wanted, author)
            if document is before.content:
                return Changed(before, before)
            try:
                return Changed(before, Held(document, self._values.put(NAME, document, before.revision)))
            except Conflict:
                continue
        raise AppiaError(f"Others changed the configuration {TRIES} times meanwhile: try again.")
