"""The pages are for this machine, tell the truth, and nobody who is slow or rude keeps others from them."""

from __future__ import annotations

import io
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import AppiaError, UsageError
from services.common.logs import make_logger
from services.common.observing.condition import Configured, Readiness
from services.common.observing.observed import Observing
from services.common.observing.probe_server import (
    PATIENCE_S,
    THREADS,
    Answer,
    ProbeServer,
    _read_head,
    check_place,
)
from services.common.observing.systemd import ALONE
from tests.common.observing.conftest import get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Open = Callable[..., ProbeServer]

LOOPBACK = "127.0.0.1:0"


@pytest.fixture
def opened() -> Iterator[Open]:
    """Servers that are stopped at the end."""
    servers: list[ProbeServer] = []

    def make(pages: dict[str, Any], place: str = LOOPBACK, log: io.StringIO | None = None) -> ProbeServer:
        servers.append(ProbeServer(place, pages, make_logger("test", log or io.StringIO())))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def test_the_pages_of_a_service_tell_the_truth(service: Any) -> None:
    """/healthz and /readyz change with the service, at once and with its sentence, and the metrics say the same."""
    observing = Observing(LOOPBACK, service.condition, (), ALONE, make_logger("test", io.StringIO()))
    observing.start()
    try:
        place = observing.place
        assert get(place, "/healthz") == (200, "It works.\n")
        assert get(place, "/readyz") == (200, "It is ready.\n")
        service.readiness = Readiness(ready=False, why="It is starting.")
        service.stuck = "No step was made by: the intake for 130 s."
        service.configured = Configured(7, "weight_attack is too large")
        assert get(place, "/readyz") == (503, "It is starting.\n")
        assert get(place, "/healthz") == (503, f"{service.stuck}\n")
        status, text = get(place, "/metrics")
        assert status == 200
        for line in (
            'appia_build_info{name="toy-1",service="toy",version="1.2"} 1.0',
            "appia_ready 0.0",
            "appia_working 0.0",
            "appia_config_revision 7.0",
            "appia_config_refused 1.0",
        ):
            assert line in text.splitlines()
    finally:
        observing.stop()
    with pytest.raises(OSError):  # noqa: PT011 - nobody listens, whatever the system calls it
        get(place, "/healthz")


def test_a_service_that_is_observed_nowhere(service: Any) -> None:
    """An empty place opens no socket."""
    observing = Observing("", service.condition, (), ALONE, make_logger("test", io.StringIO()))
    observing.start()
    assert observing.place == ""
    observing.stop()


@pytest.mark.parametrize("place", ["127.0.0.1:0", "127.9.9.9:0", "localhost:0", "[::1]:0"])
def test_places_on_loopback(opened: Open, place: str) -> None:
    """Every address of loopback will do; what is told can be asked."""
    try:
        server = opened({"/x": lambda: Answer.of(200, "y")}, place)
    except AppiaError as error:
        pytest.skip(f"{place} is not there: {error}")
    assert get(server.place, "/x") == (200, "y\n")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("", "is no place"),
        ("127.0.0.1", "is no place"),
        ("127.0.0.1:99999", "is no place"),
        ("example.net:80", "is no place"),
        ("tcp://127.0.0.1:1", "is no place"),
        ("127.0.0.1:1\n", "is no place"),
        ("0.0.0.0:9464", "is not on loopback"),
        ("192.168.1.5:9464", "is not on loopback"),
        ("[::]:9464", "is not on loopback"),
    ],
)
def test_other_places_are_refused(place: str, sentence: str) -> None:
    """What is no place, or open to others, is named with what is allowed."""
    with pytest.raises(UsageError, match=sentence):
        check_place(place)


def test_a_port_that_is_taken(opened: Open) -> None:
    """The sentence names it."""
    server = opened({})
    with pytest.raises(AppiaError, match=f"{server.place} cannot be bound"):
        opened({}, server.place)


def raw(server: ProbeServer, data: bytes) -> bytes:
    host, _, port = server.place.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET /x?a=b HTTP/1.0\r\nhost: 127.0.0.1:1\r\n\r\n", b"200"),
        (b"HEAD /x HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", b"200"),
        (b"GET /x HTTP/1.1\r\n\r\n", b"403"),
        (b"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"403"),
        (b"GET /../x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nz", b"405"),
        (b"GET /bad HTTP/1.1\r\nHost: localhost\r\n\r\n", b"500"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /x HTTP/1.1\r\nHost: localhost", b"400"),
        (b"\x16\x03\x01" + b"\xff" * 50 + b"\r\n\r\n", b"400"),
        (b"", b"400"),
        (b"GET /x HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"400"),
    ],
)
def test_whatever_comes_is_answered_or_refused(opened: Open, data: bytes, status: bytes) -> None:
    """Good requests have their page, all others a status and a sentence; the server goes on."""
    log = io.StringIO()
    server = opened({"/x": lambda: Answer.of(200, "y"), "/bad": lambda: 1 / 0}, log=log)
    answer = raw(server, data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert (body == b"") == data.startswith(b"HEAD")
    assert ("ZeroDivisionError" in log.getvalue()) == (status == b"500")
    assert b"ZeroDivision" not in answer
    assert get(server.place, "/x") == (200, "y\n")


def test_slow_ones_are_let_go(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections that say nothing than there are threads do not keep others out for longer than the patience."""
    assert PATIENCE_S <= 10
    monkeypatch.setattr("services.common.observing.probe_server.PATIENCE_S", 0.2)
    server = opened({"/x": lambda: Answer.of(200, "y")})
    host, _, port = server.place.rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(THREADS + 2)]
    try:
        silent[0].sendall(b"GET /x HT")
        assert get(server.place, "/x") == (200, "y\n")
    finally:
        for connection in silent:
            connection.close()


def test_who_sends_byte_by_byte_is_let_go_as_well() -> None:
    """However much is still coming, nothing is read when the time is over."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"G")
        with pytest.raises(TimeoutError):
            _read_head(here, time.monotonic() - 0.001)
        assert here.recv(10) == b"G"


def test_many_ask_at_once(opened: Open) -> None:
    """Each of many that ask together has an answer, by no more threads than there are."""
    server = opened({"/x": lambda: Answer.of(200, threading.current_thread().name)})
    names: list[str] = []
    askers = [threading.Thread(target=lambda: names.append(get(server.place, "/x")[1])) for _ in range(12)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(names) == 12
    assert len(set(names)) <= THREADS


def test_a_client_that_goes_away_does_no_harm(opened: Open) -> None:
    """One that hangs up before its answer is forgotten."""
    server = opened({"/x": lambda: Answer(200, b"y" * 5_000_000)})
    host, _, port = server.place.rpartition(":")
    for _ in range(THREADS + 1):
        with closing(socket.create_connection((host, int(port)), timeout=20)) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(10)
    assert get(server.place, "/x")[0] == 200
