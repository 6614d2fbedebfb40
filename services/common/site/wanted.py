"""What a site consists of, as it was asked for: `site.json`, format 1, which holds no secret."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from services.common.access.table import check_name
from services.common.errors import AppiaError, UsageError
from services.common.site.names import HEALTH, MIRROR_PREFIX, OPERATOR, READER_SUFFIX, ROOT_USER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FORMAT = 1
ROLES = ("ingester", "rag", "etcd")
DEFAULT_SITE = "main"
ETCD_PORT = 2379
REGISTRY_PREFIX = "appia"
_MOST_BYTES = 1 << 20
_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_MOST_HOST_CHARS = 253
_EVERYBODY = ipaddress.ip_address("255.255.255.255")


@dataclass(frozen=True)
class Wanted:
    """Nodes by name, each with its address, in the roles they have; who asks; and how logs are kept.

    Attributes:
        site: The name of the site.
        ingester: The one node that writes; empty where it was not said yet.
        rag: Nodes with replicas.
        etcd: Nodes with a member of etcd; empty for a registry in files, or where another site has them.
        analysts: Names of those who ask.
        encrypt: Whether logs are encrypted.
        etcd_authority: The folder of the site whose etcd is used too, relative to this one's; empty for none.
    """

    site: str = DEFAULT_SITE
    ingester: Mapping[str, str] = field(default_factory=dict)
    rag: Mapping[str, str] = field(default_factory=dict)
    etcd: Mapping[str, str] = field(default_factory=dict)
    analysts: tuple[str, ...] = ()
    encrypt: bool = False
    etcd_authority: str = ""

    def __post_init__(self) -> None:
        check_site(self.site)
        for name in self.analysts:
            _check_analyst(name)
        if len(self.ingester) > 1:
            raise UsageError(f"A site has one ingester; {' and '.join(self.ingester)} are named.")
        if self.etcd and self.etcd_authority:
            raise UsageError(
                "The members of etcd are those of the site of --etcd-authority: add them there, or leave it out."
            )
        self._check_addresses()

    def _check_addresses(self) -> None:
        """A node has one address, and it is no other's: what is meant for one would go to the other."""
        at: dict[str, str] = {}
        for node in self.nodes:
            places = sorted({role[node] for role in self._roles() if node in role})
            if len(places) > 1:
                raise UsageError(
                    f"The node {node} is given two addresses, {' and '.join(places)}: give it one."
                )
            other = at.setdefault(places[0], node)
            if other != node:
                raise UsageError(
                    f"The nodes {other} and {node} have one address, {places[0]}: give each its own, or name the one "
                    "that is gone with --forget."
                )

    def _roles(self) -> Iterator[Mapping[str, str]]:
        yield from (getattr(self, role) for role in ROLES)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes, the ingester's first."""
        return tuple(dict.fromkeys(node for role in self._roles() for node in role))

    @property
    def servers(self) -> tuple[str, ...]:
        """Nodes with services of appia, the ingester's first."""
        return tuple(dict.fromkeys((*self.ingester, *self.rag)))

    @property
    def mirrors(self) -> tuple[str, ...]:
        """Nodes with replicas that are not the ingester's: they get their days over the network."""
        return tuple(node for node in self.rag if node not in self.ingester)

    @property
    def prefix(self) -> str:
        """What keys of this site in etcd begin with, without a slash at the end."""
        return f"{REGISTRY_PREFIX}/{self.site}"

    @property
    def reader(self) -> str:
        """The user of etcd who may only read what is below the prefix; who may write it is named as the site."""
        return f"{self.site}{READER_SUFFIX}"

    def and_also(self, more: Wanted) -> Wanted:
        """This and what `more` names, whose addresses are newer; its ingester takes the place of the one before."""
        moved = {**self.ingester, **self.rag, **self.etcd, **more.ingester, **more.rag, **more.etcd}

        def joined(*roles: Mapping[str, str]) -> dict[str, str]:
            return {node: moved[node] for role in roles for node in role}

        return replace(
            self,
            ingester=joined(more.ingester or self.ingester),
            rag=joined(self.rag, more.rag),
            etcd=joined(self.etcd, more.etcd),
            analysts=tuple(dict.fromkeys((*self.analysts, *more.analysts))),
            encrypt=self.encrypt or more.encrypt,
            etcd_authority=more.etcd_authority or self.etcd_authority,
        )

    def without(self, gone: Sequence[str]) -> Wanted:
        """This without these nodes. Raises `UsageError` where there is no such node."""
        for node in gone:
            if node not in self.nodes:
                raise UsageError(
                    f"The site {self.site} has no node {node[:80]!r}; it has {', '.join(self.nodes)}."
                )

        def kept(places: Mapping[str, str]) -> dict[str, str]:
            return {node: place for node, place in places.items() if node not in gone}

        return replace(self, ingester=kept(self.ingester), rag=kept(self.rag), etcd=kept(self.etcd))

    def to_json(self) -> bytes:
        """As `site.json` has it."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n").encode()


def check_site(name: str) -> str:
    """Give back the name of a site, which is also that of its user of etcd. Raises `UsageError` for another."""
    if not _SITE.fullmatch(name) or name == ROOT_USER or name.endswith(READER_SUFFIX):
        raise UsageError(
            f"{name[:80]!r} is no name of a site: use 1 to 32 of a-z, 0-9 and '-', beginning with a letter or digit; "
            f"not {ROOT_USER!r}, and not ending in {READER_SUFFIX!r}."
        )
    return name


def _check_analyst(name: str) -> None:
    check_name(name)
    if name in {OPERATOR, HEALTH} or name.startswith(MIRROR_PREFIX):
        raise UsageError(f"{name!r} is the name of a key of appia itself: give the analyst another.")


def parse_nodes(texts: list[str], role: str) -> dict[str, str]:
    """Nodes and their addresses from NODE=ADDRESS each, of the option --`role`.

    Raises:
        UsageError: one is not of that form, or a node comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        node, _, address = text.partition("=")
        spelled = _address(address)
        if not _NODE.fullmatch(node) or spelled is None:
            raise UsageError(
                f"--{role} {text[:80]!r} is not NODE=ADDRESS: a name of letters, digits, '-' and '_' without dots, and "
                f"the IP address of one machine (IPv6 without brackets) or its host name, without a port, such as "
                f"--{role} node-1=10.0.0.11."
            )
        if node in found:
            raise UsageError(f"--{role} names {node} twice.")
        found[node] = spelled
    return found


