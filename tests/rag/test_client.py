"""Real replica processes and the client that asks them: no failed query while one of them lives."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.errors import AppiaError
from services.common.logs import make_logger
from services.common.registry.files import FileRegistry
from services.common.registry.known import KnownSet
from services.common.rpc import Deadline, NotFound, Request, pack_request
from services.common.rpc_client import RpcRefused, RpcTimeout
from services.common.rpc_server import RpcServer, RpcSettings
from services.rag.client import KIND, Client, FixedReplicas, Patience

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.common.registry.port import Entry
    from services.common.rpc_server import Handler

DAY, OPEN = "2026-01-20", "2026-01-22"
Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as made:
        yield made


def _registered(world: Any) -> list[Entry]:
    return FileRegistry(world.state.registry).entries(KIND)


def test_a_replica_serves_registers_and_ends(
    world: Any, start_replica: Any, context: Context, until: Any
) -> None:
    """A replica prints where it listens, answers, is in the registry, and SIGTERM takes it out with status 0."""
    events = world.fill(DAY, 30, sealed=True)
    replica = start_replica(world.state.root)
    ready = replica.ready()
    assert ready["ready"] is True
    assert (ready["service"], ready["name"], ready["pid"]) == ("rag", "rag-1", replica.process.pid)
    until(lambda: len(_registered(world)) == 1)
    (entry,) = _registered(world)
    assert entry.address == ready["endpoint"]
    facts = {name: entry.info[name] for name in ("rows", "newest_generation", "pid", "config_fault")}
    assert facts == {
        "rows": 30,
        "newest_generation": f"{DAY}/1",
        "pid": replica.process.pid,
        "config_fault": "",
    }
    with Client(FixedReplicas([ready["endpoint"]]), context) as client:
        assert len(client.similar(events[0].event_id, k=5, flat=True)["hits"]) == 5
        assert client.get(events[0].event_id)["day"] == DAY
        assert len(client.list(limit=3, order="oldest")["events"]) == 3
        assert client.days()["days"][0]["state"] == "sealed"
        assert client.stats()["rows"] == 30
        assert client.ping()["name"] == "rag-1"
        with pytest.raises(RpcRefused, match="The model semantic@000000000001 is not in"):
            client.search("port scan")
    assert replica.end(signal.SIGTERM) == 0
    assert _registered(world) == []
    assert replica.process.stderr.read() == ""


def test_new_rows_are_answered_without_a_restart(
    world: Any, start_replica: Any, context: Context, until: Any
) -> None:
    """Rows written, and a day sealed, while the replica runs are in its answers."""
    world.fill(OPEN, 10, sealed=False)
    endpoint = start_replica(world.state.root).ready()["endpoint"]
    with Client(FixedReplicas([endpoint]), context) as client:
        assert client.stats()["rows"] == 10
        late = world.make(OPEN, 5)
        world.write(OPEN, late)
        until(lambda: client.stats()["rows"] == 15)
        assert client.similar(late[0].event_id, index="attack")["receipt"]["generations"] == {}
        world.seal(OPEN)
        until(lambda: client.days()["days"][0]["state"] == "sealed")
        assert client.stats()["rows"] == 15
        assert client.similar(late[0].event_id, index="attack")["receipt"]["generations"] == {OPEN: 1}


def test_no_query_fails_while_one_replica_lives(
    world: Any, start_replica: Any, context: Context, until: Any
) -> None:
    """Three replicas under a loop of queries, killed one after the other and started anew: every query is answered."""
    events = world.fill(DAY, 60, sealed=True)
    replicas = {f"rag-{i}": start_replica(world.state.root, f"rag-{i}") for i in range(3)}
    for replica in replicas.values():
        replica.ready()
    until(lambda: len(_registered(world)) == 3)
    known = KnownSet(FileRegistry(world.state.registry), KIND)
    known.refresh()
    known.start()
    failures: list[str] = []
    answered: list[str] = []
    done = threading.Event()

    def loop() -> None:
        rng = random.Random(1)
        with Client(known, context, rng=rng) as client:
            while not done.is_set():
                event = rng.choice(events)
                try:
                    hits = client.similar(event.event_id, k=3, index="attack", flat=True)["hits"]
                    assert len(hits) == 3
                    answered.append(event.event_id)
                except AppiaError as error:
                    failures.append(str(error))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        for name in ("rag-0", "rag-1", "rag-2", "rag-0"):
            before = len(answered)
            replicas[name].end(signal.SIGKILL)
            until(lambda before=before: len(answered) >= before + 50)
            replicas[name] = start_replica(world.state.root, name)
            replicas[name].ready()
    finally:
        done.set()
        thread.join()
        known.stop()
    assert failures == []


def test_a_replica_that_hangs_is_passed_by(world: Any, start_replica: Any, context: Context) -> None:
    """A stopped process neither answers nor closes its connection; another one is asked after the hedge."""
    world.fill(DAY, 20, sealed=True)
    replicas = [start_replica(world.state.root, f"rag-{i}") for i in range(2)]
    endpoints = [replica.ready()["endpoint"] for replica in replicas]
    os.kill(replicas[0].process.pid, signal.SIGSTOP)
    try:
        with Client(FixedReplicas(endpoints), context, Patience(30.0, 10.0, 0.05)) as client:
            assert [client.stats()["rows"] for _ in range(20)] == [20] * 20
    finally:
        os.kill(replicas[0].process.pid, signal.SIGCONT)


def test_an_answer_that_is_cut_short_comes_while_it_is_waited_for(context: Context) -> None:
    """A replica is told how long it is waited for, not how long the question may take in all: it answers by then."""

    def slow(_args: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        while not deadline.is_near:
            time.sleep(0.01)
        return {"partial": True}

    server = RpcServer(context, RpcSettings("tcp://127.0.0.1:*"), {"search": slow}, make_logger("test"))
    server.start()
    try:
        patience = Patience(overall_s=4.0, per_try_s=0.5, hedge_s=0.1)
        with Client(FixedReplicas([server.endpoint]), context, patience) as client:
            began = time.monotonic()
            assert client.search("port scan") == {"partial": True}
            assert time.monotonic() - began < 2
    finally:
        server.stop()


@pytest.mark.parametrize(("overall_s", "told_s"), [(2.0, 2.0), (10.0, 3.0), (60.0, 18.0)])
def test_who_allows_more_time_is_answered_later(context: Context, overall_s: float, told_s: float) -> None:
    """Of a minute one replica may take 18 s; 3 s, or all there are, where less is allowed."""
    handlers = {"search": lambda _, deadline: {"left_s": deadline.at - time.monotonic()}}
    server = RpcServer(context, RpcSettings("tcp://127.0.0.1:*"), handlers, make_logger("test"))
    server.start()
    try:
        with Client(FixedReplicas([server.endpoint]), context, Patience(overall_s=overall_s)) as client:
            assert told_s - 1 < client.search("port scan")["left_s"] <= told_s
    finally:
        server.stop()


def test_a_stopping_replica_finishes_and_the_client_goes_on(
    world: Any, start_replica: Any, context: Context
) -> None:
    """SIGTERM in the middle of a loop of queries loses none of them while another replica is there."""
    world.fill(DAY, 20, sealed=True)
    replicas = [start_replica(world.state.root, f"rag-{i}") for i in range(2)]
    endpoints = [replica.ready()["endpoint"] for replica in replicas]
    with Client(FixedReplicas(endpoints), context) as client:
        for i in range(60):
            if i == 20:
                replicas[0].process.send_signal(signal.SIGTERM)
            assert client.stats()["rows"] == 20
    assert replicas[0].process.wait(30) == 0


def test_garbage_does_not_disturb_a_replica(world: Any, start_replica: Any, context: Context) -> None:
    """While a socket pours in garbage, another client is answered, and the replica's log stays empty."""
    world.fill(DAY, 20, sealed=True)
    replica = start_replica(world.state.root)
    endpoint = replica.ready()["endpoint"]
    with context.socket(zmq.DEALER) as noise, Client(FixedReplicas([endpoint]), context) as client:
        noise.setsockopt(zmq.LINGER, 0)
        noise.connect(endpoint)
        for i in range(100):
            noise.send(bytes([i]) * (i * 700))
            noise.send(pack_request(Request(i, "similar", {"event_id": "\x1b[2J" * i})))
            assert client.stats()["rows"] == 20
    replica.end(signal.SIGTERM)
    assert replica.process.stderr.read() == ""


