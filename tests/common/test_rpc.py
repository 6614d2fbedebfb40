"""Requests and replies over real sockets: answered whatever they hold, and none disturbs another."""

from __future__ import annotations

import io
import json
import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import AppiaError, UsageError
from services.common.logs import make_logger
from services.common.rpc import (
    MAX_REQUEST,
    NotFound,
    Request,
    RequestError,
    check_endpoint,
    pack_request,
    pack_result,
    request_id_of,
    unpack_request,
)
from services.common.rpc_client import RpcClient, RpcRefused, RpcTimeout, RpcUnreachable
from services.common.rpc_server import RpcServer, RpcSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.rpc import Deadline

Context = zmq.Context[zmq.Socket[bytes]]


class Service:
    """Handlers that do what a request says, and a way to hold one of them."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)

    def handlers(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("echo", "hold", "fail", "big", "late")}

    def echo(self, args: dict[str, Any], _deadline: Deadline) -> object:
        return args

    def hold(self, _args: dict[str, Any], _deadline: Deadline) -> object:
        self.entered.release()
        self.release.wait(30)
        return "released"

    def fail(self, args: dict[str, Any], _deadline: Deadline) -> object:
        kinds = {"usage": UsageError, "appia": AppiaError, "absent": NotFound, "bug": ZeroDivisionError}
        raise kinds[args["how"]]("because\x1b[2J")

    def big(self, args: dict[str, Any], _deadline: Deadline) -> object:
        return b"x" * args["size"]

    def late(self, _args: dict[str, Any], deadline: Deadline) -> object:
        while True:
            deadline.check()


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as made:
        yield made


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def server(context: Context, service: Service, log: io.StringIO) -> Iterator[RpcServer]:
    made = RpcServer(
        context,
        RpcSettings("tcp://127.0.0.1:*", workers=2, waiting_limit=4),
        service.handlers(),
        make_logger("test", log),
    )
    made.start()
    yield made
    service.release.set()
    made.stop()


@pytest.fixture
def client(context: Context, server: RpcServer) -> Iterator[RpcClient]:
    made = RpcClient(context, server.endpoint)
    yield made
    made.close()


def _raw(context: Context, endpoint: str, *parts: bytes, kind: int = zmq.DEALER) -> dict[str, Any]:
    with context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.send_multipart(parts)
        assert socket.poll(5000), "no answer came"
        return msgpack.unpackb(socket.recv_multipart()[-1])


def test_a_server_stops_when_the_process_has_no_file_handle_left(context: Context, log: io.StringIO) -> None:
    """Whoever opens connections until there are none left does not leave a process behind that cannot end."""
    made = RpcServer(context, RpcSettings("tcp://127.0.0.1:*"), {}, make_logger("test", log))
    made.start()
    taken: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 64, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        made.stop()
    finally:
        for handle in taken:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert made._socket.closed


def test_an_answer_comes_back(client: RpcClient) -> None:
    """What a handler returns arrives unchanged, and the endpoint tells the port that was found."""
    assert client.endpoint.startswith("tcp://127.0.0.1:")
    assert client.call("echo", {"a": [1, 2.5, "drei", None, b"\x00"]}, 5) == {
        "a": [1, 2.5, "drei", None, b"\x00"]
    }


def test_a_req_socket_is_served(context: Context, server: RpcServer) -> None:
    """A plain REQ socket, with its empty part, gets its answer too."""
    assert _raw(context, server.endpoint, pack_request(Request("x", "echo")), kind=zmq.REQ) == {
        "id": "x",
        "ok": True,
        "result": {},
    }


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("usage", "usage", "because"),
        ("appia", "unavailable", "because"),
        ("absent", "not_found", "because"),
        ("bug", "internal", "reference"),
    ],
)
def test_errors_become_codes_and_sentences(client: RpcClient, how: str, code: str, message: str) -> None:
    """Each kind of error has its code, and the service answers on."""
    with pytest.raises(RpcRefused, match=message) as refused:
        client.call("fail", {"how": how}, 5)
    assert refused.value.code == code
    assert client.call("echo", {}, 5) == {}


def test_a_bug_is_logged_under_its_reference(client: RpcClient, log: io.StringIO) -> None:
    """An unexpected error's traceback is in the log under the reference that the caller got."""
    with pytest.raises(RpcRefused) as refused:
        client.call("fail", {"how": "bug"}, 5)
    entry = json.loads(log.getvalue())
    assert entry["reference"] in str(refused.value)
    assert "ZeroDivisionError" in entry["exception"]
    assert "\x1b" not in log.getvalue()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x91" * 5000, "not msgpack"),
        (msgpack.packb([1, 2]), "must be a map"),
        (msgpack.packb({}), "v = 1"),
        (msgpack.packb({"v": True, "id": 1, "op": "echo"}), "v = 1"),
        (msgpack.packb({"v": 2, "id": 1, "op": "echo"}), "v = 1"),
        (msgpack.packb({"v": 1, "id": [1], "op": "echo"}), "id must"),
        (msgpack.packb({"v": 1, "id": "x" * 65, "op": "echo"}), "id must"),
        (msgpack.packb({"v": 1, "id": 1, "op": 7}), "op must"),
        (msgpack.packb({"v": 1, "id": 1, "op": "e" * 65}), "op must"),
        (msgpack.packb({"v": 1, "id": 1, "op": "echo", "args": []}), "args must"),
        (msgpack.packb({"v": 1, "id": 1, "op": "echo", "args": {1: 2}}), "args must"),
        (msgpack.packb({"v": 1, "id": 1, "op": "echo", "deadline_ms": 0}), "deadline_ms must"),
        (msgpack.packb({"v": 1, "id": 1, "op": "echo", "deadline_ms": 1.5}), "deadline_ms must"),
        (msgpack.packb({"v": 1, "id": 1, "op": "nothing"}), "there are: big, echo"),
    ],
)
def test_malformed_requests_are_refused(context: Context, server: RpcServer, raw: bytes, said: str) -> None:
    """Every way to be malformed gets the code "usage" and a sentence that says which."""
    reply = _raw(context, server.endpoint, raw)
    assert reply["ok"] is False
    assert reply["error"]["code"] == "usage"
    assert said in reply["error"]["message"]


