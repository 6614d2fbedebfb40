"""Rights are looked up for each request; gateways ask within the rights of both; rates hold; refusals are counted."""

from __future__ import annotations

import io
import json
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.book import AccessBook
from services.common.access.buckets import Buckets
from services.common.access.credentials import Credentials
from services.common.access.curve import KeyPair, check_public_key, make_server_key
from services.common.access.entrance import AccessFiles, open_entrance
from services.common.access.gate import Gate
from services.common.access.refusals import Refusals, Refused
from services.common.access.rights import LOCAL, Principal, Rate, Rights
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.logs import make_logger
from services.common.rpc import Request, RequestError, pack_request, unpack_request
from services.common.rpc_client import RpcClient, RpcRefused
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.common.access.conftest import Guarded

GATEWAY, ALICE = KeyPair.new(), KeyPair.new()


@pytest.fixture
def gate(access_file: Path) -> Gate:
    write_access(
        access_file,
        table(
            "gateway",
            GATEWAY.public,
            delegate=True,
            operations=["get", "list"],
            days=["2026-01-01..2026-12-31"],
        ),
        table(
            "alice",
            ALICE.public,
            operations=["get", "feedback", "remarks"],
            days=["last 3"],
            indices=["attack"],
        ),
        table("gone", KeyPair.new().public, revoked=True),
    )
    log = make_logger("test", io.StringIO())
    return Gate(Refusals(log), AccessBook(access_file, log))


def _refusal(gate: Gate, request: Request, key: str | None) -> RequestError:
    with pytest.raises(RequestError) as refused:
        gate.admit(request, key)
    return refused.value


def test_plain_text_may_ask_everything(gate: Gate) -> None:
    """Who is on this machine is not asked for a key, whatever the operation is called."""
    assert gate.admit(Request(1, "anything"), None) is LOCAL


@pytest.mark.parametrize("prefix", ["", "ingester.", "health.", "origin."])
def test_every_known_key_may_ping_every_service(gate: Gate, prefix: str) -> None:
    """Also a server whose operations have a name of their own before theirs; its others still need the right."""
    guarded = replace(gate, prefix=prefix)
    assert guarded.admit(Request(1, "ping"), ALICE.public).name == "alice"
    assert _refusal(guarded, Request(1, "status"), ALICE.public).code == "forbidden"


def test_a_gateway_asks_within_the_rights_of_both(gate: Gate) -> None:
    """What it asks on behalf of a key needs the right of the key and of the gateway."""
    found = gate.admit(Request(1, "get", on_behalf="alice"), GATEWAY.public)
    assert (found.name, found.gateway) == ("alice", "gateway")
    assert found.rights.operations == {"get"}
    assert found.rights.indices == {"attack"}
    assert len(found.rights.days) == 2
    for op in ("list", "feedback"):
        error = _refusal(gate, Request(1, op, on_behalf="alice"), GATEWAY.public)
        assert (error.code, "alice has no right" in str(error)) == ("forbidden", True), (
            "only one of both has it"
        )
    assert gate.admit(Request(1, "list"), GATEWAY.public).name == "gateway"


@pytest.mark.parametrize("name", ["nobody", "gone", "Alice"])
def test_a_gateway_names_keys_that_are_there(gate: Gate, name: str) -> None:
    """An unknown or revoked name is refused, and never asked with the gateway's own rights."""
    for key in (GATEWAY.public, None):
        assert _refusal(gate, Request(1, "get", on_behalf=name), key).code == "forbidden"
    assert gate.refusals.counts == {"on_behalf": 2}


def test_only_gateways_ask_on_behalf_of_others(gate: Gate) -> None:
    """A key without `delegate` may name nobody, itself neither."""
    for name in ("gateway", "alice"):
        error = _refusal(gate, Request(1, "get", on_behalf=name), ALICE.public)
        assert "may not ask on behalf" in str(error)


