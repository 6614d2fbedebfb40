"""Who gets in at the socket, shown with raw ZeroMQ sockets: a handshake that fails sends nothing through."""

from __future__ import annotations

import json
import socket as plain_sockets
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from services.common.access.curve import KeyPair
from services.common.access.door import ZAP_ENDPOINT
from services.common.rpc import Request, pack_request
from services.common.rpc_client import RpcClient, RpcNoHandshake, RpcRefused, RpcUnreachable
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.common.access.conftest import Guarded

GET = pack_request(Request(1, "get"))


def _answer(guarded: Guarded, options: Mapping[zmq.SocketOption, int | bytes], wait_ms: int = 700) -> Any:
    """What a raw DEALER with these options is answered; None where nothing comes."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        for option, value in options.items():
            socket.setsockopt(option, value)
        socket.connect(guarded.server.endpoint)
        socket.send(GET)
        return msgpack.unpackb(socket.recv()) if socket.poll(wait_ms) else None


def _curve(pair: KeyPair, server_key: str) -> dict[zmq.SocketOption, int | bytes]:
    return {
        zmq.CURVE_SERVERKEY: server_key.encode(),
        zmq.CURVE_PUBLICKEY: pair.public.encode(),
        zmq.CURVE_SECRETKEY: pair.secret.encode(),
    }


def _logged(guarded: Guarded) -> list[dict[str, Any]]:
    return [json.loads(line) for line in guarded.log.getvalue().splitlines()]


def test_a_known_key_is_answered(serve: Callable[[], Guarded], pair: KeyPair) -> None:
    """The key of the access file gets in, and the handler learns its name."""
    guarded = serve()
    write_access(guarded.access, table("alice", pair.public))
    time.sleep(1.05)
    assert _answer(guarded, _curve(pair, guarded.public_key), 5000)["result"] == "alice"


@pytest.mark.parametrize("who", ["unknown", "revoked"])
def test_another_key_does_not_get_in(
    serve: Callable[[], Guarded], pair: KeyPair, access_file: Any, who: str
) -> None:
    """A key that is not in the file, or is revoked there, is refused at the handshake, counted and logged."""
    other = (
        table("old", pair.public, revoked=True) if who == "revoked" else table("new", KeyPair.new().public)
    )
    write_access(access_file, other)
    guarded = serve()
    assert _answer(guarded, _curve(pair, guarded.public_key)) is None
    assert not guarded.asked
    (line, *_) = _logged(guarded)
    assert (line["event"], line["reason"], line["key"]) == ("refused", f"{who}_key", pair.public)
    assert pair.secret not in guarded.log.getvalue()


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("no key", {}),
        ("a user and a password", {zmq.PLAIN_USERNAME: b"alice", zmq.PLAIN_PASSWORD: b"alice"}),
        ("the wrong server key", None),
    ],
)
def test_other_handshakes_do_not_get_in(
    serve: Callable[[], Guarded], pair: KeyPair, access_file: Any, how: str, options: Any
) -> None:
    """Neither without a key, nor by another mechanism, nor by a key pair that does not know the server's."""
    write_access(access_file, table("alice", pair.public))
    guarded = serve()
    given = _curve(pair, KeyPair.new().public) if options is None else options
    assert _answer(guarded, given) is None, how
    assert not guarded.asked
    assert {line["reason"] for line in _logged(guarded)} == {"handshake"}, "it is counted"


def test_a_dead_handler_lets_nobody_in(serve: Callable[[], Guarded], pair: KeyPair, access_file: Any) -> None:
    """Without its ZAP handler libzmq would let any key in; here nobody gets in, a known key neither."""
    write_access(access_file, table("alice", pair.public))
    guarded = serve()
    door: Any = guarded.server.entrance.door
    assert _answer(guarded, _curve(pair, guarded.public_key), 5000) is not None
    door._zap.unbind(ZAP_ENDPOINT)
    asked = len(guarded.asked)
    for known in (pair, KeyPair.new()):
        assert _answer(guarded, _curve(known, guarded.public_key)) is None
    assert len(guarded.asked) == asked


