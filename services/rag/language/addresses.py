"""Addresses, networks and endpoints, and on which side they are: "from 10.0.0.5 to 10.0.0.9:443"."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from services.rag.arguments import MAX_PORT
from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from services.rag.language.text import Draft

# What may be an address; `ipaddress` decides. Lengths are bounded, so a long text costs no more than its length.
_ADDRESS = r"(?<![\w.:/%-])(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f:]{2,39}(?:\.\d{1,3}){0,3})(?:/\d{1,3})?(?![\w:/%-]|\.\d)"
_FROM = r"from|by|source|origin|src|desde|de|origen"
_TO = (
    r"to|against|at|into|towards?|on|destination|target|targeting|attacking|dst|hacia|contra|a|destino|sobre"
)
_NOUN = r"(?: (?:the|la|el|host|address|ip|machine|network|subnet|server|equipo|direccion|red|servidor|maquina)){0,3}"
_BETWEEN = re.compile(rf"\b(?:between|entre){_NOUN} (?P<a>{_ADDRESS}) (?:and|y){_NOUN} (?P<b>{_ADDRESS})")
_ENDPOINT = r"(?<![\w.:/%-])(?P<of>\d{1,3}(?:\.\d{1,3}){3}):(?P<port>\d{1,5})(?![\w:/%-]|\.\d)"
_ONE = re.compile(
    rf"(?:\b(?:(?P<src>{_FROM})|(?P<dst>{_TO})){_NOUN} |(?P<arrow>[-=]{{0,2}}>|\u2192) ?)?"
    rf"(?:{_ENDPOINT}|(?P<ip>{_ADDRESS}))"
)
# A second address after "or" and the like has the side of the first.
_JOINT = re.compile(r" ?,? ?(?:and|or|y|o|,)? ?")
_SIDES = {"src": "from", "dst": "to", "host": "from or to"}
_PORTS = {"src": "src_port", "dst": "dst_port", "host": "port"}


@dataclass(frozen=True)
class _Found:
    """An address of the text."""

    start: int
    stop: int
    side: str  # a key of `_SIDES`
    network: str
    port: int | None

    def reading(self) -> Reading:
        filters: dict[str, Any] = {self.side: self.network}
        sentence = f"{_SIDES[self.side]} {self.network}"
        if self.port is not None:
            filters[_PORTS[self.side]] = [self.port]
            sentence += f", its port {self.port}" if self.side != "host" else f", port {self.port}"
        return Reading(self.start, self.stop, filters, sentence)


def read_addresses(draft: Draft) -> Iterator[Reading]:
    """The addresses of the text: of the source after "from", of the destination after "to", else of either side."""
    found = [reading for match in _BETWEEN.finditer(draft.plain) if (reading := _between(match))]
    yield from found
    ones: list[_Found] = []
    for match in _ONE.finditer(left := draft.without(found).plain):
        network = _network(match["ip"] or match["of"])
        port = int(match["port"]) if match["port"] else None
        if network is None or (port or 0) > MAX_PORT:
            continue
        named = "src" if match["src"] else "dst" if match["dst"] or match["arrow"] else None
        between = left[ones[-1].stop : match.start()] if ones else "?"
        if named == "dst" and ones and not between.strip() and ones[-1].side == "host":
            ones[-1] = replace(ones[-1], side="src")  # "10.0.0.5 to 10.0.0.9"
        side = named or (ones[-1].side if ones and _JOINT.fullmatch(between) else "host")
        ones.append(_Found(*match.span(), side, network, port))
    yield from (one.reading() for one in ones)


def _between(match: re.Match[str]) -> Reading | None:
    ends = [_network(match[name]) for name in ("a", "b")]
    if None in ends:
        return None
    return Reading(*match.span(), {"src": ends, "dst": ends}, f"between {ends[0]} and {ends[1]}")


def _network(text: str) -> str | None:
    """An address, or a network without the bits of a host that a person may have written; None where it is neither."""
    try:
        found = ip_interface(text)
    except ValueError:
        return None
    return str(found.network if "/" in text else found.ip)
