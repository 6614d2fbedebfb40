"""What `appia-origin --check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.access.entrance import AccessFiles
from services.common.durable import Disk
from services.common.registry.advertising import advertised
from services.origin.stores import open_store

if TYPE_CHECKING:
    from services.common.preflight import Preflight
    from services.origin.settings import OriginSettings


def look_at(settings: OriginSettings, flight: Preflight) -> None:
    """Read the keys that the settings name. Blocks on the disk; the place of `publish` is not asked.

    Raises:
        AppiaError: a setting or a key cannot be used.
    """
    flight.server(settings.bind, AccessFiles(settings.server_key, settings.access))
    advertised(settings.bind, settings.advertise)
    if settings.publish:
        open_store(settings.publish, settings.state, Disk())
    flight.observed(settings.observe)
    flight.registry(settings.registry, settings.registry_keys)
