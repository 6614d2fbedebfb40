"""Makes the secrets of a site: what is there stays, what is missing is made, copies are kept like what they are of.

Every step leaves a folder from which the next run goes on: a key is on disk before what names it.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.access.book import read_access
from services.common.access.curve import KeyPair
from services.common.access.edit import add_key, revoke_key
from services.common.chain.keys import (
    active_public_key,
    new_signing_key,
    read_signing_ring,
    signing_folder,
)
from services.common.errors import AppiaError, UsageError
from services.common.locks import locked_folder
from services.common.private_folders import check_unwritable
from services.common.registry.keys import CERTIFICATE, CERTIFICATE_KEY, LOGIN, SEAL
from services.common.registry.new_keys import Given, make_registry_keys
from services.common.replacing import replace_file
from services.common.rest.storage_keys import new_storage_keys, read_storage_keys
from services.common.secret_files import (
    SECRET_MODE,
    create_secret_file,
    make_secret_folder,
    read_secret_file,
)
from services.common.site.certificates import PUBLIC_MODE, Authority, Pair
from services.common.site.names import (
    CA,
    CA_KEY,
    HEALTH,
    MIRROR_PREFIX,
    OPERATOR,
    ROOT_USER,
    SERVER,
    SERVER_KEY,
    SiteFolder,
)
from services.common.site.wanted import Wanted, read_wanted
from services.common.wire.keys import new_key_ring, read_key_ring, ring_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from services.common.durable import Disk

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""What a certificate of etcd holds beside the node's address: it is asked on its own machine too."""
MIRROR = "mirror"
"""The group of rights of those that copy days."""
MIRROR_RATE = 1000
"""Requests a second that a mirror may make."""
PASSWORD_BYTES = 24
_MOST_PASSWORD_BYTES = 512
_MOST_FILE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Tools:
    """What making secrets needs from outside.

    Attributes:
        disk: Where they are written.
        now: The time, with its zone.
        random: Gives so many random bytes.
    """

    disk: Disk
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    random: Callable[[int], bytes] = os.urandom


@dataclass(frozen=True)
class MadeSite:
    """What there is now, and what this run made or changed of it, and removed: paths below the folder, sorted."""

    folder: SiteFolder
    wanted: Wanted
    members: dict[str, str]
    made: tuple[str, ...]
    removed: tuple[str, ...] = ()


def make_site(
    root: Path,
    wanted: Callable[[Wanted | None], Wanted],
    tools: Tools,
    *,
    renew: bool,
    forget: Sequence[str] = (),
) -> MadeSite:
    """Make what is missing of the secrets of a site in the folder `root`, which is made too. Blocks; durable on return.

    Args:
        root: The folder.
        wanted: Says what is asked for, given what `site.json` says (None: nothing yet).
        tools: The disk, the clock and randomness.
        renew: Whether certificates are made anew, also those that are right; the authority stays.
        forget: Nodes whose secrets are removed, where `wanted` names them no more; their rights to ask are revoked.

    Raises:
        UsageError: what is asked for does not go together.
        AppiaError: something that is there is damaged, others may change the folder, or it cannot be written.
    """
    folder = SiteFolder(root)
    members_of(folder, wanted(read_wanted(folder.site_file)))  # what cannot be made leaves no folder behind
    make_secret_folder(tools.disk, folder.ingester)
    check_unwritable(root)
    # Not the folder of all: who adds a key to the access file in it locks that.
    with locked_folder(folder.ingester):
        before = read_wanted(folder.site_file)
        making = _Making(folder, wanted(before), tools)
        for node in forget:
            making.forget(node)
        making.run(renew=renew)
        made, removed = tuple(sorted(making.made)), tuple(sorted(making.removed))
        return MadeSite(folder, making.wanted, making.members, made, removed)


def authority_folder(folder: SiteFolder, wanted: Wanted) -> SiteFolder:
    """The folder of the site whose etcd, and so whose authority, this one uses: its own or another's."""
    if not wanted.etcd_authority:
        return folder
    # Without "..": this folder may not be there yet.
    return SiteFolder(Path(os.path.normpath(folder.root.resolve() / wanted.etcd_authority)))


