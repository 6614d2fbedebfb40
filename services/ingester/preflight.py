"""What `appia-ingester --check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.access.entrance import AccessFiles
from services.common.chain.keys import read_signing_ring
from services.common.private_folders import check_unwritable
from services.common.registry.advertising import advertised
from services.common.rpc import check_endpoint
from services.common.wire.keys import read_key_ring
from services.ingester.private_links import check_private

if TYPE_CHECKING:
    from services.common.preflight import Preflight
    from services.ingester.settings import IngesterSettings


def look_at(settings: IngesterSettings, flight: Preflight) -> None:
    """Read the keys that the settings name. Blocks on the disk.

    Raises:
        AppiaError: a setting or a key cannot be used.
    """
    check_endpoint(settings.v2, encrypted=True)  # frames of version 2 always are
    places = (settings.v1_pull, *settings.v1_sub, settings.firewall_v1_pull, *settings.firewall_v1_sub)
    for place in filter(None, places):
        check_endpoint(place, encrypted=True)
    check_private(places, lambda _event, _facts: None, allow_public=settings.allow_public_v1)
    flight.server(settings.control, AccessFiles(settings.server_key, settings.access))
    advertised(settings.v2, settings.advertise)
    advertised(settings.control, settings.advertise_control, "advertise_control")
    flight.observed(settings.observe)
    flight.registry(settings.registry, settings.registry_keys)
    flight.storage(settings.storage_key, required=settings.require_encryption)
    with flight.as_owner_of(settings.keys):
        read_key_ring(settings.keys)
        check_unwritable(settings.keys)
        read_signing_ring(settings.keys)
