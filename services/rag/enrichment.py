"""Tells more about the events of an answer: where addresses are, whose they are, names of services and techniques.

It is done when somebody asks, never on intake: files of places and networks change by the week, events do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.columns import pack_address
from services.common.errors import AppiaError
from services.common.events.techniques import techniques_in
from services.rag.networks import addresses_in
from services.rag.shown import change_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.rag.geoip import GeoFile
    from services.rag.networks import Network


@dataclass(frozen=True)
class Enricher:
    """Knows what can be told about events. Safe for several threads; blocks on the disk.

    `city` has places or countries, `asn` autonomous systems; `services` names ports.
    """

    internal: tuple[Network, ...]
    services: Mapping[int, str] = field(default_factory=dict)
    city: GeoFile | None = None
    asn: GeoFile | None = None

    def show_in(self, answer: dict[str, Any]) -> dict[str, Any]:
        """A copy of an answer with `enrichment` beside every event; the receipt names the files, or what was wrong."""
        work = _Work(self)
        shown: dict[str, Any] = change_events(answer, work.enriched)
        if "receipt" in shown:
            shown["receipt"] = {**shown["receipt"], "enrichment": work.receipt()}
        return shown


@dataclass
class _Work:
    """The enrichment of one answer: an address is looked up once."""

    enricher: Enricher
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def enriched(self, event: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {"src": self._address(event["src_ip"]), "dst": self._address(event["dst_ip"])}
        service = self.enricher.services.get(event["dst_port"])
        if service is not None:
            more["service"] = service
        named = techniques_in(event["narrative"])
        if named:
            more["techniques"] = [
                {"id": one.number, "name": one.name, "tactic": one.tactic, "tactic_name": one.tactic_name}
                for one in named
            ]
        return {**event, "enrichment": more}

    def _address(self, address: str) -> dict[str, Any]:
        if address not in self.known:
            self.known[address] = {
                "internal": _is_within(address, self.enricher.internal),
                **_place(self._look_up(self.enricher.city, address)),
                **_network(self._look_up(self.enricher.asn, address)),
            }
        return self.known[address]

    def _look_up(self, file: GeoFile | None, address: str) -> dict[str, Any]:
        if file is None:
            return {}
        try:
            return file.get(address)
        except AppiaError as error:
            self._note(error)
            return {}

    def receipt(self) -> dict[str, Any]:
        """Which files were used, and what of them could not be read."""
        files = []
        for file in (self.enricher.city, self.enricher.asn):
            if file is not None:
                try:
                    files.append(file.describe())
                except AppiaError as error:
                    self._note(error)
        return {"files": files, "faults": self.faults}

    def _note(self, error: AppiaError) -> None:
        if str(error) not in self.faults:
            self.faults.append(str(error))


def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    packed = np.frombuffer(pack_address(address), np.uint8)
    return bool(addresses_in(packed[None], networks)[0])


def _place(found: Mapping[str, Any]) -> dict[str, Any]:
    """Country and city from a record of GeoLite2-City or -Country, or of a file built like them."""
    country = found.get("country") or found.get("registered_country")
    names = {
        "country": _text(country, "iso_code"),
        "country_name": _english(country),
        "city": _english(found.get("city")),
    }
    return {key: name for key, name in names.items() if name}


def _network(found: Mapping[str, Any]) -> dict[str, Any]:
    """Number and owner of the autonomous system from a record of GeoLite2-ASN, or of a file built like it."""
    number, owner = found.get("autonomous_system_number"), _text(found, "autonomous_system_organization")
    return ({"asn": number} if isinstance(number, int) else {}) | ({"organization": owner} if owner else {})


def _english(named: Any) -> str:
    return _text(named.get("names"), "en") if isinstance(named, dict) else ""


def _text(found: Any, key: str) -> str:
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""