def test_several_parts_are_refused(context: Context, server: RpcServer) -> None:
    """A request in several message parts is refused and not mixed up."""
    assert _raw(context, server.endpoint, b"a", b"b", b"c", b"d")["error"]["code"] == "usage"


def test_a_large_request_is_refused_with_its_size(context: Context, server: RpcServer) -> None:
    """More than 64 KiB is refused as too_large; the limit itself is not."""
    assert _raw(context, server.endpoint, b"\x00" * (MAX_REQUEST + 1))["error"]["code"] == "too_large"
    assert _raw(context, server.endpoint, b"\x00" * MAX_REQUEST)["error"]["code"] == "usage"


def test_a_huge_request_ends_only_its_own_connection(
    context: Context, server: RpcServer, client: RpcClient
) -> None:
    """A part beyond what the socket takes closes that connection; others are served."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        socket.send(b"\x00" * (4 << 20))
        assert client.call("echo", {"n": 1}, 5) == {"n": 1}
        assert not socket.poll(100)


def test_an_answer_that_is_too_large_is_an_error(client: RpcClient) -> None:
    """An answer over the limit becomes an error that says so."""
    with pytest.raises(RpcRefused, match="ask for fewer") as refused:
        client.call("big", {"size": 9 << 20}, 10)
    assert refused.value.code == "too_large"
    assert len(client.call("big", {"size": 7 << 20}, 10)) == 7 << 20


def test_a_slow_request_does_not_hold_up_others(
    context: Context, server: RpcServer, service: Service, client: RpcClient
) -> None:
    """While one worker is held, the other answers."""
    with ThreadPoolExecutor(1) as pool:
        other = RpcClient(context, server.endpoint)
        slow = pool.submit(other.call, "hold", {}, 30)
        assert service.entered.acquire(timeout=5)
        assert [client.call("echo", {"i": i}, 5) for i in range(20)] == [{"i": i} for i in range(20)]
        service.release.set()
        assert slow.result() == "released"
        other.close()


def test_a_full_queue_says_so(context: Context, server: RpcServer, service: Service) -> None:
    """With all workers held and the queue full, the next request is answered "busy" at once."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        for i in range(2):
            socket.send(pack_request(Request(i, "hold")))
            assert service.entered.acquire(timeout=5)
        for i in range(2, 7):
            socket.send(pack_request(Request(i, "echo")))
        assert socket.poll(5000)
        refusal = msgpack.unpackb(socket.recv())
        assert (refusal["id"], refusal["error"]["code"]) == (6, "busy")
        assert refusal["error"]["message"].startswith("The service is busy: 4 requests are waiting already")
        service.release.set()
        answered = {msgpack.unpackb(socket.recv())["id"] for _ in range(6) if socket.poll(5000)}
        assert answered == {0, 1, 2, 3, 4, 5}