def members_of(folder: SiteFolder, wanted: Wanted) -> dict[str, str]:
    """Nodes with a member of the etcd that the site uses, and their addresses; empty for a registry in files.

    Raises:
        UsageError: the folder of the other site has no etcd.
        AppiaError: it is damaged.
    """
    if not wanted.etcd_authority:
        return dict(wanted.etcd)
    owner = authority_folder(folder, wanted)
    theirs = read_wanted(owner.site_file)
    if theirs is None or not theirs.etcd:
        raise UsageError(
            f"{owner.root} is no folder of a site with an etcd of its own: --etcd-authority names the one whose etcd "
            "is shared."
        )
    if theirs.site == wanted.site:
        raise UsageError(
            f"Both sites are called {wanted.site}: sites that share an etcd have names of their own."
        )
    return dict(theirs.etcd)


def read_password(folder: SiteFolder, user: str) -> str:
    """The password of a user of etcd. Raises `AppiaError` where it is missing, open to others or empty."""
    text = read_secret_file(folder.password(user), _MOST_PASSWORD_BYTES).decode("utf-8", "replace").strip()
    if not text.isprintable() or not text:
        raise AppiaError(f"{folder.password(user)} should hold one line with a password: restore it.")
    return text


class _Making:
    """One run over one folder; `made` and `removed` grow by what it makes and removes."""

    def __init__(self, folder: SiteFolder, wanted: Wanted, tools: Tools) -> None:
        self.folder, self.wanted = folder, wanted
        self.members = members_of(folder, wanted)
        self.made: list[str] = []
        self.removed: list[str] = []
        self._disk, self._tools = tools.disk, tools

    def run(self, *, renew: bool) -> None:
        self._ingester_keys()
        self._registry_seal()
        if self.members:
            self._etcd(renew=renew)
        for node in self.wanted.servers:
            self._server(node)
        for name, operations in self._clients():
            self._client(name, operations)
        # Last: a run that was broken off is not taken for a whole one.
        self._like(self.folder.site_file, self.wanted.to_json(), SECRET_MODE)

    def forget(self, node: str) -> None:
        """Remove what a node had that the site has no more; its rights go first."""
        if node in self.wanted.nodes:
            return
        mirror, access = f"{MIRROR_PREFIX}{node}", self.folder.access
        known = read_access(access).principals.get(mirror) if access.exists() else None
        if known is not None and not known.revoked:
            revoke_key(self._disk, access, mirror)
            self._note(access)
        folder = self.folder
        server = (folder.server_secret(node), folder.server_public(node))
        for path in (folder.client_secret(mirror), *server, folder.member(node)):
            if path.exists():
                self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            self._disk.remove(path)
        except OSError as error:
            raise AppiaError(f"{path} could not be removed ({error.strerror}): check its folder.") from error
        self.removed.append(str(path.relative_to(self.folder.root)))

    def _ingester_keys(self) -> None:
        keys = self.folder.ingester
        if ring_folder(keys).exists():
            read_key_ring(keys)
        else:
            new_key_ring(keys, self._tools.random, self._disk)
            self._note(ring_folder(keys))
        if self._never_signed() or read_signing_ring(keys) is None:
            new_signing_key(keys, self._disk, self._tools.random)
            self._note(signing_folder(keys))
        public = active_public_key(keys)
        if public is not None:
            self._like(self.folder.signing_public, f"{public.raw.hex()}\n".encode(), PUBLIC_MODE)
        if self.folder.storage_keys.exists():
            read_storage_keys(self.folder.storage_keys)
        elif self.wanted.encrypt:
            new_storage_keys(self._disk, self.folder.storage_keys)
            self._note(self.folder.storage_keys)

    def _never_signed(self) -> bool:
        """Whether nobody can know a signing key yet: one that a broken run left without its name is of no use."""
        active = signing_folder(self.folder.ingester) / "ACTIVE"
        return not (active.exists() or self.folder.signing_public.exists())

    def _registry_seal(self) -> None:
        new = not (self.folder.registry / SEAL).exists()
        make_registry_keys(self._disk, self.folder.registry, Given(), self._tools.random)
        if new:
            self._note(self.folder.registry / SEAL)

    def _etcd(self, *, renew: bool) -> None:
        authority = self._authority()
        pairs: dict[Pair, tuple[str, ...]] = {
            Pair(self.folder.member(node) / SERVER, self.folder.member(node) / SERVER_KEY): (
                address,
                *LOOPBACK,
            )
            for node, address in self.wanted.etcd.items()
        }
        rooms = (self.folder.registry, self.folder.reader)
        pairs |= {Pair(room / CERTIFICATE, room / CERTIFICATE_KEY): () for room in rooms}
        for pair, addresses in pairs.items():
            self._certificate(authority, pair, tuple(dict.fromkeys(addresses)), renew=renew)
        users = (self.wanted.site, self.wanted.reader)
        for user in (*users, *((ROOT_USER,) if self.wanted.etcd else ())):
            self._password(user)
        for room, user in zip(rooms, users, strict=True):
            login = f"{user}:{read_password(self.folder, user)}\n"
            self._like(room / LOGIN, login.encode(), SECRET_MODE)
        seal = read_secret_file(self.folder.registry / SEAL, _MOST_FILE_BYTES)
        self._like(self.folder.reader / SEAL, seal, SECRET_MODE)

    def _authority(self) -> Authority:
        home = authority_folder(self.folder, self.wanted).authority
        pair = Pair(home / CA, home / CA_KEY)
        rooms = (*map(self.folder.member, self.wanted.etcd), self.folder.registry, self.folder.reader)
        copies = [room / CA for room in rooms if (room / CA).exists()]
        if copies and self.wanted.etcd and not pair.certificate.exists():
            # Another authority would be trusted by no member and no service that runs.
            raise AppiaError(f"{pair.certificate} is gone: restore it; {copies[0]} is a copy of it.")
        if pair.certificate.exists() or not self.wanted.etcd:
            authority = Authority.read(pair)
        else:
            name = f"authority of the registry of {self.wanted.site}"
            authority = Authority.make(self._disk, pair, name, self._tools.now())
            self._note(pair.certificate)
        spelled = pair.certificate.read_bytes()
        for room in rooms:
            self._like(room / CA, spelled, PUBLIC_MODE)
        return authority

    def _certificate(
        self, authority: Authority, pair: Pair, addresses: tuple[str, ...], *, renew: bool
    ) -> None:
        if renew or not authority.is_right(pair, addresses):
            authority.issue(self._disk, pair, addresses, self._tools.now())
            self._note(pair.certificate)

    def _password(self, user: str) -> None:
        path = self.folder.password(user)
        if not path.exists():
            self._secret(path, urlsafe_b64encode(self._tools.random(PASSWORD_BYTES)) + b"\n")

    def _server(self, node: str) -> None:
        path = self.folder.server_secret(node)
        if not path.exists():
            self._secret(path, f"{KeyPair.new().secret}\n".encode())
        public = KeyPair.read(path).public
        self._like(self.folder.server_public(node), f"{public}\n".encode(), PUBLIC_MODE)

    def _clients(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Who asks, and what they may; who keeps the access file may change that later."""
        yield OPERATOR, ("all",)
        yield HEALTH, ("control",)
        for node in self.wanted.mirrors:
            yield f"{MIRROR_PREFIX}{node}", (MIRROR,)
        for name in self.wanted.analysts:
            yield name, ("questions", "remarks")

    def _client(self, name: str, operations: tuple[str, ...]) -> None:
        """The key first, then its table: a key that nobody knows is taken by the next run."""
        path, access = self.folder.client_secret(name), self.folder.access
        if access.exists() and name in read_access(access).principals:
            if name not in self.wanted.analysts and not path.exists():
                raise AppiaError(
                    f"{path} is gone, and {access} has its table: restore it, or remove the table [keys.{name}] and "
                    "run this again."
                )
            return
        if not path.exists():
            self._secret(path, f"{KeyPair.new().secret}\n".encode())
        fields: dict[str, Any] = {
            "public_key": KeyPair.read(path).public,
            "operations": list(operations),
            "indices": ["all"],
            "days": ["all"],
            # A mirror asks for each piece of a file; how much that is an origin bounds by its `bytes_per_s`.
            **({"rate": MIRROR_RATE, "burst": MIRROR_RATE} if operations == (MIRROR,) else {}),
        }
        add_key(self._disk, access, name, fields)
        self._note(access)

    def _secret(self, path: Path, content: bytes) -> None:
        make_secret_folder(self._disk, path.parent)
        create_secret_file(self._disk, path, content)
        self._note(path)

    def _like(self, path: Path, content: bytes, mode: int) -> None:
        """Let `path` have this content; one that has it is not touched."""
        try:
            with path.open("rb") as file:
                same = file.read(_MOST_FILE_BYTES + 1) == content
        except FileNotFoundError:
            same = False
        if not same:
            make_secret_folder(self._disk, path.parent)
            replace_file(self._disk, path, content, mode)
            self._note(path)

    def _note(self, path: Path) -> None:
        name = str(path.relative_to(self.folder.root))
        if name not in self.made:
            self.made.append(name)
