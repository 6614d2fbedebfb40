"""Where the configuration of a command is, what files say below it, and who changes it."""

from __future__ import annotations

import getpass
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.config.document import Author
from services.common.config.sections import Base, checked
from services.common.config.store import ConfigStore, Place, open_values
from services.common.config.tree import RAG, SECTIONS
from services.common.days.layout import check_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import UsageError
from services.common.registry.connect import registry_keys_in
from services.common.sealed import SeenRevisions
from services.common.values.seen import SeenFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.config.tree import Live, Value

SEEN_FILE = "config-seen.json"


@dataclass(frozen=True)
class Below:
    """What a section has without live values, and which of it a settings file says."""

    base: Base[Live]
    in_file: frozenset[str]

    def value(self, key: str) -> Value:
        """The value of a key."""
        found: Value = getattr(self.base.values, key)
        return found

    def origin(self, key: str) -> str:
        """Where the value of a key is from."""
        return "file" if key in self.in_file else "default"


def place_of(state: Path | None, registry: str | None, registry_keys: Path | None) -> Place:
    """Where the configuration is: as told, else as the stack of the state directory was started.

    Raises:
        UsageError: neither a state directory nor a registry is given.
        AppiaError: it is no state directory.
    """
    if state is None:
        if registry is None or registry == "file":
            raise UsageError("which state directory? Give --state DIR, or --registry URL")
        return Place(registry, Path(), registry_keys)
    names = StateNames(state.expanduser().resolve())
    check_layout(names)
    said = _settings(names, "ingester")
    keys = registry_keys or _path(said.get("registry_keys")) or registry_keys_in(names.keys)
    return Place(registry or str(said.get("registry", "file")), names.root, keys)


def open_config(place: Place) -> ConfigStore:
    """The configuration there. Where there is a state directory, an older one than seen before is noticed.

    Raises:
        AppiaError: there is no sealing key, or it cannot be used.
    """
    if place.state == Path():
        return ConfigStore(open_values(place, SeenRevisions()))
    disk, run = Disk(), StateNames(place.state).run
    disk.make_folder(run)
    return ConfigStore(open_values(place, SeenFile(run / SEEN_FILE, disk)))


def below(place: Place) -> dict[str, Below]:
    """What every section has without live values; of the replicas that of the first."""
    return {section: _below(place, section, schema) for section, schema in SECTIONS.items()}


def _below(place: Place, section: str, schema: type[Live]) -> Below:
    said = {} if place.state == Path() else _settings(StateNames(place.state), section)
    mine = {key: value for key, value in said.items() if key in schema.model_fields}
    return Below(Base(section, schema, checked(section, schema, mine)), frozenset(mine))


def _settings(names: StateNames, section: str) -> Mapping[str, Any]:
    """What the settings file of a service says that `appia up` wrote; nothing where there is none."""
    pattern = "rag-*.toml" if section == RAG else f"{section}.toml"
    for path in sorted(names.run.glob(pattern)):
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read ({error}): start the stack again") from None
    return {}


def _path(text: object) -> Path | None:
    return None if text is None else Path(str(text))


def author(who: str | None, why: str | None) -> Author:
    """Who makes a change: as told, else the login name.

    Raises:
        UsageError: nobody is named, or a text is too long.
    """
    try:
        name = who if who is not None else getpass.getuser()
    except (OSError, KeyError):
        raise UsageError("who changes this? The system has no name for you: give --who NAME") from None
    return Author(name, why or "", datetime.now(UTC).isoformat(timespec="seconds"))