def test_the_handler_is_what_keeps_keys_out(pair: KeyPair) -> None:
    """What libzmq does without the option and a handler: CURVE with a domain lets any key in."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.REP) as server, context.socket(zmq.REQ) as client:
        for socket in (server, client):
            socket.setsockopt(zmq.LINGER, 0)
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, secret)
        server.setsockopt(zmq.ZAP_DOMAIN, b"appia.query")
        port = server.bind_to_random_port("tcp://127.0.0.1")
        for option, value in _curve(pair, public.decode()).items():
            client.setsockopt(option, value)
        client.connect(f"tcp://127.0.0.1:{port}")
        client.send(b"hello")
        assert server.poll(5000), "if libzmq has become stricter, the words in door.py can be dropped"
        assert server.recv() == b"hello"


def test_a_client_that_says_nothing_is_dropped(serve: Callable[[], Guarded]) -> None:
    """A connection that does not finish its handshake is closed after three seconds."""
    guarded = serve()
    port = int(guarded.server.endpoint.rpartition(":")[2])
    with closing(plain_sockets.create_connection(("127.0.0.1", port))) as connection:
        connection.settimeout(8)
        started = time.monotonic()
        while connection.recv(64):
            pass
        assert 2 < time.monotonic() - started < 6


def test_the_client_is_told_why(serve: Callable[[], Guarded], pair: KeyPair, access_file: Any) -> None:
    """An unknown key and a wrong server key are different sentences, and neither waits for the time to pass."""
    write_access(access_file, table("alice", pair.public))
    guarded = serve()
    other = KeyPair.new()
    with (
        closing(guarded.client(other)) as client,
        pytest.raises(RpcRefused, match="does not know the key") as told,
    ):
        client.call("get", {}, 20)
    assert (told.value.code, other.public in str(told.value)) == ("forbidden", True)
    with (
        closing(guarded.client(pair, KeyPair.new().public)) as client,
        pytest.raises(RpcUnreachable, match="its public key is the one given"),
    ):
        client.call("get", {}, 20)
    with closing(guarded.client(pair)) as client:
        assert client.call("get", {}, 20) == "alice"


def test_a_client_that_was_refused_does_not_knock_on(
    serve: Callable[[], Guarded], pair: KeyPair, access_file: Any
) -> None:
    """It knocks again when it is asked to, and not ten times a second as libzmq does by itself."""
    write_access(access_file, table("alice", pair.public))
    guarded = serve()
    door: Any = guarded.server.entrance.door
    with (
        closing(RpcClient(guarded.context, guarded.server.endpoint)) as plain,
        closing(guarded.client(pair, KeyPair.new().public)) as astray,
    ):
        for client in (plain, astray):
            for _ in range(2):
                with pytest.raises(RpcNoHandshake):
                    client.call("get", {}, 20)
        time.sleep(0.5)
        knocked = door._refusals.counts["handshake"]
        time.sleep(1.0)
        assert door._refusals.counts["handshake"] == knocked


def test_a_revoked_key_loses_its_open_connection(
    serve: Callable[[], Guarded], pair: KeyPair, access_file: Any
) -> None:
    """Rights are looked up for each request: what the file says a second ago counts, not what it said at first."""
    write_access(access_file, table("alice", pair.public))
    guarded = serve()
    with closing(guarded.client(pair)) as client:
        assert client.call("get", {}, 20) == "alice"
        write_access(access_file, table("alice", pair.public, operations=["list"]))
        time.sleep(1.05)
        with pytest.raises(RpcRefused, match="no right to 'get'; it has: list"):
            client.call("get", {}, 20)
        assert client.call("list", {}, 20) == "alice"
        write_access(access_file, table("alice", pair.public, revoked=True))
        time.sleep(1.05)
        for op in ("list", "ping"):
            with pytest.raises(RpcRefused, match="not known any more"):
                client.call(op, {}, 20)
    assert {line.get("reason") for line in _logged(guarded)} >= {"operation", "revoked_key"}