def test_how_many_may_wait_can_change(context: Context, server: RpcServer, service: Service) -> None:
    """With a lower limit those that wait stay, and the next one is refused; with a higher one more may wait."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        for i in range(2):
            socket.send(pack_request(Request(i, "hold")))
            assert service.entered.acquire(timeout=5)
        server.limit_waiting(1)
        for i in range(2, 4):
            socket.send(pack_request(Request(i, "echo")))
        assert socket.poll(5000)
        assert msgpack.unpackb(socket.recv())["error"]["code"] == "busy"
        server.limit_waiting(3)
        for i in range(4, 6):
            socket.send(pack_request(Request(i, "echo")))
        service.release.set()
        answers = [msgpack.unpackb(socket.recv()) for _ in range(5) if socket.poll(5000)]
        assert {answer["id"] for answer in answers if answer["ok"]} == {0, 1, 2, 4, 5}


def test_a_deadline_ends_a_request(context: Context, server: RpcServer) -> None:
    """A handler that checks its deadline stops, and the answer says why."""
    reply = _raw(context, server.endpoint, pack_request(Request(1, "late", deadline_ms=20)))
    assert reply["error"]["code"] == "deadline"


def test_a_timeout_leaves_the_client_usable(client: RpcClient, service: Service) -> None:
    """After a timeout the same client asks on, and the late answer is not taken for the next one."""
    with pytest.raises(RpcTimeout, match="did not answer 'hold' within"):
        client.call("hold", {}, 0.05)
    service.release.set()
    assert client.call("echo", {"now": True}, 5) == {"now": True}


def test_stopping_answers_what_was_taken(
    context: Context, server: RpcServer, service: Service, client: RpcClient
) -> None:
    """Requests taken before the stop get their answers, later ones find nobody."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(server.endpoint)
        socket.send(pack_request(Request(1, "hold")))
        assert service.entered.acquire(timeout=5)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        service.release.set()
        assert socket.poll(5000)
        assert msgpack.unpackb(socket.recv())["result"] == "released"
        stopping.join(10)
        assert not stopping.is_alive()
    with pytest.raises(RpcUnreachable, match="cannot be reached"):
        client.call("echo", {}, 5)


def test_nobody_listening_is_told_at_once(context: Context) -> None:
    """A closed port is an error within the connection attempt, not after the whole timeout."""
    client = RpcClient(context, "tcp://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(RpcUnreachable, match="cannot be reached"):
        client.call("echo", {}, 30)
    assert time.monotonic() - started < 15
    client.close()


def test_a_port_in_use_is_one_sentence(context: Context, server: RpcServer, service: Service) -> None:
    """Binding to a port that is taken names the endpoint and what to do."""
    with pytest.raises(AppiaError, match=r"cannot be bound .*choose another"):
        RpcServer(context, RpcSettings(server.endpoint), service.handlers(), make_logger("test"))


def test_a_server_that_was_never_started_stops(context: Context, service: Service) -> None:
    """Stopping without a start frees the port."""
    made = RpcServer(context, RpcSettings("tcp://127.0.0.1:*"), service.handlers(), make_logger("test"))
    made.stop()
    until = time.monotonic() + 10
    while True:  # the system frees the port in the background
        try:
            RpcServer(context, RpcSettings(made.endpoint), service.handlers(), make_logger("test")).stop()
        except AppiaError:
            assert time.monotonic() < until
        else:
            break


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:5560", "tcp://192.168.1.5:5560", "tcp://*:5560", "tcp://127.evil.example:1"]
)
def test_plain_text_stays_on_loopback(endpoint: str) -> None:
    """Binding elsewhere than loopback needs a setting that says so."""
    with pytest.raises(UsageError, match="server_key"):
        check_endpoint(endpoint, encrypted=False)
    check_endpoint(endpoint, encrypted=True)


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:5560", "udp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:70000", "ipc://x"],
)
def test_a_malformed_endpoint_is_refused(endpoint: str) -> None:
    """What is no tcp://HOST:PORT is refused with the form it should have."""
    with pytest.raises(UsageError, match="tcp://HOST:PORT"):
        check_endpoint(endpoint, encrypted=True)


def test_loopback_needs_no_setting() -> None:
    """The loopback addresses of both families and a free port are fine."""
    for endpoint in ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "tcp://[::1]:5560", "tcp://localhost:5560"):
        check_endpoint(endpoint, encrypted=False)


