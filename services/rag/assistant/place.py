"""Where a chat endpoint is: the parts of its URL, and whether events may be sent there."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.errors import UsageError

CHAT = "/chat/completions"
NEAR = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
"""Loopback (RFC 1122, RFC 4291) and private networks (RFC 1918, RFC 4193): what is sent there stays in the house."""


@dataclass(frozen=True)
class Place:
    """A chat endpoint: `shown` is its URL without the path, for sentences."""

    scheme: str  # http or https
    host: str
    port: int
    path: str
    allow_plain: bool = False  # to send in plain text elsewhere than to `NEAR`

    @property
    def shown(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def may_be_at(self, address: str) -> bool:
        """Whether events may be sent to the address that the host turned out to have."""
        return self.scheme == "https" or self.allow_plain or is_near(address)


def parse_place(url: str, *, allow_plain: bool = False) -> Place:
    """The endpoint at a URL: `http://127.0.0.1:8080`, or with a path that ends in /v1 or in /chat/completions.

    Raises:
        UsageError: it is no such URL, or may not be used.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("The URL of the endpoint has characters that no URL has.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(_no_url(url)) from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or port == 0 or not _is_host(host):
        raise UsageError(_no_url(url))
    if parts.username is not None or parts.password is not None:
        raise UsageError("The URL of the endpoint has a password in it: put a key into a file instead.")
    if parts.query or parts.fragment:
        raise UsageError("The URL of the endpoint has a query ('?' or '#'): it ends with its path.")
    default = 443 if parts.scheme == "https" else 80
    place = Place(parts.scheme, host, port or default, _chat_path(parts.path), allow_plain)
    _refuse_far(place)
    return place


def is_near(address: str) -> bool:
    """Whether an IP address is of this machine or a private network."""
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in NEAR)


def far(place: Place, address: str) -> str:
    """The sentence that refuses an address."""
    return (
        f"{place.shown} is at {address}, which is neither this machine nor a private network: "
        "event data would leave in plain text; use https, or allow it (--chat-allow-plain)."
    )


def _refuse_far(place: Place) -> None:
    """Refuse what is known to be far before anybody is asked; a name is known only when it is connected to."""
    try:
        ipaddress.ip_address(place.host)
    except ValueError:
        return
    if not place.may_be_at(place.host):
        raise UsageError(far(place, place.host))


def _is_host(name: str) -> bool:
    """Whether a name can be looked up: one with an empty or an overlong part cannot."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def _chat_path(path: str) -> str:
    path = path.rstrip("/")
    if path.endswith(CHAT):
        return path
    return path + CHAT if path.endswith("/v1") else f"{path}/v1{CHAT}"


def _no_url(url: str) -> str:
    return f"The endpoint must be a URL such as http://127.0.0.1:8080, not {url[:80]!r}."