def _address(text: str) -> str | None:
    """An IP address of one machine as it is usually spelled, or a host name; None for what is neither."""
    try:
        found = ipaddress.ip_address(text)
        of_many = found.is_unspecified or found.is_multicast or found == _EVERYBODY
        return None if "%" in text or of_many else str(found)
    except ValueError:
        numbers = re.fullmatch(r"[0-9.]+", text)
        named = len(text) <= _MOST_HOST_CHARS and not numbers and _HOST.fullmatch(text)
        return text.lower() if named else None


def registry_url(members: Mapping[str, str], prefix: str) -> str:
    """The setting `registry` of all services: `file` where there are no members of etcd."""
    hosts = (f"[{host}]" if ":" in host else host for host in members.values())
    return f"etcds://{','.join(f'{host}:{ETCD_PORT}' for host in hosts)}/{prefix}" if members else "file"


def read_wanted(path: Path) -> Wanted | None:
    """What `site.json` says; None where there is none. Blocks on the disk.

    Raises:
        AppiaError: it cannot be read, is damaged or of a later version.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AppiaError(f"{path} cannot be read ({error.strerror}): check its name and owner.") from None
    try:
        return _parse(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UsageError) as error:
        raise AppiaError(f"{path} is damaged or of a later version ({error}): restore it.") from None


def _parse(raw: dict[str, Any]) -> Wanted:
    if raw.pop("format") != FORMAT or set(raw) != {one.name for one in fields(Wanted)}:
        raise ValueError("other fields than expected")
    for role in ROLES:
        raw[role] = parse_nodes([f"{node}={address}" for node, address in raw[role].items()], role)
    if not all(isinstance(raw[name], str) for name in ("site", "etcd_authority")):
        raise ValueError("a name is no text")
    if not isinstance(raw["encrypt"], bool):
        raise ValueError("'encrypt' is neither true nor false")  # noqa: TRY004 - one kind of error for what is damaged
    return Wanted(**{**raw, "analysts": tuple(map(str, raw["analysts"]))})
