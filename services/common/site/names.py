"""Every name in the folder of a site's secrets; docs/site.md says who needs which.

site.json                            what was asked for; no secret
access.toml                          who may ask what; no secret
authority/{ca,ca-key}.pem            signs certificates of etcd; the key stays on the controller
etcd/NODE/{ca,server,server-key}.pem for the member on that node: its clients and the other members
etcd/{root,SITE,SITE-reader}.password users of etcd, one line each
registry/                            what services need to register (`services.common.registry.keys`)
reader/                              the same for analysts, who may only look
ingester/                            wire/, signing/, and rest/ where logs are encrypted
server/NODE.secret                   CURVE key of the services on that node
clients/NAME.secret                  CURVE key of who asks: operator, health, mirror-NODE, analysts
public/                              signing.public and NODE.server.public, to hand out
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.rest.storage_keys import storage_keys_file

if TYPE_CHECKING:
    from pathlib import Path

CA, CA_KEY = "ca.pem", "ca-key.pem"
SERVER, SERVER_KEY = "server.pem", "server-key.pem"
ROOT_USER = "root"
READER_SUFFIX = "-reader"
OPERATOR, HEALTH, MIRROR_PREFIX = "operator", "health", "mirror-"


@dataclass(frozen=True)
class SiteFolder:
    """The folder of one site at `root`; only names things, touches no disk."""

    root: Path

    @property
    def site_file(self) -> Path:
        """What was asked for."""
        return self.root / "site.json"

    @property
    def access(self) -> Path:
        """Who may ask what."""
        return self.root / "access.toml"

    @property
    def authority(self) -> Path:
        """The authority of etcd's certificates."""
        return self.root / "authority"

    @property
    def registry(self) -> Path:
        """What services need to use the registry."""
        return self.root / "registry"

    @property
    def reader(self) -> Path:
        """What analysts need to find services in the registry."""
        return self.root / "reader"

    @property
    def ingester(self) -> Path:
        """The folder of keys of the ingester."""
        return self.root / "ingester"

    @property
    def storage_keys(self) -> Path:
        """What encrypted logs are read with."""
        return storage_keys_file(self.ingester)

    @property
    def signing_public(self) -> Path:
        """The public half of the key that signs sealed days."""
        return self.root / "public" / "signing.public"

    def member(self, node: str) -> Path:
        """What the member of etcd on `node` needs."""
        return self.root / "etcd" / node

    def password(self, user: str) -> Path:
        """The password of a user of etcd."""
        return self.root / "etcd" / f"{user}.password"

    def server_secret(self, node: str) -> Path:
        """The key of the services on `node`."""
        return self.root / "server" / f"{node}.secret"

    def server_public(self, node: str) -> Path:
        """Its public half."""
        return self.root / "public" / f"{node}.server.public"

    def client_secret(self, name: str) -> Path:
        """The key of one who asks."""
        return self.root / "clients" / f"{name}.secret"
