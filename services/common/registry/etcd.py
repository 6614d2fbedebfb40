"""A registry in etcd (3.4 or later), over its HTTP gateway, with real leases.

One key per entry, `<prefix>/<kind>/<name>`; docs/registry.md describes the value. With a sealing key the value is
sealed (`services/common/sealed.py`), for it tells clients where to connect.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etcd3gw.lease import Lease

from services.common.registry import record
from services.common.registry.etcd_client import EtcdClient
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
from services.common.sealed import NotOpened, SeenRevisions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from etcd3gw.client import Etcd3Client
    from etcd3gw.types import KeyValue

    from services.common.registry.etcd_url import EtcdSettings
    from services.common.registry.keys import RegistryKeys
    from services.common.sealed import Seals

# etcd looks for leases that have run out twice a second and then writes their end to its log.
EXPIRY_LAG_S = 1.0
MAX_ENTRIES = 1000  # of one kind, so that whoever may write to etcd cannot fill a reader's memory with names
MAX_FAULTS = 20


class EtcdRegistry:
    """The Registry port over etcd; talks to etcd only when called, and makes a connection for each call.

    Args:
        settings: Where etcd is.
        keys: How it is reached, and the keys that entries are sealed with.
        clock_ns: Nanoseconds since the epoch: newer states of an entry have higher revisions by it.
    """

    def __init__(
        self, settings: EtcdSettings, keys: RegistryKeys, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._settings = settings
        self._etcd = EtcdClient(settings, keys)
        self._envelope = _Envelope(keys.seals, clock_ns)
        self._faults: tuple[str, ...] = ()
        self._closed = False

    def register(self, entry: Entry, ttl_s: float) -> Registration:
        """See Registry."""
        check_ttl(ttl_s)
        self._refuse_when_closed()
        key = f"{self._settings.prefix}/{entry.kind}/{entry.name}"
        registration = _EtcdRegistration(self._etcd, self._envelope, _Place(key, entry, ttl_s))
        registration.put(entry.info)
        return registration

    def entries(self, kind: str) -> list[Entry]:
        """See Registry."""
        check_label("kind", kind)
        self._refuse_when_closed()
        folder = f"{self._settings.prefix}/{kind}/"
        rows = self._etcd.ask(lambda client: _range(client, folder))
        found, faults = [], []
        for value, row in rows:
            key = _text(row["key"])
            try:
                entry = _listed(kind, key.removeprefix(folder), self._envelope.opened(key, value), row)
            except NotOpened as error:
                faults.append(str(error))
            else:
                found += [] if entry is None else [entry]
        self._faults = tuple(faults[:MAX_FAULTS])
        return found

    def faults(self) -> tuple[str, ...]:
        """See Registry."""
        return self._faults

    def close(self) -> None:
        """See Registry."""
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RegistryUnavailable("The registry in etcd was closed by this process.")


class _Envelope:
    """Seals the values of entries where there is a key, and opens them; safe for several threads."""

    def __init__(self, seals: Seals | None, clock_ns: Callable[[], int]) -> None:
        self._seals = seals
        self._clock_ns = clock_ns
        self._newest = 0
        self._seen = SeenRevisions()
        self._lock = threading.Lock()

    def closed(self, key: str, plain: bytes) -> bytes:
        """The value to put under `key`."""
        if self._seals is None:
            return plain
        with self._lock:
            self._newest = max(self._newest + 1, self._clock_ns())
            return self._seals.seal(key, self._newest, plain)

    def opened(self, key: str, value: bytes) -> bytes:
        """What the value found under `key` says.

        Raises:
            NotOpened: it is not sealed as it should be, or older than one seen before.
        """
        if self._seals is None:
            return value
        opened = self._seals.open(key, value)
        with self._lock:
            self._seen.check(key, opened.revision)
        return opened.plain


@dataclass(frozen=True)
class _Place:
    key: str
    entry: Entry
    ttl_s: float


class _EtcdRegistration:
    def __init__(self, etcd: EtcdClient, envelope: _Envelope, place: _Place) -> None:
        self._etcd = etcd
        self._envelope = envelope
        self._key = place.key
        self._entry = place.entry
        self._ttl_s = place.ttl_s
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
            self._etcd.revoke(lease_id)
        self._withdrawn = True

    def put(self, info: Info) -> None:
        """Write the key under the lease, with a new lease where there is none."""
        value = self._value(info)
        if self._lease_id is None:
            granted_s = int(self._ttl_s - EXPIRY_LAG_S)
            self._lease_id = self._etcd.grant(granted_s)
        lease_id, sealed = self._lease_id, self._envelope.closed(self._key, value)
        self._etcd.ask(lambda client: client.put(self._key, sealed, Lease(lease_id, client)))
        self._published = value

    def _value(self, info: Info) -> bytes:
        return record.encode({"address": self._entry.address, "ttl_s": self._ttl_s}, info)

    def _renew(self) -> bool:
        return self._lease_id is not None and self._etcd.renew(self._lease_id)

    def _holder(self) -> int | None:
        return self._etcd.ask(lambda client: _lease_of(client.get(self._key, metadata=True)))


def _range(client: Etcd3Client, folder: str) -> list[tuple[bytes, KeyValue]]:
    """The rows below `folder`, which ends in a slash, in the order of their keys."""
    end = f"{folder[:-1]}0"  # the character after the slash
    return client.get(
        folder, metadata=True, sort_order="ascend", sort_target="key", range_end=end, limit=MAX_ENTRIES
    )


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
