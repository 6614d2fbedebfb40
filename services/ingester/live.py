"""How the running ingester takes a configuration: every part is given its new limits in one turn of the intake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.config.joining import Joining, join_with_disk
from services.common.config.sections import base_of
from services.common.config.store import Place
from services.common.config.tree import INGESTER, IngesterLive
from services.ingester.indexer import Pace
from services.ingester.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from services.common.config.watcher import Watcher
    from services.common.durable import Disk
    from services.ingester.dead_letter import DeadLetter
    from services.ingester.indexer import Indexer
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver
    from services.ingester.settings import IngesterSettings


def watch_config(
    settings: IngesterSettings, disk: Disk, report: Callable[[str, dict[str, Any]], None]
) -> Watcher[IngesterLive]:
    """The watcher of the ingester's section, which has read nothing yet.

    Raises:
        AppiaError: a key of the registry, or a file about revisions, cannot be used.
    """
    place = Place(settings.registry, settings.state, settings.registry_keys)
    joining = Joining(place, report, settings.config_within_s)
    return join_with_disk(base_of(INGESTER, IngesterLive, settings), joining, disk)


def with_live(settings: IngesterSettings, live: IngesterLive) -> IngesterSettings:
    """The settings with live values in the place of their own."""
    return settings.model_copy(update=dict(live))


def room_of(settings: IngesterSettings) -> Room:
    """How full the disk may be."""
    return Room(settings.state, settings.disk_stop_percent, settings.disk_warn_percent)


def pace_of(settings: IngesterSettings) -> Pace:
    """How much is committed at once."""
    return Pace(settings.batch_rows, settings.commit_interval_s)


class SettingsInUse:
    """The settings that hold now, one reference, for parts that ask each time. For any thread."""

    def __init__(self, settings: IngesterSettings) -> None:
        self._settings = settings

    def __call__(self) -> IngesterSettings:
        """Those in use."""
        return self._settings

    def use(self, live: IngesterLive) -> IngesterSettings:
        """Take live values, and give the settings with them."""
        self._settings = with_live(self._settings, live)
        return self._settings


@dataclass(frozen=True)
class LiveParts:
    """The parts of the ingester that a configuration changes."""

    settings: SettingsInUse
    receiver: Receiver
    dead_letter: DeadLetter
    indexing: ByteQueue
    indexer: Indexer

    def apply(self, live: IngesterLive) -> None:
        """Take a configuration; blocks until the intake is between two groups.

        Raises:
            AppiaError: the intake has ended.
        """
        self.receiver.call(lambda: self._swap(live))

    def _swap(self, live: IngesterLive) -> None:
        """Nothing here can fail: values are checked, and only handed over."""
        settings = self.settings.use(live)
        self.receiver.gauge.use(room_of(settings))
        self.dead_letter.resize(settings.dead_letter_bytes)
        self.indexing.resize(settings.queue_bytes)
        self.indexer.pace = pace_of(settings)
