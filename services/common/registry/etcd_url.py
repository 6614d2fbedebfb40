"""The URL that says where etcd is: etcds://HOST:PORT[,HOST:PORT][/PREFIX]; the prefix is "appia" where none is given.

`etcds` is TLS. `etcd` is plain text, which is for loopback alone.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from services.common.errors import UsageError

PLAIN = "etcd://"
TLS = "etcds://"
DEFAULT_TIMEOUT_S = 2.0
DEFAULT_PREFIX = "appia"

_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_ENDPOINT = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class EtcdSettings:
    """Where etcd is.

    Attributes:
        endpoints: (host, port) of each member; at least one.
        prefix: What the keys begin with, without slashes at its ends.
        timeout_s: The longest that one request may take over all endpoints together, in seconds; looking up
            a host name is not counted, so prefer addresses.
        tls: Whether the connection is TLS.
    """

    endpoints: tuple[tuple[str, int], ...]
    prefix: str
    timeout_s: float = DEFAULT_TIMEOUT_S
    tls: bool = False


def is_etcd_url(url: str) -> bool:
    """Whether `url` begins as that of an etcd does."""
    return url.startswith((PLAIN, TLS))


def parse_etcd_url(url: str) -> EtcdSettings:
    """Read an etcd URL; an IPv6 address stands in brackets.

    Raises:
        UsageError: It has another form, holds a name or password, or is plain text beyond loopback.
    """
    tls = url.startswith(TLS)
    hosts, slash, prefix = url.removeprefix(TLS if tls else PLAIN).partition("/")
    prefix = prefix if slash else DEFAULT_PREFIX
    if "@" in url:
        raise UsageError(
            "The registry URL must hold no user name or password; give it as etcds://HOST:PORT[/PREFIX], and "
            "put them into the file `login` of the folder that the setting registry_keys names."
        )
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(
            f"The registry {url!r} has a key prefix that is not of letters, digits, '.', '_', '-' and inner '/'; "
            "write it as etcd://127.0.0.1:2379/appia, or leave it out."
        )
    endpoints = tuple(_endpoint(text, url) for text in hosts.split(","))
    far = next((host for host, _ in endpoints if not _is_loopback(host)), None)
    if far is not None and not tls:
        raise UsageError(
            f"The registry {url!r} is plain text to {far!r}, and plain text is for addresses of loopback alone: "
            "set up etcd with TLS (docs/runbooks/etcd.md) and write etcds://."
        )
    return EtcdSettings(endpoints, prefix, tls=tls)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _endpoint(text: str, url: str) -> tuple[str, int]:
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise UsageError(
            f"The registry {url!r} has {text!r} where HOST:PORT is needed, with a port of 1 to 65535."
        )
    return match["ipv6"] or match["host"], int(match["port"])
