"""Users of etcd: each site has one that reads and writes below its prefix, and one that only reads there.

What is as it should be is left alone, so it can be run at any time; the order is such that a run that was broken off is
finished by the next one. Requests are those of https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etcd3gw.exceptions import Etcd3Exception

from services.common.errors import AppiaError
from services.common.registry.etcd_client import EtcdClient
from services.common.registry.keys import Login, RegistryKeys
from services.common.site.names import ROOT_USER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etcd3gw.client import Etcd3Client

    from services.common.registry.etcd_url import EtcdSettings

READ, READ_WRITE = "READ", "READWRITE"
_NOT_ENABLED = "authentication is not enabled"
_WRONG_PASSWORD = "invalid user ID or password"  # noqa: S105 - what etcd says of a wrong one


@dataclass(frozen=True)
class EtcdUser:
    """A user and its role, which has the same name.

    Attributes:
        name: Its name.
        password: Its password.
        prefix: What its keys begin with, with a slash at the end: without one it could use those of another site, too.
        right: `READ` or `READ_WRITE`.
    """

    name: str
    password: str = field(repr=False)
    prefix: str
    right: str


class EtcdUsers:
    """Sets up the users of one etcd; blocks for at most the time that `settings` give for each request.

    Args:
        settings: Where etcd is.
        keys: Its authority, and a client certificate; a login in it is not used.
        root_password: That of the user `root`, who is made where there is none.
    """

    def __init__(self, settings: EtcdSettings, keys: RegistryKeys, root_password: str) -> None:
        self._settings = settings
        self._plain = RegistryKeys(ca=keys.ca, certificate=keys.certificate)
        self._root = Login(ROOT_USER, root_password)
        self._changed: list[str] = []

    def set_up(self, users: Sequence[EtcdUser]) -> list[str]:
        """Make users, roles and passwords as they should be, and switch users on. Gives what was changed, in words.

        Raises:
            RegistryUnavailable: etcd does not answer, or something else than this made its user root.
        """
        self._changed = []
        enabled = self._accepts(self._root)
        keys = RegistryKeys(self._plain.ca, self._plain.certificate, self._root if enabled else None)
        etcd = EtcdClient(self._settings, keys)
        there = set(_post(etcd, "user/list").get("users", []))
        roles = set(_post(etcd, "role/list").get("roles", []))
        self._user(etcd, self._root, there, enabled=enabled)
        self._role(etcd, ROOT_USER, roles)
        self._grant(etcd, ROOT_USER)
        for user in users:
            self._user(etcd, Login(user.name, user.password), there, enabled=enabled)
            self._role(etcd, user.name, roles)
            self._permission(etcd, user)
            self._grant(etcd, user.name)
        if not enabled:
            _post(etcd, "enable")
            self._changed.append("switched users on")
        return self._changed

    def _accepts(self, login: Login) -> bool:
        """Whether etcd takes this login; False where users are not switched on. Raises where it refuses it."""
        said = EtcdClient(self._settings, self._plain).ask(lambda client: _log_in(client, login))
        if said == _WRONG_PASSWORD:
            raise AppiaError(
                f"etcd has another password for its user {login.user} than etcd/{login.user}.password of the site: "
                "restore the file that belongs to this etcd."
            )
        return not said

    def _user(self, etcd: EtcdClient, login: Login, there: set[str], *, enabled: bool) -> None:
        body = {"name": login.user, "password": login.password}
        if login.user not in there:
            _post(etcd, "user/add", body)
            self._changed.append(f"made the user {login.user}")
        elif not (enabled and self._has_password(login)):
            # Where users are not switched on, no password can be tried.
            _post(etcd, "user/changepw", body)
            self._changed.append(f"changed the password of {login.user}")

    def _has_password(self, login: Login) -> bool:
        plain = EtcdClient(self._settings, self._plain)
        return not plain.ask(lambda client: _log_in(client, login))

    def _role(self, etcd: EtcdClient, name: str, there: set[str]) -> None:
        if name not in there:
            _post(etcd, "role/add", {"name": name})
            self._changed.append(f"made the role {name}")

    def _permission(self, etcd: EtcdClient, user: EtcdUser) -> None:
        wanted = _permission_of(user)
        found = _post(etcd, "role/get", {"role": user.name}).get("perm", [])
        for other in (one for one in found if _span(one) != _span(wanted)):
            _post(etcd, "role/revoke", {"role": user.name, **_span_fields(other)})
            self._changed.append(f"took a right to other keys from {user.name}")
        if wanted not in [{"permType": READ, **one} for one in found]:
            _post(etcd, "role/grant", {"name": user.name, "perm": wanted})
            self._changed.append(f"let {user.name} {_WORDS[user.right]} {user.prefix}")

    def _grant(self, etcd: EtcdClient, name: str) -> None:
        if name not in _post(etcd, "user/get", {"name": name}).get("roles", []):
            _post(etcd, "user/grant", {"user": name, "role": name})
            self._changed.append(f"gave {name} its role")


_WORDS = {READ: "read", READ_WRITE: "read and write"}


def _post(etcd: EtcdClient, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One request to the part of etcd that knows users."""
    return etcd.ask(lambda client: dict(client.post(client.get_url(f"/auth/{path}"), json=dict(body or {}))))


def _log_in(client: Etcd3Client, login: Login) -> str:
    """Nothing where etcd takes the login; else which of the two reasons it has not to. Raises on any other."""
    try:
        client.post(
            client.get_url("/auth/authenticate"), json={"name": login.user, "password": login.password}
        )
    except Etcd3Exception as error:
        said = str(getattr(error, "detail_text", None) or error)
        for reason in (_NOT_ENABLED, _WRONG_PASSWORD):
            if reason in said:
                return reason
        raise
    return ""


def _permission_of(user: EtcdUser) -> dict[str, str]:
    first = user.prefix.encode()
    after = first[:-1] + bytes([first[-1] + 1])
    return {
        "permType": user.right,
        "key": b64encode(first).decode(),
        "range_end": b64encode(after).decode(),
    }


def _span(permission: Mapping[str, str]) -> tuple[bytes, bytes]:
    return b64decode(permission.get("key", "")), b64decode(permission.get("range_end", ""))


def _span_fields(permission: Mapping[str, str]) -> dict[str, str]:
    return {name: permission[name] for name in ("key", "range_end") if name in permission}
