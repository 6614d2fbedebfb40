"""A service that lies, floods or babbles: health goes on watching all the others, and tells what it is told of them."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import structlog
import zmq

from services.common.access.credentials import Credentials
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.registry.port import Entry
from services.health.executor import Executor
from services.health.memory import NAME, Audit, KnownService, Memory
from services.health.observation import Observation, Service
from services.health.observer import Eyes, Observer, Watched
from services.health.plain import plain
from services.health.probes.asking import KEPT, Answer, Asker, Target
from services.health.probes.audits import Audits, _Running
from services.health.probes.lag import with_lag
from services.health.probes.sensors import sensors_seen
from services.health.probes.services import MOST_SERVICES, Listed, known_services, service_seen
from services.health.read_off import Silence, read_off
from services.health.reconciler import Repair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.health.observation import Intake

S = 1_000_000_000
NOW = 1_800_000_000 * S
STRANGE: tuple[Any, ...] = (
    "text",
    -1,
    1 << 63,
    math.inf,
    math.nan,
    True,
    [[]],
    {"a": [1]},
    b"\xff",
    msgpack.Timestamp(1, 0),
)
FACTS = (
    "pid",
    "time_ns",
    "ready",
    "why",
    "version",
    "uptime_s",
    "rows",
    "newest_generation",
    "config_revision",
    "config_fault",
    "days_not_held",
)
COPYING = ("behind_s", "faults", "days_left_out")


@pytest.mark.parametrize("kind", ["mirror", "origin"])
@pytest.mark.parametrize(
    "told", [*STRANGE, *({fact: value} for fact in COPYING for value in (*STRANGE, [7], ["x" * 999]))]
)
def test_whatever_a_copier_says_of_its_copy_health_goes_on(kind: str, told: Any) -> None:
    """The same for what copies days to other hosts."""
    said = {"pid": 7, "ready": True, {"mirror": "mirror", "origin": "publish"}[kind]: told}
    answer = Answer(said, asked_ns=NOW, heard_ns=NOW)
    found = service_seen(f"{kind}/m", KnownService("tcp://127.0.0.1:9"), answer, NOW, 1000)
    seen = Observation(NOW, services=(found,))
    readings = {(one.signal, one.subject): one for one in read_off(seen, Silence()).items}
    assert readings["service_down", f"{kind}/m"].value == 0
    assert all(math.isfinite(one.value) for one in readings.values())
    json.dumps(plain(seen), allow_nan=False)


@pytest.mark.parametrize(("fact", "value"), [(fact, value) for fact in FACTS for value in STRANGE])
def test_whatever_a_service_says_of_itself_health_goes_on(fact: str, value: Any) -> None:
    """A fact of another kind is none: everything else is told, and can be read, written and shown."""
    said = {
        "pid": 7,
        "time_ns": NOW,
        "ready": True,
        "rows": 1,
        "newest_generation": "2026-11-19/1",
        fact: value,
    }
    known = KnownService("tcp://127.0.0.1:9", pid=6)
    told = service_seen("rag/rag-1", known, Answer(said, asked_ns=NOW, heard_ns=NOW), NOW, 1000)
    seen = Observation(NOW, services=(with_lag(told, (10, "2026-11-19/2")),))
    readings = {(one.signal, one.subject): one for one in read_off(seen, Silence()).items}
    assert readings["service_down", "rag/rag-1"].value == 0
    assert all(math.isfinite(one.value) for one in readings.values())
    json.dumps(plain(seen), allow_nan=False)
    assert type(known.pid) is int


def listed(count: int, kind: str = "rag") -> Listed:
    return Listed(tuple(Entry(kind, f"n{one}", f"tcp://127.0.0.1:{1000 + one}") for one in range(count)))


def test_a_registry_full_of_names_crowds_nobody_out_who_was_there() -> None:
    """Health asks so many services at most; those that it knew stay, names that come and go leave first."""
    known: dict[str, KnownService] = {}
    ours = Listed(
        (Entry("ingester", "ingester", "tcp://127.0.0.1:1"), Entry("rag", "rag-1", "tcp://127.0.0.1:2"))
    )
    known_services(known, ["rag/rag-9"], ours, NOW)
    known_services(known, ["rag/rag-9"], Listed((*ours.entries, *listed(KEPT * 2).entries)), NOW)
    assert len(known) == MOST_SERVICES
    assert {"ingester/ingester", "rag/rag-1", "rag/rag-9"} <= set(known)
    known = {f"rag/n{one}": KnownService(seen_ns=NOW) for one in range(MOST_SERVICES)}
    known_services(known, [], ours, NOW)
    assert {"ingester/ingester", "rag/rag-1"} <= set(known)
    assert len(known) == MOST_SERVICES


@pytest.fixture
def asker() -> Iterator[Asker]:
    with zmq.Context() as context:
        found = Asker(context, Credentials())
        yield found
        found.close()


def test_more_services_than_connections_are_asked_without_an_end(asker: Asker) -> None:
    """A connection that somebody waits on is not closed for another one."""
    targets = {str(port): Target(f"tcp://127.0.0.1:{port}") for port in range(1, KEPT + 3)}
    answers = asker.ask_all(targets, "ping", {}, 0.3)
    assert len(answers) == len(targets)
    assert not any(answer.value for answer in answers.values())


def test_who_talks_without_end_is_given_up_in_time(asker: Asker) -> None:
    """Answers that nobody asked for are read no longer than anybody waits."""
    stop = threading.Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.setsockopt(zmq.LINGER, 0)
        port = server.bind_to_random_port("tcp://127.0.0.1")

        def babble() -> None:
            identity, _ = server.recv_multipart()
            other = msgpack.packb({"id": 0, "ok": True, "result": {}})
            while not stop.is_set():
                server.send_multipart([identity, other])

        thread = threading.Thread(target=babble)
        thread.start()
        began_s = time.monotonic()
        watch = threading.Timer(10, stop.set)  # so that the test ends where the asker does not
        watch.start()
        answer = asker.ask(Target(f"tcp://127.0.0.1:{port}"), "ping", {}, 1.0)
        took_s = time.monotonic() - began_s
        stop.set()
        watch.cancel()
        thread.join()
    assert (answer.value, answer.alive) == (None, False)
    assert took_s < 5


def test_numbers_without_an_end_do_not_cost_the_memory(tmp_path: Path) -> None:
    """What was measured as nothing is read back as that, and nothing else is lost by it."""
    memory = Memory(tmp_path, Disk())
    memory.now.chain_head = "abc"
    memory.now.audits["2026-11-19/attack"] = Audit(NOW, "1/1", math.nan, math.inf)
    memory.keep(at_once=True)
    assert (tmp_path / NAME).exists()
    again = Memory(tmp_path, Disk())
    assert (again.fault, again.now.chain_head) == ("", "abc")


def status(**facts: Any) -> dict[str, Any]:
    node = {"nonces_reused": 1, "missing": 2}
    sound = {
        "started": "2026-11-20T10:00:00+00:00",
        "accepted": 1,
        "refused": {"bad_tag": 1},
        "v1_nodes": {"a": node},
        "index_lag": {"attack": 3},
        "queue_bytes": 11,
        "paused": False,
        "sensors": {"a": {"events": 1, "newest_ns": NOW, "clock_s": 0}},
    }
    return {**sound, **facts}


class Desk:
    """The observer's view of one ingester that answers as it is told."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        self.memory = Memory(folder, Disk())
        self.told = told
        known = {
            "ingester/before": KnownService("tcp://127.0.0.1:1", pid=5, down_ns=NOW - S),
            "ingester/ingester": KnownService("tcp://127.0.0.1:2", pid=6),
        }
        self.memory.now.services.update(known)
        self.asked: list[Target] = []
        watched = Watched(StateNames(folder), (folder,))
        eyes = Eyes(*[SimpleNamespace() for _ in range(8)])  # type: ignore[arg-type]
        eyes = replace(eyes, asker=self)  # type: ignore[arg-type]
        self.observer = Observer(watched, eyes, self.memory, lambda: NOW, lambda: 0.0)

    def ask(self, target: Target, _op: str, _args: Any, _timeout_s: float) -> Answer:
        self.asked.append(target)
        return Answer(self.told)

    def intake(self) -> Intake | None:
        up = Service("ingester", "ingester", answers=True)
        return self.observer._intake([up])


