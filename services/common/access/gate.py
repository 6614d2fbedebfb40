"""Decides on every request of a server: who asks, and whether that one may."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from services.common.access.buckets import Buckets
from services.common.access.names import PING
from services.common.access.refusals import Refused
from services.common.access.rights import LOCAL
from services.common.rpc import RequestError

if TYPE_CHECKING:
    from services.common.access.book import AccessBook
    from services.common.access.refusals import Refusals
    from services.common.access.rights import Principal
    from services.common.rpc import Request


@dataclass(frozen=True)
class Gate:
    """Finds the rights of whoever asks, anew for each request. Safe for several threads.

    Attributes:
        refusals: where refusals are counted.
        book: the keys; None where there are none: then nobody can be named, and only plain text is answered.
        prefix: what the access file writes before the names of this server's operations; `ping` is that of all.
        buckets: how often each key asked.
    """

    refusals: Refusals
    book: AccessBook | None = None
    prefix: str = ""
    buckets: Buckets = field(default_factory=Buckets)

    def admit(self, request: Request, public_key: str | None) -> Principal:
        """Who asks, with the rights for this request.

        Args:
            request: what is asked.
            public_key: that of an encrypted connection (Z85); None on plain text, which is on loopback only.

        Raises:
            RequestError: it is not allowed (code "forbidden"), or too often (code "too_many").
        """
        asking = LOCAL if public_key is None else self._of_key(public_key)
        if request.on_behalf is not None:
            asking = self._on_behalf(asking, request.on_behalf)
        if asking is LOCAL:
            return asking
        name = request.op if request.op == PING else self.prefix + request.op
        if not asking.rights.allow_operation(name):
            allowed = ", ".join(sorted(asking.rights.operations)) or "none"
            self.refuse(asking, Refused.OPERATION, f"has no right to {name!r}; it has: {allowed}")
        wait_s = self.buckets.take(asking)
        if wait_s:
            self._refuse_rate(asking, wait_s)
        return asking

    def _of_key(self, public_key: str) -> Principal:
        found = None if self.book is None else self.book.table.of_key(public_key)
        if found is None:  # its connection is older than the file that revoked it
            self.refusals.note(Refused.REVOKED_KEY, key=public_key)
            raise RequestError("forbidden", "This key is not known any more; ask who keeps the access file.")
        return found

    def _on_behalf(self, gateway: Principal, name: str) -> Principal:
        """The one that a gateway names."""
        if not gateway.rights.delegate:
            self.refuse(
                gateway, Refused.ON_BEHALF, "may not ask on behalf of others (delegate = true lets it)"
            )
        found = None if self.book is None else self.book.table.of_name(name)
        if found is None:
            self.refuse(gateway, Refused.ON_BEHALF, f"asks on behalf of {name!r}, who is not known here")
        return found.through(gateway)

    def _refuse_rate(self, principal: Principal, wait_s: float) -> NoReturn:
        rate = principal.rights.rate
        self.refusals.note(Refused.RATE, name=principal.name)
        raise RequestError(
            "too_many",
            f"The key {principal.name} may ask {rate.per_s:g} times a second, {rate.burst} at once: ask again in "
            f"{wait_s:.2g} s.",
        )

    def refuse(self, principal: Principal, reason: Refused, why: str) -> NoReturn:
        """Count a refusal and say it: "The key NAME ...".

        Raises:
            RequestError: always (code "forbidden").
        """
        self.refusals.note(reason, name=principal.name, gateway=principal.gateway)
        raise RequestError("forbidden", f"The key {principal.name} {why}.")
