"""What `appia-rag --check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.access.entrance import AccessFiles
from services.common.chain.keys import read_public_key
from services.common.registry.advertising import advertised
from services.rag.geoip import GeoFile

if TYPE_CHECKING:
    from services.common.preflight import Preflight
    from services.rag.settings import RagSettings

_ANY_ADDRESS = "192.0.2.1"


def look_at(settings: RagSettings, flight: Preflight) -> None:
    """Read the keys and files that the settings name. Blocks on the disk.

    Raises:
        AppiaError: a setting, a key or a file cannot be used.
    """
    flight.server(settings.bind, AccessFiles(settings.server_key, settings.access))
    advertised(settings.bind, settings.advertise)
    flight.observed(settings.observe)
    flight.registry(settings.registry, settings.registry_keys)
    flight.storage(settings.storage_key, required=settings.require_encryption)
    flight.file("signing_key", settings.signing_key, read_public_key)
    flight.file("geoip_city", settings.geoip_city, lambda path: GeoFile(path).get(_ANY_ADDRESS))
    flight.file("geoip_asn", settings.geoip_asn, lambda path: GeoFile(path).get(_ANY_ADDRESS))
