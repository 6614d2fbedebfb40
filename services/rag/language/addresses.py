"""Addresses and networks, and on which side they are: "from 10.0.0.5 to 192.168.1.0/24"."""

from __future__ import annotations

import re
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

# What may be an address; `ipaddress` decides. Lengths are bounded, so a long text costs no more than its length.
_ADDRESS = r"(?<![\w.:/%-])(?:\d{1,3}(?:\.\d{1,3}){3}|[\da-f:]{2,39}(?:\.\d{1,3}){0,3})(?:/\d{1,3})?(?![\w:/%-]|\.\d)"
_FROM = r"from|by|source|origin|src|desde|de|origen"
_TO = (
    r"to|against|at|into|towards?|on|destination|target|targeting|attacking|dst|hacia|contra|a|destino|sobre"
)
_NOUN = r"(?: (?:the|la|el|host|address|ip|machine|network|subnet|server|equipo|direccion|red|servidor|maquina)){0,3}"
_BETWEEN = re.compile(rf"\b(?:between|entre){_NOUN} (?P<a>{_ADDRESS}) (?:and|y){_NOUN} (?P<b>{_ADDRESS})")
_ONE = re.compile(rf"(?:\b(?:(?P<src>{_FROM})|(?P<dst>{_TO})){_NOUN} )?(?P<ip>{_ADDRESS})")
# A second address after "or" and the like has the side of the first.
_JOINT = re.compile(r" ?,? ?(?:and|or|y|o|,)? ?")
_SIDES = {"src": "from", "dst": "to", "host": "from or to"}


def read_addresses(draft: Draft) -> Iterator[Reading]:
    """The addresses of the text: of the source after "from", of the destination after "to", else of either side."""
    found = [reading for match in _BETWEEN.finditer(draft.plain) if (reading := _between(match))]
    yield from found
    side, stop = "host", -1
    left = draft.without(found).plain
    for match in _ONE.finditer(left):
        network = _network(match["ip"])
        if network is None:
            continue
        named = "src" if match["src"] else "dst" if match["dst"] else None
        joined = stop >= 0 and _JOINT.fullmatch(left, stop, match.start())
        side = named or (side if joined else "host")
        stop = match.end()
        yield Reading(*match.span(), {side: network}, f"{_SIDES[side]} {network}")


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
