"""The endpoint that a service registers: one that others can connect to."""

from __future__ import annotations

import ipaddress

from services.common.errors import UsageError
from services.common.rpc import check_endpoint

ANY_PORT = "*"
ADVERTISED = (
    "the endpoint that others are told, `*` for the bound port; the bound one where not set, which may not be "
    "every address of the machine"
)
"""What the settings say of it."""


def advertised(bound: str, advertise: str | None, setting: str = "advertise") -> str:
    """The endpoint to register: what `setting` says, else the one that is bound.

    A socket that is bound to every address of a machine (0.0.0.0, [::] or `*`) says nothing about where it is reached.

    Raises:
        UsageError: that is no endpoint, or every address of a machine.
    """
    if advertise is None:
        if _is_every_address(bound):
            raise UsageError(
                f"{bound} is every address of this machine, and nobody else can connect to that: set {setting} to the "
                "endpoint that others reach, such as tcp://10.1.2.3:5560."
            )
        return bound
    check_endpoint(advertise, encrypted=True)
    if _is_every_address(advertise):
        raise UsageError(
            f"The setting {setting!r} is {advertise}, which is every address of a machine: name the one that others "
            "reach, such as tcp://10.1.2.3:5560."
        )
    place, _, port = advertise.rpartition(":")
    return f"{place}:{bound.rpartition(':')[2]}" if port == ANY_PORT else advertise


def _is_every_address(endpoint: str) -> bool:
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "*"  # a name leads to one address
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_unspecified
