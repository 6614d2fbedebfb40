"""How a service joins the configuration: opens the store of its place, and builds its watcher."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from services.common.config.memory import MemoryFile, MemoryOfProcess
from services.common.config.store import NoSealingKey, open_values
from services.common.config.tree import Live
from services.common.config.watcher import WITHIN_S, Watcher, WatchTools
from services.common.days.names import StateNames
from services.common.sealed import SeenRevisions
from services.common.values.seen import SeenFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.config.document import Document
    from services.common.config.memory import Memory
    from services.common.config.sections import Base
    from services.common.config.store import Place
    from services.common.durable import Disk
    from services.common.values.checked import CheckedValues

L = TypeVar("L", bound=Live)


@dataclass(frozen=True)
class Joining:
    """Where the configuration is, where a service logs, and how long it may be not ready with a new one."""

    place: Place
    report: Callable[[str, dict[str, Any]], None]
    within_s: float = WITHIN_S


def join(base: Base[L], joining: Joining) -> Watcher[L]:
    """The watcher of a service that changes no files: what it remembers ends with the process.

    Raises:
        AppiaError: a key of the registry cannot be used.
    """
    return _watcher(base, joining, MemoryOfProcess(), SeenRevisions())


def join_with_disk(base: Base[L], joining: Joining, disk: Disk) -> Watcher[L]:
    """The watcher of a service that may write: it remembers in `<state>/run/`, which has to be there.

    Raises:
        AppiaError: a key of the registry cannot be used, or the file of revisions seen is damaged.
    """
    run = StateNames(joining.place.state).run
    memory = MemoryFile(run / f"config-{base.section}.json", disk)
    return _watcher(base, joining, memory, SeenFile(run / f"config-{base.section}-seen.json", disk))


def _watcher(base: Base[L], joining: Joining, memory: Memory, seen: SeenRevisions) -> Watcher[L]:
    values: CheckedValues[Document] | None
    try:
        values = open_values(joining.place, seen)
    except NoSealingKey as error:
        if joining.place.registry_keys is not None:  # without any, nobody expects a live configuration
            joining.report("config_off", {"why": str(error)})
        values = None
    return Watcher(base, values, WatchTools(memory, joining.report, time.monotonic, joining.within_s))
