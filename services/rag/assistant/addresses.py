"""Addresses of hosts in a text that people or models write."""

from __future__ import annotations

import ipaddress
import re

_WORD = re.compile(r"[0-9A-Za-z.:/]+")


def addresses_in(text: str) -> tuple[str, ...]:
    """The IP addresses that a text names, each once, in their standard form; networks such as 10.0.0.0/8 are none."""
    found: dict[str, None] = {}
    for word in _WORD.findall(text):
        bare = word.strip("./") if "::" in word else word.strip(".:/")
        host, _, port = bare.rpartition(":")
        for one in (bare, host if port.isdigit() and "." in host else ""):
            try:
                found[str(ipaddress.ip_address(one))] = None
                break
            except ValueError:
                continue
    return tuple(found)
