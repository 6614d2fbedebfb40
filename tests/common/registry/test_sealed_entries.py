"""Entries in etcd that are sealed: nobody without the key tells clients where to connect."""

from __future__ import annotations

import shutil
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from services.common.durable import Disk
from services.common.registry.connect import open_registry
from services.common.registry.known import KnownSet
from services.common.registry.new_keys import Given, make_registry_keys, rotate_seals
from services.common.registry.port import Entry, Registry
from services.common.registry.rotation import Rotation

if TYPE_CHECKING:
    from real_etcd.member import Member

TTL_S = 60.0
NOBODY = Path("unused")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_registry_keys(Disk(), tmp_path / "registry", Given())
    return tmp_path / "registry"


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return "".join(char if char.isalnum() else "-" for char in request.node.name)


class Store:
    """What someone can do who may write to etcd and has no key."""

    def __init__(self, etcd: Member, prefix: str) -> None:
        self._etcd = etcd
        self._prefix = prefix

    def get(self, name: str) -> dict[str, Any]:
        [row] = self._post("range", {"key": self._key(name)})["kvs"]
        return dict(row)

    def put(self, name: str, row: dict[str, Any]) -> None:
        self._post("put", {"key": self._key(name), "value": row["value"], "lease": row["lease"]})

    def _key(self, name: str) -> str:
        return b64encode(f"{self._prefix}/rag/{name}".encode()).decode()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self._etcd.client}/v3/kv/{path}", json=body, timeout=5)
            answer.raise_for_status()
            return dict(answer.json())


@pytest.fixture
def store(shared_etcd: Member, prefix: str) -> Store:
    return Store(shared_etcd, prefix)


def opened(etcd: Member, prefix: str, folder: Path | None) -> Registry:
    return open_registry(f"etcd://{etcd.hostport}/{prefix}", NOBODY, folder)


def entry(name: str, port: int = 1) -> Entry:
    return Entry("rag", name, f"tcp://10.0.0.7:{port}")


def seen(registry: Registry) -> dict[str, str]:
    return {found.name: found.address for found in registry.entries("rag")}


def test_what_lies_in_etcd_tells_nothing_and_opens_for_who_has_the_key(
    shared_etcd: Member, prefix: str, folder: Path, store: Store
) -> None:
    opened(shared_etcd, prefix, folder).register(entry("one"), TTL_S)
    raw = b64decode(store.get("one")["value"])
    assert b"10.0.0.7" not in raw
    assert b"address" not in raw
    assert seen(opened(shared_etcd, prefix, folder)) == {"one": "tcp://10.0.0.7:1"}
    assert seen(opened(shared_etcd, prefix, None)) == {}


def test_an_entry_put_by_hand_changed_or_copied_to_another_name_is_left_out_and_named(
    shared_etcd: Member, prefix: str, folder: Path, store: Store
) -> None:
    registry = opened(shared_etcd, prefix, folder)
    registry.register(entry("good"), TTL_S)
    row = store.get("good")
    store.put("copied", row)
    changed = bytearray(b64decode(row["value"]))
    changed[-20] ^= 1
    store.put("changed", {**row, "value": b64encode(changed).decode()})
    plain = b'{"version": 1, "address": "tcp://6.6.6.6:1", "info": {}, "ttl_s": 60}'
    store.put("plain", {**row, "value": b64encode(plain).decode()})
    known = KnownSet(registry, "rag")
    assert known.refresh()
    assert [found.name for found in known.entries()] == ["good"]
    changed_said, copied_said, plain_said = known.faults()
    assert "rag/changed does not open" in changed_said
    assert "rag/copied does not open" in copied_said
    assert "rag/plain is not a sealed value" in plain_said


def test_an_older_entry_put_back_is_left_out_by_who_saw_the_newer(
    shared_etcd: Member, prefix: str, folder: Path, store: Store
) -> None:
    service, reader = (opened(shared_etcd, prefix, folder) for _ in range(2))
    registration = service.register(entry("one", 1), TTL_S)
    older = store.get("one")
    registration.heartbeat({"moved": 1})
    assert seen(reader) == {"one": "tcp://10.0.0.7:1"}
    store.put("one", older)
    assert seen(reader) == {}
    assert "set back" in reader.faults()[0]
    registration.heartbeat({"moved": 2})
    assert seen(reader) == {"one": "tcp://10.0.0.7:1"}
    assert reader.faults() == ()


def test_a_key_is_replaced_step_by_step_and_nobody_is_left_behind(
    shared_etcd: Member, prefix: str, folder: Path, tmp_path: Path
) -> None:
    for step in (*Rotation, None):
        behind = tmp_path / f"behind-{step}"
        shutil.copytree(folder, behind)
        if step is not None:
            rotate_seals(Disk(), folder, step)
        for writes, reads in ((behind, folder), (folder, behind)):
            registration = opened(shared_etcd, prefix, writes).register(entry("one"), TTL_S)
            assert seen(opened(shared_etcd, prefix, reads)) == {"one": "tcp://10.0.0.7:1"}, step
            registration.withdraw()
