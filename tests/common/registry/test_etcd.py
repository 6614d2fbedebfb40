"""What the etcd adapter survives, tried on a real etcd that is killed, frozen and emptied."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from services.common.registry.connect import open_registry
from services.common.registry.etcd import EtcdRegistry
from services.common.registry.etcd_url import EtcdSettings
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.keys import RegistryKeys
from services.common.registry.known import KnownSet
from services.common.registry.port import Entry, Registry, RegistryUnavailable

Waiter = Callable[[Callable[[], bool], float], bool]

TTL_S = 3.0
NOBODY = Path("unused")


def names(registry: Registry) -> list[str]:
    try:
        return [entry.name for entry in registry.entries("rag")]
    except RegistryUnavailable:
        return ["unavailable"]


@pytest.fixture
def registry(own_etcd: Any) -> Registry:
    return open_registry(f"etcd://{own_etcd.hostport}/appia", NOBODY)


@pytest.fixture
def heart(registry: Registry, wait_until: Waiter) -> Iterator[Heartbeat]:
    running = Heartbeat(registry, Entry("rag", "one", "tcp://127.0.0.1:1"), lambda: {"days": 1})
    running.start()
    assert wait_until(lambda: names(registry) == ["one"], 10)
    yield running
    running.stop()


@pytest.mark.parametrize("data", ["same", "empty"])
def test_entries_come_back_by_themselves_after_etcd_was_killed(
    own_etcd: Any, registry: Registry, heart: Heartbeat, wait_until: Waiter, data: str
) -> None:
    own_etcd.kill()
    assert wait_until(lambda: heart.last_error is not None, 10)
    if data == "empty":
        own_etcd.empty()
    time.sleep(TTL_S)
    own_etcd.start()
    returned = time.monotonic()
    assert wait_until(lambda: names(registry) == ["one"], TTL_S)
    assert wait_until(lambda: (heart.last_ok or 0) > returned and heart.last_error is None, TTL_S)
    heart.stop()
    assert names(registry) == []


def test_a_heartbeat_started_while_etcd_is_away_registers_when_it_comes(
    own_etcd: Any, registry: Registry, wait_until: Waiter
) -> None:
    own_etcd.kill()
    heart = Heartbeat(registry, Entry("rag", "early", "tcp://127.0.0.1:1"), dict)
    heart.start()
    assert wait_until(lambda: heart.last_error is not None, 10)
    assert heart.last_ok is None
    own_etcd.start()
    assert wait_until(lambda: names(registry) == ["early"], 10)
    heart.stop()


def test_a_heartbeat_stops_quietly_while_etcd_is_away(own_etcd: Any, heart: Heartbeat) -> None:
    own_etcd.kill()
    heart.stop()
    assert heart.last_error is not None


def test_a_heartbeat_puts_a_deleted_key_back(
    own_etcd: Any, registry: Registry, heart: Heartbeat, wait_until: Waiter
) -> None:
    etcd_post(own_etcd, "kv/deleterange", {"key": "AA==", "range_end": "AA=="})
    assert names(registry) == []
    before = heart.last_ok
    assert wait_until(lambda: heart.last_ok != before, 10)
    assert names(registry) == ["one"]


def test_a_heartbeat_with_the_same_facts_makes_no_new_revision(own_etcd: Any, registry: Registry) -> None:
    registration = registry.register(Entry("rag", "one", "tcp://x:1", {"days": 1}), TTL_S)
    before = revision(own_etcd)
    registration.heartbeat({"days": 1})
    assert revision(own_etcd) == before
    registration.heartbeat({"days": 2})
    assert revision(own_etcd) == before + 1


def test_clients_keep_what_they_knew_while_etcd_is_away_and_while_it_is_empty(
    own_etcd: Any, registry: Registry, heart: Heartbeat, wait_until: Waiter
) -> None:
    known = KnownSet(registry, "rag")
    known.start()
    assert wait_until(lambda: len(known.entries()) == 1, 10)
    own_etcd.kill()
    assert wait_until(lambda: known.last_error is not None, 10)
    assert len(known.entries()) == 1
    own_etcd.empty()
    own_etcd.start()
    last_ok = heart.last_ok
    seen: set[int] = set()
    assert wait_until(lambda: seen.add(len(known.entries())) or heart.last_ok != last_ok, 10)
    assert seen == {1}
    known.stop()


def test_a_frozen_etcd_blocks_no_call_much_longer_than_the_timeout(own_etcd: Any) -> None:
    registry = EtcdRegistry(
        EtcdSettings((("127.0.0.1", own_etcd.port),), "appia", timeout_s=0.5), RegistryKeys()
    )
    registration = registry.register(Entry("rag", "one", "tcp://x:1"), TTL_S)
    own_etcd.freeze()
    for call in (lambda: registry.entries("rag"), lambda: registration.heartbeat({}), registration.withdraw):
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable, match=r"did not answer within 0\.5 s"):
            call()
        assert time.monotonic() - began < 2


def test_a_call_turns_to_the_endpoint_that_answers(shared_etcd: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refusing = socket.create_server(("127.0.0.1", 0))
        closed_port = refusing.getsockname()[1]
        refusing.close()
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{closed_port},{shared_etcd.hostport}"
        registry = open_registry(f"etcd://{hosts}/failover", NOBODY)
        registry.register(Entry("rag", "one", "tcp://x:1"), TTL_S)
        assert names(registry) == ["one"]


def test_the_error_names_every_endpoint_that_failed() -> None:
    registry = open_registry("etcd://127.0.0.1:1,127.0.0.1:2/appia", NOBODY)
    with pytest.raises(RegistryUnavailable, match=r":1 could not be connected to; 127\.0\.0\.1:2 could"):
        registry.entries("rag")


def test_foreign_keys_below_the_prefix_are_left_out(own_etcd: Any, registry: Registry) -> None:
    lease = etcd_post(own_etcd, "lease/grant", {"TTL": 60, "ID": 0})["ID"]
    registry.register(Entry("rag", "good", "tcp://x:1"), TTL_S)
    sound = '{"version": 1, "address": "tcp://x:1", "info": {}, "ttl_s": 3}'
    bad = ["", "{", "[]", "7", sound.replace("1,", "2,"), sound.replace("3", "-3"), sound.replace("3", '"3"')]
    bad += [sound.replace("{}", '{"a": [1]}'), sound.replace("tcp://x:1", ""), "x" * 70000]
    for index, value in enumerate(bad):
        put(own_etcd, f"appia/rag/bad{index}", value, lease)
    put(own_etcd, "appia/rag/a/b", sound, lease)
    put(own_etcd, "appia/rag/no-lease", sound, "0")
    put(own_etcd, "appia/rag/by-hand", sound, lease)
    assert names(registry) == ["by-hand", "good"]


class _Confusing(http.server.BaseHTTPRequestHandler):
    body: ClassVar[bytes] = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"", b"7", b'{"kvs": 7}', b'{"kvs": [{}]}', b'{"kvs": ["x"]}'],
)
def test_a_server_that_is_no_etcd_is_an_unavailable_registry(body: bytes) -> None:
    handler = type("Handler", (_Confusing,), {"body": body})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        registry = open_registry(f"etcd://127.0.0.1:{server.server_port}/appia", NOBODY)
        try:
            with pytest.raises(RegistryUnavailable, match="No etcd answered"):
                registry.entries("rag")
        finally:
            server.shutdown()
            thread.join()


def test_a_proxy_in_the_environment_is_not_asked(shared_etcd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    assert names(open_registry(f"etcd://{shared_etcd.hostport}/proxied", NOBODY)) == []


def etcd_post(server: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"http://{server.hostport}/v3/{path}", json=body, timeout=5)
        answer.raise_for_status()
        return dict(answer.json())


def put(server: Any, key: str, value: str, lease: str) -> None:
    encoded = {
        "key": base64.b64encode(key.encode()).decode(),
        "value": base64.b64encode(value.encode()).decode(),
    }
    etcd_post(server, "kv/put", {**encoded, "lease": lease})


def revision(server: Any) -> int:
    return int(etcd_post(server, "kv/range", {"key": "AA=="})["header"]["revision"])
