"""What `--enrich` adds to an answer, as text for people: each address, service and technique once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.event_words import events_in
from services.cli.output import print_lines, print_prose, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NO_FILES = (
    "places and networks: the replicas have no file of them, see the settings geoip_city and geoip_asn"
)


def show_enrichment(answer: Mapping[str, Any]) -> None:
    """The addresses of all events shown, then their services and techniques; nothing where nobody asked for it."""
    events = [event for event in events_in(answer) if "enrichment" in event]
    if not events:
        return
    rows = [_address_cells(*known) for known in _addresses(events).items()]
    titles = ["~address", "side", "~place", "~network"]
    used = [n for n in range(len(titles)) if any(row[n] for row in rows)]
    print_lines("")
    print_table([titles[n] for n in used], [[row[n] for n in used] for row in rows])
    print_prose(*_services(events), *_techniques(events), *_files(answer["receipt"]["enrichment"]))
    print_lines("")


def _addresses(events: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {event[f"{side}_ip"]: event["enrichment"][side] for event in events for side in ("src", "dst")}


def _address_cells(address: str, known: Mapping[str, Any]) -> list[str]:
    country = known.get("country_name") or known.get("country", "")
    place = ", ".join(filter(None, (known.get("city", ""), country)))
    system = f"AS{known['asn']}" if "asn" in known else ""
    network = " ".join(filter(None, (system, known.get("organization", ""))))
    return [address, "inside" if known["internal"] else "outside", place, network]


def _services(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    named = {event["dst_port"]: event["enrichment"].get("service") for event in events}
    told = [f"{port} {name}" for port, name in sorted(named.items()) if name]
    if told:
        yield f"services: {', '.join(told)}"


def _techniques(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    found = {one["id"]: one for event in events for one in event["enrichment"].get("techniques", ())}
    for number, one in sorted(found.items()):
        yield f"{number}: {one['name']}, tactic {one['tactic']} {one['tactic_name']}"


def _files(used: Mapping[str, Any]) -> Iterator[str]:
    """What could not be read, or that there is nothing to read."""
    if not used["files"] and not used["faults"]:
        yield _NO_FILES
    yield from (f"missing: {fault}" for fault in used["faults"])
