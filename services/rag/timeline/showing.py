"""Hours of a host as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.rag.entities import address_text
from services.rag.scope import iso_time
from services.rag.timeline.hours import HOUR_NS, MEASURES, most, service_of
from services.rag.timeline.words import service_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.rag.timeline.hours import Hours

NAMED = 3
"""Services, classes, hosts and narratives that are named of an hour, the most frequent."""
NAMED_IN_ALL = 10
"""... and of all hours together."""


def show_hour(hours: Hours, place: int, services: Mapping[int, str]) -> dict[str, Any]:
    """One hour: what is counted of it, and the most frequent of its services, peers, classes and narratives."""
    span = hours.span(place)
    counts = dict(zip(MEASURES, np.rint(hours.measures[place]).astype(np.int64).tolist(), strict=True))
    new = hours.first_of_peer
    new = new[np.searchsorted(new, span.start) : np.searchsorted(new, span.stop)][:NAMED]
    return {
        "hour": iso_time(int(hours.numbers[place]) * HOUR_NS),
        **counts,
        **_named(hours, span, services, NAMED),
        "first_met": [_address(hours, int(peer)) for peer in hours.events.table["peer"][new]],
    }


def show_total(hours: Hours, places: Sequence[int], services: Mapping[int, str]) -> dict[str, Any]:
    """The same about some hours together; `new_peers` are those that were not met before the first of them."""
    starts, ends = hours.starts[:-1][list(places)], hours.starts[1:][list(places)]
    parts = [np.arange(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    events = np.concatenate([np.empty(0, np.int64), *parts])
    table = hours.events.table[events]
    out = int(np.count_nonzero(table["out"]))
    return {
        "out": out,
        "in": len(table) - out,
        "bytes": round(float(table["bytes"].sum(dtype=np.float64))),
        "peers": len(np.unique(table["peer"])),
        "new_peers": int(np.isin(hours.first_of_peer, events, assume_unique=True).sum()),
        "ports": len(np.unique(table["port"])),
        "matters": int(np.count_nonzero(table["matters"])),
        **_named(hours, events, services, NAMED_IN_ALL),
    }


def _named(
    hours: Hours, events: slice | NDArray[np.int64], services: Mapping[int, str], count: int
) -> dict[str, Any]:
    table, texts, addresses = hours.events.table[events], hours.events.texts, hours.events.addresses
    used, places = np.unique(hours.services[events], return_inverse=True)
    return {
        "highest_threat": round(float(table["overall"].max(initial=0)), 4),
        "services": [_service(number, n, services) for number, n in most(places, count, used.tolist())],
        "most_met": [
            {"address": address_text(address), "events": n}
            for address, n in most(table["peer"], count, addresses)
        ],
        "classes": dict(most(table["class"], count, texts)),
        "narratives": [
            {"narrative": text, "events": n} for text, n in most(table["narrative"], count, texts)
        ],
    }


def _service(number: int, events: int, names: Mapping[int, str]) -> dict[str, Any]:
    out, protocol, port = service_of(number)
    return {
        "side": "out" if out else "in",
        "service": service_name(protocol, port, names),
        "protocol": protocol,
        "port": port,
        "events": events,
    }


def _address(hours: Hours, peer: int) -> str:
    return address_text(hours.events.addresses[peer])