def test_a_gateway_on_this_machine_restricts_itself(gate: Gate) -> None:
    """Over plain text too the rights are those of whom it names; without an access file nobody can be named."""
    found = gate.admit(Request(1, "get", on_behalf="alice"), None)
    assert found.name == "alice"
    assert found.rights.operations == {"get", "feedback", "ingester.feedback"}
    without = Gate(gate.refusals)
    assert _refusal(without, Request(1, "get", on_behalf="alice"), None).code == "forbidden"


def test_a_server_asks_for_its_own_operations(gate: Gate) -> None:
    """`feedback` of a replica lists remarks, that of the ingester gives one: each is a right of its own."""
    ingester = Gate(gate.refusals, gate.book, "ingester.")
    assert ingester.admit(Request(1, "feedback"), ALICE.public).name == "alice"
    assert "'ingester.seal'" in str(_refusal(ingester, Request(1, "seal"), ALICE.public))
    assert "'ingester.get'" in str(_refusal(ingester, Request(1, "get"), ALICE.public))


@pytest.mark.parametrize("name", [None, "", "x" * 65, 3, b"alice"])
def test_a_lost_name_is_no_request(name: Any) -> None:
    """A gateway that sends null for a name asks nothing: it would be asked with its own rights."""
    import msgpack  # noqa: PLC0415 - to write what `pack_request` does not

    raw = msgpack.packb({"v": 1, "id": 1, "op": "get", "on_behalf": name})
    with pytest.raises(RequestError, match="on_behalf"):
        unpack_request(raw)
    assert unpack_request(pack_request(Request(1, "get", on_behalf="alice"))).on_behalf == "alice"


def test_a_bucket_fills_with_time() -> None:
    """A burst, then so many a second; a pause fills it no further than the burst; keys do not share it."""
    now = [0.0]
    buckets = Buckets(lambda: now[0])
    alice, bob = (
        Principal(name, Rights(frozenset(), frozenset(), rate=Rate(2.0, 3))) for name in ("alice", "bob")
    )
    assert [buckets.take(alice) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take(bob) == 0
    now[0] = 0.5
    assert [buckets.take(alice) for _ in range(2)] == [0, 0.5]
    now[0] = 1000
    assert [bool(buckets.take(alice)) for _ in range(4)] == [False, False, False, True]
    assert buckets.take(LOCAL) == 0


def test_a_flood_is_refused_and_the_log_is_not_flooded(
    serve: Callable[[], Guarded], access_file: Path
) -> None:
    """Who asks too often gets `too_many` and when it may again; of a hundred refusals few lines are logged."""
    write_access(access_file, table("alice", ALICE.public, rate=1, burst=2))
    guarded = serve()
    with closing(guarded.client(ALICE)) as client:
        for _ in range(2):
            assert client.call("get", {}, 20) == "alice"
        for _ in range(100):
            with pytest.raises(
                RpcRefused, match=r"may ask 1 times a second, 2 at once: ask again in \d"
            ) as refused:
                client.call("get", {}, 20)
            assert refused.value.code == "too_many"
    lines = [json.loads(line) for line in guarded.log.getvalue().splitlines()]
    assert 1 <= len(lines) <= 5
    assert guarded.server.entrance.gate.refusals.counts == {"rate": 100}
    assert lines[0]["name"] == "alice"


def test_refusals_are_told_once_a_second_with_their_number() -> None:
    """The next line says how many there were since the last; each reason has lines of its own."""
    now, log = [0.0], io.StringIO()
    refusals = Refusals(make_logger("test", log), lambda: now[0])
    for _ in range(5):
        refusals.note(Refused.RATE, name="alice")
    refusals.note(Refused.HANDSHAKE)
    now[0] = 1.0
    refusals.note(Refused.RATE, name="bob")
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["reason"], line["count"], line["since_last"]) for line in told] == [
        ("rate", 1, 1),
        ("handshake", 1, 1),
        ("rate", 6, 5),
    ]