def test_a_request_that_cannot_be_written_is_refused_before_it_is_sent() -> None:
    """Arguments without a msgpack form, or too many, raise where they were made."""
    with pytest.raises(UsageError, match="cannot be written"):
        pack_request(Request(1, "echo", {"a": object()}))
    with pytest.raises(UsageError, match="at most 65536"):
        pack_request(Request(1, "echo", {"a": "x" * MAX_REQUEST}))


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_a_request_or_an_error(raw: bytes) -> None:
    """Reading a request gives a request or a RequestError, never anything else."""
    try:
        request = unpack_request(raw)
    except RequestError:
        return
    assert request_id_of(raw) == request.id


def test_a_storm_of_malformed_requests_disturbs_nobody(
    context: Context, server: RpcServer, client: RpcClient
) -> None:
    """While several senders pour in garbage, every sound request is answered."""
    done = threading.Event()

    def storm(seed: int) -> None:
        with context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDTIMEO, 50)
            socket.connect(server.endpoint)
            garbage = [
                b"",
                b"\xc1",
                bytes([seed]) * 70_000,
                msgpack.packb({"v": 1, "id": seed}),
                b"\xdf" * 50,
            ]
            while not done.is_set():
                for raw in garbage:
                    try:
                        socket.send(raw)
                    except zmq.Again:
                        break
                while socket.poll(0):
                    socket.recv()

    threads = [threading.Thread(target=storm, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for i in range(200):
            assert client.call("echo", {"i": i}, 10) == {"i": i}
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_result_keeps_its_id() -> None:
    """The id of the request comes back with the answer."""
    assert msgpack.unpackb(pack_result("abc", 7)) == {"id": "abc", "ok": True, "result": 7}


def test_a_text_that_is_not_utf8_is_refused_by_its_id(context: Context, server: RpcServer) -> None:
    """Invalid UTF-8 in raw msgpack, half a surrogate pair as well, is refused in one sentence that finds its way."""
    for text in (b"\xff\xfe", b"\xed\xa0\x80"):
        raw = pack_request(Request(9, "echo", {"text": "?" * len(text)})).replace(b"?" * len(text), text)
        reply = _raw(context, server.endpoint, raw)
        assert reply["id"] == 9
        assert reply["error"] == {"code": "usage", "message": "A text in the request is not valid UTF-8."}


def test_slow_operations_have_workers_of_their_own(context: Context, service: Service) -> None:
    """With more slow requests than may be answered, quick ones are; all slow ones are answered in the end."""
    settings = RpcSettings("tcp://127.0.0.1:*", workers=1, slow=frozenset({"hold"}), slow_workers=1)
    made = RpcServer(context, settings, service.handlers(), make_logger("test"))
    made.start()
    try:
        with context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(made.endpoint)
            for i in range(3):
                socket.send(pack_request(Request(i, "hold")))
            assert service.entered.acquire(timeout=5)
            for i in range(3, 6):
                socket.send(pack_request(Request(i, "echo")))
                assert socket.poll(5000)
                assert msgpack.unpackb(socket.recv())["id"] == i
            service.release.set()
            answered = [msgpack.unpackb(socket.recv())["id"] for _ in range(3) if socket.poll(5000)]
            assert answered == [0, 1, 2]
    finally:
        made.stop()


def test_requests_are_counted_as_measures(server: RpcServer, client: RpcClient, service: Service) -> None:
    """By operation and outcome; names that others make up are one, and those that are turned away are counted too."""
    for op, args in (("echo", {}), ("echo", {}), ("fail", {"how": "usage"}), ("fail", {"how": "bug"})):
        with suppress(RpcRefused):
            client.call(op, args, 20)
    for number in range(3):
        with pytest.raises(RpcRefused):
            client.call(f"made up {number}", {}, 20)
    outcomes = {
        sample.labels: sample.value
        for sample in server.source().read()
        if sample.metric.name == "appia_requests_total"
    }
    assert outcomes == {
        ("echo", "ok"): 2,
        ("fail", "usage"): 1,
        ("fail", "internal"): 1,
        ("(unknown)", "usage"): 3,
    }
    assert not service.release.is_set()


def test_a_server_that_rests_is_not_stuck(server: RpcServer, client: RpcClient) -> None:
    """Its socket's thread goes round though nobody asks; with a server that has stopped nothing is expected."""
    assert client.call("echo", {"a": 1}, 20) == {"a": 1}
    last = dict(server._beats._last)
    until = time.monotonic() + 20
    while server._beats._last == last:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert server.stuck() == ""
    server.stop()
    assert server._beats._last == {}
