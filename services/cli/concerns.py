"""What `appia up` tells before it starts: it stops nothing, and nobody would look for it in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.chunk import EVENTS
from services.common.days.log_format import is_encrypted
from services.common.registry.connect import open_registry
from services.common.registry.port import RegistryUnavailable
from services.common.rest.storage_keys import storage_keys_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.days.names import StateNames
    from services.ingester.settings import IngesterSettings


def concerns(names: StateNames, settings: IngesterSettings) -> Iterator[str]:
    """Sentences about what will not go as before, or as was asked for; reads a header a log, and asks the registry.

    Raises:
        UsageError: what the registry asks for is incomplete.
        AppiaError: a secret that it asks for cannot be used.
    """
    if settings.storage_key is None and any(map(is_encrypted, _logs(names))):
        yield (
            f"there are encrypted logs in {names.root}, no storage_key is set and {storage_keys_file(names.keys)} is "
            "not there: they cannot be read, and what comes in now is not encrypted; put the key back there, or name "
            "it in the file of --settings (docs/at-rest.md)"
        )
    if settings.registry != "file":
        registry = open_registry(settings.registry, names.root, settings.registry_keys)
        try:
            registry.entries("rag")
        except RegistryUnavailable as away:
            yield f"{away} The services run without it, and register when it can be used"
        finally:
            registry.close()


def _logs(names: StateNames) -> Iterator[Path]:
    """The logs of days, remarks and decisions, the newest days first."""
    for number in names.feedback_logs():
        yield names.feedback_log(number)
    yield from map(names.decisions.path, names.decisions.numbers())
    for day in map(names.day, reversed(names.days())):
        for number in day.segments():
            segment = day.segment(number)
            yield from map(segment.log, segment.logs())
        for number in day.generations():
            yield day.generation(number).chunk / EVENTS
