"""What `appia-health --check` looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.access.curve import KeyPair
from services.common.access.entrance import AccessFiles
from services.common.chain.keys import read_public_key
from services.common.registry.advertising import advertised
from services.health.alerts.rules_file import parse_rules, read_rules_file
from services.health.readings import SIGNALS

if TYPE_CHECKING:
    from services.common.preflight import Preflight
    from services.health.settings import HealthSettings


def look_at(settings: HealthSettings, flight: Preflight) -> None:
    """Read the keys and the rules of alerts that the settings name. Blocks on the disk.

    Raises:
        AppiaError: a setting, a key or a rule cannot be used.
    """
    flight.server(settings.bind, AccessFiles(settings.server_key, settings.access))
    advertised(settings.bind, settings.advertise)
    flight.observed(settings.observe)
    flight.registry(settings.registry, settings.registry_keys)
    flight.file("key", settings.key, KeyPair.read)
    flight.file("signing_key", settings.signing_key, read_public_key)
    flight.file("alerts", settings.alerts, lambda path: parse_rules(read_rules_file(path), path, SIGNALS))
