"""The epoch of the writer in etcd: a key under a lease, whose modification revision is the number.

The key is `PREFIX/writer/NAME`, NAME being the ingester's in the registry. etcd gives every change of any key a higher
revision, so whoever put the key last has the highest epoch. The lease says whether that one lives.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError
from services.common.registry.etcd_client import EtcdClient
from services.common.registry.etcd_url import parse_etcd_url
from services.common.registry.keys import read_registry_keys
from services.common.registry.process import ProcessMark, this_place, this_process
from services.common.sealed import NotOpened
from services.ingester.fence import Fenced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from services.common.sealed import Seals

KIND = "writer"
LEASE_S = 10.0
_EXPIRY_LAG_S = 2.0  # etcd ends a lease some tenths of a second late, later with a long election timeout
_LOOK_S = 0.25
_VERSION = 1
_TRIES = 3  # of looking and putting, when others put in between


@dataclass(frozen=True)
class WriterKey:
    """Where the epoch is: prefix, name of the ingester, lease in seconds, and what the value is sealed with."""

    prefix: str
    name: str
    lease_s: float = LEASE_S
    seals: Seals | None = None

    @property
    def key(self) -> str:
        """The key in etcd."""
        return f"{self.prefix}/{KIND}/{self.name}"


def open_epoch(url: str, name: str, keys: Path | None) -> EtcdEpoch:
    """The epoch of the ingester `name` in the etcd of `url`; does not ask it yet.

    Raises:
        AppiaError: a file of `keys` cannot be used.
    """
    settings, found = parse_etcd_url(url), read_registry_keys(keys)
    return EtcdEpoch(EtcdClient(settings, found), WriterKey(settings.prefix, name, seals=found.seals))


class EtcdEpoch:
    """The Epoch port over etcd; blocks for at most four requests a call, `take` for the lease of another writer too."""

    def __init__(
        self, etcd: EtcdClient, place: WriterKey, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._etcd = etcd
        self._place = place
        self._sleep = sleep
        self._token = secrets.token_hex(16)
        self._mark = this_process()
        self._lease: int | None = None
        self._epoch = 0

    @property
    def number(self) -> int:
        """See Epoch."""
        return self._epoch

    def take(self) -> None:
        """See Epoch. One that does not live any more is waited for, unless it was on this machine."""
        until = time.monotonic() + self._place.lease_s + _EXPIRY_LAG_S
        while True:
            holder = self._settle()
            if holder is None:
                return
            if time.monotonic() >= until:
                raise AppiaError(
                    f"Another ingester ({holder.who}) holds {self._place.key} in etcd and lives: stop it, or give "
                    "this one another name, or its registry another prefix."
                )
            self._sleep(_LOOK_S)

    def keep(self) -> None:
        """See Epoch."""
        holder = self._settle()
        if holder is not None:
            raise Fenced(
                f"Another ingester ({holder.who}) has taken over {self._place.key} in etcd with epoch {holder.epoch}; "
                f"this one, of epoch {self._epoch}, stops: keep one of them."
            )

    def give_back(self) -> None:
        """See Epoch. The lease is this writer's own, so nobody else's key goes with it."""
        lease, self._lease = self._lease, None
        if lease is not None and self._etcd.renew(lease):
            self._etcd.revoke(lease)

    def _settle(self) -> _Holder | None:
        """Hold the key, if nobody else may live; else say who that is."""
        holder = None
        for _ in range(_TRIES):
            holder = self._holder()
            if holder is None:
                if self._put(None):
                    return None
            elif holder.token == self._token:
                # The answer to the request that put it may have been lost.
                self._epoch = holder.epoch
                if self._renew() or self._put(holder.epoch):
                    return None
            elif holder.is_gone() or holder.epoch < self._epoch:
                # The older one is no writer: etcd was set back to a backup, or its data is another.
                if self._put(holder.epoch):
                    return None
            else:
                return holder
        return holder

    def _renew(self) -> bool:
        return self._lease is not None and self._etcd.renew(self._lease)

    def _put(self, instead_of: int | None) -> bool:
        """Put the key under a new lease if it is still as it was seen: absent, or of that revision."""
        lease = self._etcd.grant(int(self._place.lease_s))
        revision = self._etcd.put_if(self._place.key, self._value(), instead_of, lease)
        if revision is None:
            return False
        self._lease, self._epoch = lease, revision
        return True

    def _value(self) -> bytes:
        mark = {
            "version": _VERSION,
            "token": self._token,
            "host": socket.gethostname(),
            "pid": self._mark.pid,
        }
        mark |= {"start_ticks": self._mark.start_ticks, "place": self._mark.place}
        plain = json.dumps(mark, sort_keys=True).encode()
        seals = self._place.seals
        return plain if seals is None else seals.seal(self._place.key, time.time_ns(), plain)

    def _holder(self) -> _Holder | None:
        rows = self._etcd.ask(lambda client: client.get(self._place.key, metadata=True))
        if not rows:
            return None
        value, row = rows[0]
        return _Holder(int(row["mod_revision"]), self._opened(value))

    def _opened(self, value: bytes) -> Mapping[str, Any]:
        """What a holder says of itself; nothing where it cannot be read, which makes it one that may live."""
        try:
            plain = (
                value if self._place.seals is None else self._place.seals.open(self._place.key, value).plain
            )
            found = json.loads(plain)
        except (NotOpened, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) and found.get("version") == _VERSION else {}


@dataclass(frozen=True)
class _Holder:
    epoch: int
    said: Mapping[str, Any]

    @property
    def token(self) -> str:
        return str(self.said.get("token", ""))

    @property
    def who(self) -> str:
        return f"process {self.said.get('pid', 'unknown')} on {str(self.said.get('host', 'another machine'))[:80]!r}"

    def is_gone(self) -> bool:
        """Whether it was a process of this machine that is known to be dead."""
        mark = ProcessMark.parse(self.said)
        return mark is not None and mark.is_gone(this_place())