def test_a_server_with_a_key_needs_an_access_file(tmp_path: Path) -> None:
    """Without one it would answer nobody; without either it is plain."""
    path, public = make_server_key(Disk(), tmp_path / "keys")
    log = make_logger("test", io.StringIO())
    with zmq.Context() as context:
        with pytest.raises(UsageError, match="needs the setting access"):
            open_entrance(context, AccessFiles(path), log)
        plain = open_entrance(context, AccessFiles(), log)
        assert (plain.door, dict(plain.facts)) == (None, {})
    assert (path.stat().st_mode & 0o777, check_public_key(public)) == (0o400, public)
    with pytest.raises(UsageError, match="not overwritten"):
        make_server_key(Disk(), tmp_path / "keys")
    path.chmod(0o440)
    with pytest.raises(AppiaError, match="chmod 0400") as refused:
        KeyPair.read(path)
    path.chmod(0o400)
    secret = KeyPair.read(path).secret
    assert secret not in f"{refused.value}{KeyPair.read(path)!r}"


def test_a_key_file_that_holds_no_key_is_not_quoted(tmp_path: Path) -> None:
    """The sentence names the file only."""
    path = tmp_path / "alice.secret"
    path.write_text("my-secret-that-is-no-key")
    path.chmod(0o400)
    with pytest.raises(AppiaError, match="holds no CURVE key") as refused:
        KeyPair.read(path)
    assert "my-secret" not in str(refused.value)


def test_a_key_in_the_place_of_its_file_is_not_repeated() -> None:
    """Whoever puts the key itself into a command or the environment is told, and finds it in no log because of that."""
    with pytest.raises(UsageError, match="by the name of its file") as refused:
        Credentials.of_environment({"APPIA_KEY": "LGxEc:j7x>txuKQ*mQM1d^dyn^%GDJU>OxhEp=St"})
    assert "LGxEc" not in str(refused.value)


def test_who_writes_the_registry_leads_nobody_astray(tmp_path: Path) -> None:
    """A pinned key wins over the registry's; without either nothing is sent beyond this machine."""
    own, pinned, told = KeyPair.new(), KeyPair.new().public, KeyPair.new().public
    ALICE.write(Disk(), tmp_path / "alice.secret")
    file = tmp_path / "server.public"
    file.write_text(f"{pinned}\n")
    for given in (pinned, str(file)):
        read = Credentials.read(tmp_path / "alice.secret", given)
        assert (read.own, read.server_key) == (ALICE, pinned)
    where = "tcp://198.51.100.1:5560"
    secured = Credentials(own, pinned).secured(where, {"public_key": told})
    assert secured is not None
    assert secured.server_key == pinned
    secured = Credentials(own).secured(where, {"public_key": told})
    assert secured is not None
    assert secured.server_key == told
    with pytest.raises(UsageError, match="answers known keys only"):
        Credentials().secured(where, {"public_key": told})
    with pytest.raises(UsageError, match="no CURVE public key"):
        Credentials(own).secured(where, {"public_key": "short\x1b"})
    assert Credentials(own).secured(where, {}) is None
    for beyond in (
        where,
        "tipc://{1000,0}",
        "ipc:///tmp/of-somebody-else",
        "tcp://127.0.0.1.example.com:5560",
    ):
        with zmq.Context() as context, pytest.raises(AppiaError, match="nothing is sent there in plain text"):
            RpcClient(context, beyond)
    for key, server_key, said in (
        (None, pinned, "of no use without a key"),
        (tmp_path / "alice.secret", "nowhere", "neither a CURVE"),
    ):
        with pytest.raises(UsageError, match=said):
            Credentials.read(key, server_key)


def test_limits_hold_behind_the_door_too(serve: Callable[[], Guarded], access_file: Path) -> None:
    """A request of more than 64 KiB is refused with its reason, one of more than a MiB closes the connection."""
    write_access(access_file, table("alice", ALICE.public))
    guarded = serve()
    with closing(guarded.client(ALICE)) as client:
        client.socket.send(b"x" * (65 * 1024))
        assert client.socket.poll(5000)
        assert b"too_large" in client.socket.recv()
        client.socket.send(b"x" * (2 << 20))
        time.sleep(0.1)
        assert client.call("get", {}, 20) == "alice"
    assert guarded.server.entrance.gate.refusals.counts == {}
