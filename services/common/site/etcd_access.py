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

    Of the folder it needs `site.json`, `registry/`, the passwords of the site's own users, and that of root. Where a
    site uses another's etcd, root's is taken from the other's folder, unless it lies in this one.

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
    if not (wanted.etcd or wanted.etcd_authority):
        raise UsageError(
            f"The site {wanted.site} has no etcd: name its members with `appia keys site --etcd`."
        )
    if endpoints:
        url = f"{TLS}{','.join(endpoints)}/{wanted.prefix}"
    else:
        url = registry_url(members_of(folder, wanted), wanted.prefix)
    settings = replace(parse_etcd_url(url), timeout_s=TIMEOUT_S)
    users = [
        EtcdUser(name, read_password(folder, name), f"{wanted.prefix}/", right)
        for name, right in ((wanted.site, READ_WRITE), (wanted.reader, READ))
    ]
    owner = folder if folder.password(ROOT_USER).exists() else authority_folder(folder, wanted)
    keys = read_registry_keys(folder.registry)
    return EtcdUsers(settings, keys, read_password(owner, ROOT_USER)).set_up(users)
