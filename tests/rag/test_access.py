"""A replica with keys, as a process: reached from elsewhere than loopback, through the registry, and by a gateway."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.credentials import Credentials
from services.common.access.curve import KeyPair, make_server_key
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.rpc_client import RpcRefused
from services.rag.async_client import AsyncClient
from services.rag.client import Client, FixedReplicas, Patience
from services.rag.connect import Where, connect
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN, SEEN = "2026-01-21", "2026-01-22"
QUICK = Patience(overall_s=20.0)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, KeyPair]:
    """A server key in `keys`, and the key files of those in the access file."""
    pairs = {name: KeyPair.new() for name in ("alice", "gateway", "nobody")}
    for name, pair in pairs.items():
        pair.write(Disk(), tmp_path / f"{name}.secret")
    make_server_key(Disk(), tmp_path / "keys")
    _allow(tmp_path, pairs)
    return pairs


def _allow(folder: Path, pairs: dict[str, KeyPair], **alice: Any) -> None:
    write_access(
        folder / "access.toml",
        table("alice", pairs["alice"].public, days=[SEEN], operations=["days", "list", "get"], **alice),
        table("gateway", pairs["gateway"].public, delegate=True),
    )


@pytest.fixture
def replica(world: Any, start_replica: Any, tmp_path: Path, keys: dict[str, KeyPair]) -> Any:
    """It listens on all addresses, and tells the registry to ask on loopback."""
    assert keys
    for day in (HIDDEN, SEEN):
        world.fill(day, 10, sealed=True)
    server_key = str(tmp_path / "keys" / "access" / "server.secret")
    started = start_replica(
        world.state.root,
        bind="tcp://0.0.0.0:*",
        advertise="tcp://127.0.0.1:*",
        server_key=server_key,
        access=str(tmp_path / "access.toml"),
    )
    started.endpoint = started.ready()["endpoint"]
    started.public_key = KeyPair.read(tmp_path / "keys" / "access" / "server.secret").public
    return started


def test_a_key_sees_what_it_may(replica: Any, tmp_path: Path, keys: dict[str, KeyPair]) -> None:
    """Its days and operations; then it is revoked while its connection is open."""
    where = Where(endpoints=(replica.endpoint,), key=tmp_path / "alice.secret", server_key=replica.public_key)
    with connect(where, QUICK) as client:
        assert [day["day"] for day in client.days()["days"]] == [SEEN]
        with pytest.raises(
            RpcRefused, match="alice has no right to 'stats'; it has: days, get, list"
        ) as refused:
            client.stats()
        assert refused.value.code == "forbidden"
        assert client.ping()["name"] == "rag-1"
        _allow(tmp_path, keys, revoked=True)
        time.sleep(1.1)
        with pytest.raises(RpcRefused, match="not known any more"):
            client.days()


def test_nobody_else_gets_in(replica: Any, keys: dict[str, KeyPair]) -> None:
    """Each of the wrong ways is a sentence that says what to do."""
    mine, key = keys["alice"], replica.public_key
    ways: list[tuple[Credentials, type[AppiaError], str]] = [
        (Credentials(keys["nobody"], key), RpcRefused, "does not know the key"),
        (Credentials(mine, KeyPair.new().public), AppiaError, "its public key is the one given"),
        (Credentials(), AppiaError, "wants keys"),
    ]
    started = time.monotonic()
    for credentials, error, said in ways:
        with (
            zmq.Context() as context,
            Client(FixedReplicas([replica.endpoint]), context, QUICK, credentials=credentials) as client,
            pytest.raises(error, match=said),
        ):
            client.days()
        with pytest.raises(error, match=said):
            asyncio.run(_through(replica, credentials, None))
    assert time.monotonic() - started < QUICK.overall_s / 2, "none of the six waits for its time to pass"


def test_the_registry_tells_the_public_key(
    replica: Any, world: Any, tmp_path: Path, keys: dict[str, KeyPair]
) -> None:
    """Who has a key needs no more than the registry; who has none is told so."""
    assert keys
    until = time.monotonic() + 20
    while not (entries := Where(state=world.state.root).replicas().entries()):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [entry.info["public_key"] for entry in entries] == [replica.public_key]
    with connect(Where(state=world.state.root, key=tmp_path / "alice.secret"), QUICK) as client:
        assert client.days()["days"][0]["day"] == SEEN
    with (
        connect(Where(state=world.state.root), QUICK) as client,
        pytest.raises(UsageError, match="give --key FILE"),
    ):
        client.days()


async def _through(replica: Any, credentials: Credentials, name: str | None) -> Any:
    with zmq.Context() as context:
        replicas = FixedReplicas([replica.endpoint])
        async with AsyncClient(replicas, context, QUICK, credentials=credentials) as client:
            found = await client.ask("days", {}, on_behalf=name)
            return [day["day"] for day in found["days"]]


def test_a_gateway_asks_for_others(replica: Any, keys: dict[str, KeyPair]) -> None:
    """On behalf of a key with that key's rights, of nobody with its own, and of an unknown name not at all."""
    gateway, alice = (Credentials(keys[name], replica.public_key) for name in ("gateway", "alice"))
    assert asyncio.run(_through(replica, gateway, "alice")) == [SEEN]
    assert asyncio.run(_through(replica, gateway, None)) == [HIDDEN, SEEN]
    for credentials, name in ((gateway, "nobody"), (alice, "gateway")):
        with pytest.raises(RpcRefused, match="on behalf"):
            asyncio.run(_through(replica, credentials, name))


def test_the_command_asks_with_a_key(
    replica: Any, tmp_path: Path, keys: dict[str, KeyPair], capsys: pytest.CaptureFixture[str]
) -> None:
    """`appia days --endpoint ... --key ... --server-key ...`; a secret that others can read is refused."""
    from services.cli.main import run  # noqa: PLC0415 - the command is asked here only

    assert keys
    key = tmp_path / "alice.secret"
    public = tmp_path / "keys" / "access" / "server.public"
    words = ["days", "--endpoint", replica.endpoint, "--key", str(key), "--server-key", str(public)]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert SEEN in out
    assert HIDDEN not in out
    assert run(["stats", *words[1:]]) == 1
    assert "alice has no right to 'stats'" in capsys.readouterr().err
    os.chmod(key, 0o444)  # noqa: PTH101 - of this test
    assert run(words) == 1
    assert f"chmod 0400 {key}" in capsys.readouterr().err
