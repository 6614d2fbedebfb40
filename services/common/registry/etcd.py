"""A registry in etcd (3.4 or later), over its HTTP gateway, with real leases.

One key per entry, `<prefix>/<kind>/<name>`; docs/registry.md describes the value. The client library is
etcd3gw: docs/decisions/0001-etcd-client.md says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception
from etcd3gw.lease import Lease
from urllib3 import Timeout

from services.common.registry import record
from services.common.registry.port import (
    MAX_TTL_S,
    Entry,
    Info,
    NameTaken,
    Registration,
    RegistryUnavailable,
    check_label,
    check_ttl,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.common.registry.etcd_url import EtcdSettings

# etcd looks for leases that have run out twice a second and then writes their end to its log.
EXPIRY_LAG_S = 1.0

_API_PATH = "/v3/"  # etcd 3.4 and later; naming it saves a request for the version
_GONE = -1  # the remaining seconds that etcd3gw reports for a lease which no longer is

_Answer = TypeVar("_Answer")


class EtcdRegistry:
    """The Registry port over etcd; talks to etcd only when called, and makes a connection for each call."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._etcd = _Endpoints(settings)
        self._closed = False

    def register(self, entry: Entry, ttl_s: float) -> Registration:
        """See Registry."""
        check_ttl(ttl_s)
        self._refuse_when_closed()
        key = f"{self._settings.prefix}/{entry.kind}/{entry.name}"
        registration = _EtcdRegistration(self._etcd, key, entry, ttl_s)
        registration.put(entry.info)
        return registration

    def entries(self, kind: str) -> list[Entry]:
        """See Registry."""
        check_label("kind", kind)
        self._refuse_when_closed()
        folder = f"{self._settings.prefix}/{kind}/"
        rows = self._etcd.ask(
            lambda client: client.get_prefix(folder, sort_order="ascend", sort_target="key")
        )
        found = (_listed(kind, _text(row["key"]).removeprefix(folder), value, row) for value, row in rows)
        return [entry for entry in found if entry is not None]

    def close(self) -> None:
        """See Registry."""
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RegistryUnavailable("The registry in etcd was closed by this process.")


class _EtcdRegistration:
    def __init__(self, etcd: _Endpoints, key: str, entry: Entry, ttl_s: float) -> None:
        self._etcd = etcd
        self._key = key
        self._entry = entry
        self._ttl_s = ttl_s
        self._lease_id: int | None = None
        self._published: bytes | None = None
        self._withdrawn = False

    def heartbeat(self, info: Info) -> None:
        """See Registration."""
        checked = Entry(self._entry.kind, self._entry.name, self._entry.address, info).info
        if self._withdrawn:
            raise RegistryUnavailable(f"{self._key} was withdrawn by this process.")
        if not self._renew():
            self._lease_id = None
        holder = self._holder()
        if holder is not None and holder != self._lease_id:
            raise NameTaken(f"{self._key} is registered by another process; give each service its own name.")
        # A put makes a revision that etcd keeps until it is compacted, so nothing is put without need.
        if holder is None or self._value(checked) != self._published:
            self.put(checked)

    def withdraw(self) -> None:
        """See Registration."""
        if self._withdrawn:
            return
        lease_id = self._lease_id
        if lease_id is not None and self._renew():
            # Only keys that still hang on this lease go with it: not the key of whoever took the name.
            self._etcd.ask(lambda client: Lease(lease_id, client).revoke())
        self._withdrawn = True

    def put(self, info: Info) -> None:
        """Write the key under the lease, with a new lease where there is none."""
        value = self._value(info)
        if self._lease_id is None:
            granted_s = int(self._ttl_s - EXPIRY_LAG_S)
            self._lease_id = self._etcd.ask(lambda client: client.lease(granted_s).id)
        lease_id = self._lease_id
        self._etcd.ask(lambda client: client.put(self._key, value, Lease(lease_id, client)))
        self._published = value

    def _value(self, info: Info) -> bytes:
        return record.encode({"address": self._entry.address, "ttl_s": self._ttl_s}, info)

    def _renew(self) -> bool:
        lease_id = self._lease_id
        if lease_id is None:
            return False
        return self._etcd.ask(lambda client: Lease(lease_id, client).refresh()) != _GONE

    def _holder(self) -> int | None:
        return self._etcd.ask(lambda client: _lease_of(client.get(self._key, metadata=True)))


class _Endpoints:
    """Asks the members of one etcd cluster, beginning with the one that answered last."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._endpoints = settings.endpoints
        self._share_s = settings.timeout_s / len(settings.endpoints)
        self._preferred = 0

    def ask(self, call: Callable[[Etcd3Client], _Answer]) -> _Answer:
        """Make one request; each endpoint gets an equal share of the time.

        Raises:
            RegistryUnavailable: None of them gave a sound answer.
        """
        first, count = self._preferred, len(self._endpoints)
        failures = []
        for index in ((first + offset) % count for offset in range(count)):
            try:
                answer = self._ask_one(index, call)
            except (Etcd3Exception, requests.RequestException) as error:
                failures.append(self._failure(index, error))
            except (KeyError, TypeError, ValueError, AttributeError):
                failures.append(f"{self._name(index)} gave an answer that is not etcd's")
            else:
                self._preferred = index
                return answer
        raise RegistryUnavailable(
            f"No etcd answered: {'; '.join(failures)}. Check that it runs and can be reached."
        )

    def _ask_one(self, index: int, call: Callable[[Etcd3Client], _Answer]) -> _Answer:
        host, port = self._endpoints[index]
        with requests.Session() as session:
            # A proxy named in the environment must not stand between a service and its registry.
            session.trust_env = False
            # requests takes urllib3's Timeout, which bounds connecting and waiting together.
            timeout = cast("Any", Timeout(total=self._share_s))
            return call(Etcd3Client(host, port, timeout=timeout, api_path=_API_PATH, session=session))

    def _failure(self, index: int, error: Exception) -> str:
        name = self._name(index)
        if isinstance(error, ConnectionTimeoutError):
            return f"{name} did not answer within {self._share_s:.2g} s"
        if isinstance(error, ConnectionFailedError):
            return f"{name} could not be connected to"
        said = getattr(error, "detail_text", None) or error
        return f"{name} said {str(said)[:120]!r}"

    def _name(self, index: int) -> str:
        host, port = self._endpoints[index]
        return f"{host}:{port}"


def _listed(kind: str, name: str, value: bytes, row: Mapping[str, Any]) -> Entry | None:
    fields = record.decode(value)
    # A key without a lease was put by hand and would never go away.
    if fields is None or not row.get("lease"):
        return None
    ttl_s = fields.get("ttl_s")
    if not isinstance(ttl_s, (int, float)) or not 0 < ttl_s <= MAX_TTL_S:
        return None
    return record.listed(kind, name, fields, float(ttl_s))


def _text(key: object) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else ""


def _lease_of(rows: Sequence[tuple[bytes, Mapping[str, Any]]]) -> int | None:
    return int(rows[0][1].get("lease", 0)) if rows else None
