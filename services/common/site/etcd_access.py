"""Sets up the users of a site's etcd by what its folder holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.common.errors import UsageError
from services.common.registry.etcd_url import TLS, parse_etcd_url
from services.common.registry.keys import read_registry_keys
from services.common.site.etcd_users import READ, READ_WRITE, EtcdUser, EtcdUsers
from services.common.site.making import authority_folder, members_of, read_password
from services.common.site.names import ROOT_USER, SiteFolder
from services.common.site.wanted import read_wanted, registry_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TIMEOUT_S = 15.0
"""For each request: a password takes etcd's bcrypt a good part of a second on a small machine."""


def set_up_users(root: Path, endpoints: Sequence[str]) -> list[str]:
    """Make the users of the site whose folder `root` is; gives what was changed, in words. Blocks.

    Of the folder it needs `site.json`, `registry/`, the passwords of the site's own users, and that of root; for a site
    that uses another's etcd this one is in the other's folder.

    Args:
        root: The folder.
        endpoints: HOST:PORT each; where there are none, all members by their addresses.

    Raises:
        UsageError: it is no such folder, the site has no etcd, or an endpoint has another form.
        RegistryUnavailable: etcd does not answer, or refuses.
        AppiaError: a secret is missing or damaged.
    """
    folder = SiteFolder(root)
    wanted = read_wanted(folder.site_file)
    if wanted is None:
        raise UsageError(f"{root} holds no secrets of a site: make them with `appia keys site`.")
    members = members_of(folder, wanted)
    if not members:
        raise UsageError(
            f"The site {wanted.site} has no etcd: name its members with `appia keys site --etcd`."
        )
    url = f"{TLS}{','.join(endpoints)}/{wanted.prefix}" if endpoints else registry_url(members, wanted.prefix)
    settings = replace(parse_etcd_url(url), timeout_s=TIMEOUT_S)
    users = [
        EtcdUser(name, read_password(folder, name), f"{wanted.prefix}/", right)
        for name, right in ((wanted.site, READ_WRITE), (wanted.reader, READ))
    ]
    root_password = read_password(authority_folder(folder, wanted), ROOT_USER)
    return EtcdUsers(settings, read_registry_keys(folder.registry), root_password).set_up(users)