COUNTS = ("started", "accepted", "refused", "v1_nodes", "index_lag", "queue_bytes", "paused", "sensors")


@pytest.mark.parametrize(
    "told",
    [
        *({fact: value} for fact in COUNTS for value in STRANGE),
        *({"refused": {"bad_tag": value}} for value in STRANGE),
        *({"index_lag": {"attack": value}} for value in STRANGE),
        *({"v1_nodes": {"a": {"nonces_reused": value, "missing": 0}}} for value in STRANGE),
        *({"sensors": {"a": {"events": 1, "newest_ns": value, "clock_s": 0}}} for value in STRANGE),
        *({"sensors": {"a": {"events": 1, "newest_ns": NOW, "clock_s": value}}} for value in STRANGE),
    ],
)
def test_whatever_an_ingester_counts_health_goes_on(tmp_path: Path, told: dict[str, Any]) -> None:
    """What is no number leaves the intake unknown, or is told as it is; what is remembered is read back."""
    desk = Desk(tmp_path, status())
    desk.intake()
    desk.told = status(**told)
    found = desk.intake()
    seen = Observation(NOW, intake=found, sensors=sensors_seen(desk.memory.now.sensors))
    readings = read_off(seen, Silence()).items
    assert all(math.isfinite(one.value) for one in readings)
    json.dumps(plain(seen), allow_nan=False)
    desk.memory.keep(at_once=True)
    assert Memory(tmp_path, Disk()).fault == ""


