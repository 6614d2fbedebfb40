"""The registry port: a service announces itself under a lease, a client lists who is alive.

A lease is a promise to speak again: an entry whose process stops beating goes away by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from services.common.errors import AppiaError, UsageError

Info = Mapping[str, str | int | float]

# etcd's shortest lease is 2 s and it needs part of a second more to act on one that has run out.
MIN_TTL_S = 3.0
MAX_TTL_S = 3600.0
DEFAULT_TTL_S = 3.0
MAX_ADDRESS_CHARS = 256

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RegistryUnavailable(AppiaError):  # noqa: N818 - it names a state of the world, not a fault of the caller
    """The registry cannot be read or written now; what was known before stays the best knowledge."""


class NameTaken(AppiaError):  # noqa: N818 - as above
    """Another live process has registered the same kind and name since."""


@dataclass(frozen=True)
class Entry:
    """One live instance of a service.

    Attributes:
        kind: What it is, such as "rag": 1 to 64 characters of letters, digits, ".", "_" and "-".
        name: Which one it is, unique within its kind; same characters as `kind`.
        address: Where it answers, such as "tcp://10.0.0.7:5560"; 1 to 256 printable characters.
        info: A few facts for clients, finite numbers and text. It should change rarely: see docs/registry.md.
        expires_in_s: In a listing, an upper bound in seconds for how long the entry stays if its process
            never beats again; None in an entry that is to be registered.

    Raises:
        UsageError: A field breaks these rules.
    """

    kind: str
    name: str
    address: str
    info: Info = field(default_factory=dict)
    expires_in_s: float | None = None

    def __post_init__(self) -> None:
        check_label("kind", self.kind)
        check_label("name", self.name)
        if not (0 < len(self.address) <= MAX_ADDRESS_CHARS and self.address.isprintable()):
            raise UsageError(
                f"The address of {self.kind}/{self.name} must be 1 to {MAX_ADDRESS_CHARS} printable "
                f"characters, but has {len(self.address)}."
            )
        for key, value in self.info.items():
            _check_fact(key, value)
        object.__setattr__(self, "info", MappingProxyType(dict(self.info)))


class Registration(Protocol):
    """One entry held by this process; use it from one thread at a time."""

    def heartbeat(self, info: Info) -> None:
        """Renew the lease and publish `info`; put the entry back if the registry has lost it.

        Blocks for as long as the registry takes, up to its timeout for each of at most four requests.

        Raises:
            RegistryUnavailable: The registry did not answer; beat again later.
            NameTaken: The name belongs to another live process now; a later beat takes it back once that
                process is gone.
            UsageError: `info` breaks the rules of Entry.
        """

    def withdraw(self) -> None:
        """Take the entry out at once, unless another process holds its name. A second call does nothing.

        Blocks up to one timeout.

        Raises:
            RegistryUnavailable: The registry did not answer; the entry goes away with its lease.
        """


class Registry(Protocol):
    """Who serves what; safe to use from several threads."""

    def register(self, entry: Entry, ttl_s: float) -> Registration:
        """Announce `entry` for `ttl_s` seconds, counted anew from each heartbeat.

        The name belongs to whoever registered it last. Blocks up to two timeouts.

        Raises:
            RegistryUnavailable: The registry did not answer, or is closed.
            UsageError: `ttl_s` is outside 3 to 3600 seconds.
        """

    def entries(self, kind: str) -> list[Entry]:
        """List the live entries of `kind`, sorted by name; what the registry cannot understand is left out.

        An entry is never listed longer than its lease after its process has died. Blocks up to one timeout.

        Raises:
            RegistryUnavailable: The registry did not answer, or is closed.
            UsageError: `kind` is not a valid kind.
        """

    def faults(self) -> tuple[str, ...]:
        """Why entries, the first 20, were left out of the last listing that are not sealed as they should be."""

    def close(self) -> None:
        """Refuse further calls; entries not withdrawn go away with their lease. Does not block or raise."""


def check_label(what: str, text: str) -> None:
    """Refuse a kind or name that could not be a file name or a part of a key.

    Raises:
        UsageError: It breaks the rules of Entry.
    """
    if not _LABEL.fullmatch(text):
        raise UsageError(
            f"The registry {what} {text[:80]!r} is not valid; use 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit."
        )


def check_ttl(ttl_s: float) -> None:
    """Refuse a lease that an adapter could not keep.

    Raises:
        UsageError: It is outside 3 to 3600 seconds.
    """
    if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
        raise UsageError(
            f"A registry lease of {ttl_s:g} s is not possible; choose {MIN_TTL_S:g} to {MAX_TTL_S:g} s."
        )


def _check_fact(key: str, value: str | float) -> None:
    if not isinstance(key, str) or not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise UsageError(f"The registry fact {key!r} must be text or a number, but is {value!r:.80}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"The registry fact {key!r} must be a finite number, but is {value}.")
