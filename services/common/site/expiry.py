"""Until when the certificates of a site are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.registry.keys import CERTIFICATE_KEY
from services.common.site.certificates import addresses_of, read_certificate
from services.common.site.names import CA, CA_KEY, SERVER_KEY

if TYPE_CHECKING:
    from datetime import datetime

    from services.common.site.names import SiteFolder

_KEYS = frozenset({CA_KEY, SERVER_KEY, CERTIFICATE_KEY})


@dataclass(frozen=True)
class Expiry:
    """Until when a certificate is taken."""

    path: str
    addresses: tuple[str, ...]
    until: datetime
    is_authority: bool = False


def expiries(folder: SiteFolder) -> list[Expiry]:
    """Every certificate of a site and its end, the soonest first. Blocks on the disk; reads no secret.

    Raises:
        AppiaError: a certificate cannot be read.
    """
    found = []
    for path in sorted(folder.root.glob("*/*.pem")) + sorted(folder.root.glob("etcd/*/*.pem")):
        if path.name in _KEYS or (path.name == CA and path.parent != folder.authority):
            continue
        certificate = read_certificate(path)
        found.append(
            Expiry(
                str(path.relative_to(folder.root)),
                tuple(addresses_of(certificate)),
                certificate.not_valid_after_utc,
                path.parent == folder.authority,
            )
        )
    return sorted(found, key=lambda one: (one.until, one.path))
