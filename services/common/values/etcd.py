"""Values in etcd: `<prefix>/values/<name>`, without a lease; the version is the key's modification revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.registry.port import RegistryUnavailable
from services.common.sealed import MAX_SEALED_BYTES
from services.common.values.port import ABSENT, Conflict, Stored, ValuesUnavailable, check_content, check_name

if TYPE_CHECKING:
    from services.common.registry.etcd_client import EtcdClient

KIND = "values"


class EtcdValues:
    """The Values port over etcd; every call is one request."""

    def __init__(self, etcd: EtcdClient, prefix: str) -> None:
        self._etcd = etcd
        self._prefix = prefix

    def get(self, name: str) -> Stored | None:
        """See Values."""
        check_name(name)
        try:
            rows = self._etcd.ask(lambda client: client.get(self.where(name), metadata=True))
        except RegistryUnavailable as error:
            raise ValuesUnavailable(str(error)) from error
        if not rows:
            return None
        content, row = rows[0]
        if len(content) > MAX_SEALED_BYTES:
            raise ValuesUnavailable(
                f"{self.where(name)} in etcd has {len(content)} bytes; a value has at most {MAX_SEALED_BYTES}."
            )
        return Stored(content, int(row["mod_revision"]))

    def put(self, name: str, content: bytes, version: int) -> None:
        """See Values."""
        check_name(name)
        check_content(name, content)
        try:
            revision = self._etcd.put_if(self.where(name), content, None if version == ABSENT else version)
        except RegistryUnavailable as error:
            raise ValuesUnavailable(str(error)) from error
        if revision is None:
            raise Conflict(
                f"{self.where(name)} in etcd was changed by another one since it was read: read it again."
            )

    def where(self, name: str) -> str:
        """See Values."""
        return f"{self._prefix}/{KIND}/{name}"
