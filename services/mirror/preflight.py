"""What `appia-mirror --check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.access.credentials import Credentials
from services.common.access.entrance import AccessFiles
from services.common.chain.keys import read_public_key
from services.common.registry.advertising import advertised
from services.mirror.opening import check_url

if TYPE_CHECKING:
    from services.common.preflight import Preflight
    from services.mirror.settings import MirrorSettings


def look_at(settings: MirrorSettings, flight: Preflight) -> None:
    """Read the keys that the settings name. Blocks on the disk; the source is not asked.

    Raises:
        AppiaError: a setting or a key cannot be used.
    """
    check_url(settings.source)
    flight.file(
        "source_key", settings.source_key, lambda path: Credentials.read(path, settings.source_server_key)
    )
    flight.server(settings.bind, AccessFiles(settings.server_key, settings.access))
    advertised(settings.bind, settings.advertise)
    flight.observed(settings.observe)
    flight.registry(settings.registry, settings.registry_keys)
    flight.storage(settings.storage_key, required=False)
    flight.file("signing_key", settings.signing_key, read_public_key)
