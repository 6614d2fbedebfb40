"""Where version 1 may be received: its nonces repeat, so only on loopback and private links unless told otherwise."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def check_private(
    places: Iterable[str], report: Callable[[str, dict[str, Any]], None], *, allow_public: bool
) -> None:
    """Hold the endpoints of version 1 against the rule; one beyond it that is allowed is reported.

    Raises:
        UsageError: an endpoint is neither on loopback nor private, and `allow_public` is off.
    """
    for place in places:
        if not place or is_private(place):
            continue
        if not allow_public:
            raise UsageError(
                f"{place} would take version 1 frames from everywhere, and they can be forged once a sensor "
                "restarts: give a private address (a name may lead anywhere), or set allow_public_v1 = true."
            )
        report("v1_beyond_private_links", {"endpoint": place})


def is_private(endpoint: str) -> bool:
    """Whether an endpoint is an address of loopback or of a private network; a name may lead anywhere."""
    try:
        host = urlsplit(endpoint).hostname or ""
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return not address.is_unspecified and (address.is_loopback or address.is_private)