def test_the_ingester_that_answers_is_asked_and_not_one_before_it(tmp_path: Path) -> None:
    """Another name took over: what is counted there is seen at once, and not after the first one is forgotten."""
    desk = Desk(tmp_path, status())
    assert desk.intake() is not None
    assert desk.asked == [Target("tcp://127.0.0.1:2")]


@pytest.mark.parametrize("value", STRANGE)
def test_whatever_becomes_of_a_job_health_goes_on(tmp_path: Path, value: Any) -> None:
    """Its state and its error may be anything."""
    memory, quiet = Memory(tmp_path, Disk()), structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
    asker = SimpleNamespace(ask=lambda *_: Answer({"job": value, "state": value, "error": value}))
    days = SimpleNamespace(check_again=lambda _day: None)
    executor = Executor(asker, days, memory, quiet, lambda: NOW)  # type: ignore[arg-type]
    target = Target("tcp://127.0.0.1:9")
    executor.do([Repair("2026-11-19", "attack", "corrupt", "a bit is another")], target)
    executor.follow(Observation(NOW), target)
    assert len(memory.now.attempts) == 1
    assert Memory(tmp_path, Disk()).fault == ""


@pytest.mark.parametrize("value", [*STRANGE, [], [{"recall": math.nan, "distance_cv": "x"}], [7]])
def test_whatever_a_replica_measures_health_goes_on(tmp_path: Path, value: Any) -> None:
    """An audit that says nothing sound has measured nothing."""
    memory = Memory(tmp_path, Disk())
    audits = Audits(SimpleNamespace(), SimpleNamespace(), memory, lambda: NOW)  # type: ignore[arg-type]
    audits._take(_Running(None, "2026-11-19", "attack", "1/1"), Answer({"indices": value}))  # type: ignore[arg-type]
    assert memory.now.audits == {"2026-11-19/attack": Audit(NOW, "1/1")}