def test_nobody_there_is_a_sentence(context: Context, world: Any) -> None:
    """Without any replica the client gives up in time and says what to check."""
    patience = Patience(overall_s=0.5)
    registry = FileRegistry(world.state.registry)
    for replicas in (FixedReplicas([]), FixedReplicas(["tcp://127.0.0.1:1"]), KnownSet(registry, KIND)):
        with (
            Client(replicas, context, patience) as client,
            pytest.raises(RpcTimeout, match="No replica answered 'ping'"),
        ):
            client.ping()


def test_a_refusal_is_not_tried_again(world: Any, start_replica: Any, context: Context) -> None:
    """A wrong question is refused once, at once, with its code."""
    world.fill(DAY, 5, sealed=True)
    endpoint = start_replica(world.state.root).ready()["endpoint"]
    with Client(FixedReplicas([endpoint]), context) as client:
        with pytest.raises(RpcRefused, match="no event 'nothing'") as refused:
            client.get("nothing")
        assert refused.value.code == "not_found"
        with pytest.raises(RpcRefused) as refused:
            client.ask("drop", {})
        assert refused.value.code == "usage"


def test_what_one_replica_does_not_know_yet_another_is_asked_for(context: Context) -> None:
    """An event that is new at one replica is found through another, whichever is asked first; a wrong id by none."""

    def knows(known: str) -> Handler:
        def get(args: Mapping[str, Any], _: Deadline) -> dict[str, Any]:
            if args["event_id"] != known:
                raise NotFound(f"There is no event {args['event_id']!r} on any day here.")
            return {"event_id": known}

        return get

    servers = [
        RpcServer(context, RpcSettings("tcp://127.0.0.1:*"), {"get": knows(name)}, make_logger("test"))
        for name in ("old", "new")
    ]
    for server in servers:
        server.start()
    try:
        with Client(FixedReplicas([server.endpoint for server in servers]), context) as client:
            assert [client.get("new") for _ in range(8)] == [{"event_id": "new"}] * 8
            with pytest.raises(RpcRefused, match="no event 'none'") as refused:
                client.get("none")
            assert refused.value.code == "not_found"
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"workers": 0}, 2, "'workers' is 0"),
        ({"colour": 1}, 2, "unknown setting 'colour'"),
        ({"bind": "tcp://0.0.0.0:5560"}, 2, "server_key"),
        ({"bind": "nowhere"}, 2, "tcp://HOST:PORT"),
        ({"registry": "redis://x"}, 2, "is not known"),
        ({"name": "a/b"}, 2, "not valid"),
        ({"server_key": "/nowhere/server.secret"}, 2, "needs the setting access"),
        ({"access": "/nowhere/access.toml"}, 1, "cannot be read"),
    ],
)
def test_a_wrong_start_is_one_line(
    world: Any, start_replica: Any, wrong: dict[str, Any], status: int, said: str
) -> None:
    """A replica that cannot start says why in one line, with the exit status of the error."""
    replica = start_replica(world.state.root, **wrong)
    out, err = replica.process.communicate(timeout=30)
    assert (replica.process.returncode, out) == (status, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_state_directory_that_is_none_is_one_line(tmp_path: Any, start_replica: Any) -> None:
    """A directory without a VERSION file is refused with status 1."""
    replica = start_replica(tmp_path / "nothing")
    out, err = replica.process.communicate(timeout=30)
    assert (replica.process.returncode, out) == (1, "")
    assert err.startswith(f"appia-rag: {tmp_path}/nothing is not a state directory")


def test_faults_are_logged_as_json(world: Any, start_replica: Any) -> None:
    """A day that cannot be read is one JSON line in the log, and the replica serves without it."""
    world.fill(DAY, 5, sealed=True)
    columns = world.state.day(DAY).generation(1).chunk / "columns.bin"
    columns.chmod(0o644)
    columns.write_bytes(b"")
    replica = start_replica(world.state.root)
    replica.ready()
    replica.end(signal.SIGINT)
    entry = json.loads(replica.process.stderr.read().splitlines()[0])
    assert (entry["day"], entry["level"], entry["service"]) == (DAY, "warning", "rag")
