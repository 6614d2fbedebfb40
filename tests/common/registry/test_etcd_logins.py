"""A login costs etcd far more than a request: a service logs in when it has to, and not because one member is slow."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from services.common.registry.etcd_client import EtcdClient
from services.common.registry.etcd_url import parse_etcd_url
from services.common.registry.keys import Login, RegistryKeys
from services.common.registry.port import RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = RegistryKeys(login=Login("appia", "a-password"))


class FakeEtcd(ThreadingHTTPServer):
    """Gives tokens, and answers or keeps silent to whoever shows one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.logins = 0
        self.answers = True
        self.over = threading.Event()

    @property
    def hostport(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeEtcd

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/auth/authenticate"):
            self.server.logins += 1
            self._say({"token": f"token-{self.server.logins}"})
        elif self.server.answers:
            self._say({"header": {"revision": "1"}, "ID": "7", "TTL": "3"})
        else:
            self.server.over.wait(10)

    def _say(self, answer: dict[str, str | dict[str, str]]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def etcd() -> Iterator[FakeEtcd]:
    with FakeEtcd() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """A member that the network lost: it takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def client_of(*members: str) -> EtcdClient:
    settings = parse_etcd_url(f"etcd://{','.join(members)}/appia")
    return EtcdClient(replace(settings, timeout_s=1.0), KEYS)


def test_one_login_does_for_all_members_also_where_one_of_them_is_silent(etcd: FakeEtcd, silent: str) -> None:
    client = client_of(etcd.hostport, silent)
    assert client.grant(3) == 7
    client._preferred = 1  # as after a time in which the other one answered
    assert client.grant(3) == 7
    assert client._preferred == 0
    assert client.grant(3) == 7
    assert etcd.logins == 1


def test_a_token_that_nobody_answers_to_is_given_up_because_the_data_it_belongs_to_may_be_lost(
    etcd: FakeEtcd,
) -> None:
    client = client_of(etcd.hostport)
    client.grant(3)
    etcd.answers = False
    with pytest.raises(RegistryUnavailable, match="did not answer within"):
        client.grant(3)
    etcd.answers = True
    client.grant(3)
    assert etcd.logins == 2
