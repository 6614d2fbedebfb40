"""One replica, eight clients, every operation, while days are written, sealed, reindexed and removed."""

from __future__ import annotations

import random
import shutil
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from services.common.days.index_builder import IndexTools
from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.days.reindex import Reindexer
from services.common.days.switching import activate
from services.common.feedback.remark import Remark, Verdict
from services.common.logs import make_logger
from services.common.rpc import Deadline
from services.common.rpc_client import RpcRefused
from services.common.rpc_server import RpcServer, RpcSettings
from services.rag.client import Client, FixedReplicas, Patience
from services.rag.protocol import OPERATIONS, PING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Question = tuple[str, dict[str, Any]]

CLIENTS, WORKERS = 8, 6
STEADY, LATE, OPEN, GOING = "2026-01-20", "2026-01-21", "2026-01-22", "2026-01-19"
NEW = ("2026-01-23", "2026-01-24")
HOST = "192.168.10.5"
SPACES = ("fused", "attack", "semantic", "temporal")
SEEN_LATER = {"not_found", "unavailable"}  # what an `as_of` may be answered with when the world went on


class Life:
    """Everything that happens to days, one thing after the other, in the thread that calls."""

    def __init__(self, world: Any, embedder: Any) -> None:
        self.world = world
        self._embedder = embedder
        for day in (GOING, STEADY, LATE):
            world.fill(day, 40, sealed=True)
        world.fill(OPEN, 40, sealed=False)
        world.disk.make_folder(world.state.feedback)
        self._log = LogWriter(world.disk, world.state.feedback_log(1))
        self._said = 0
        self._say(STEADY)

    def go_on(self) -> Iterator[str]:
        """Do one thing after the other; gives what was done."""
        for number, day in enumerate(NEW, 2):
            self._more(OPEN)
            yield "events came"
            self._more(LATE, number)
            yield "late events came"
            self.world.seal(LATE, number)
            yield "a day got another generation"
            self._reindex(STEADY, "attack", self._embedder("attack", "l2", number))
            yield "an index was written anew"
            self._reindex(LATE, "semantic", self._embedder("semantic", "cosine", number))
            yield "another index was written anew"
            self.world.fill(day, 30, sealed=True)
            yield "a new day was sealed"
            self._say(day)
            self._say(OPEN)
            yield "analysts said something"
        shutil.rmtree(self.world.state.day(GOING).folder)
        yield "a day was removed"
        self.world.forget(GOING)
        self.world.fill(GOING, 25, sealed=True)
        yield "it was written anew, with other events under the same names"

    def event(self, day: str) -> str:
        """The id of an event of a day."""
        return str(next(event_id for event_id in self.world.events if day in event_id))

    def _more(self, day: str, segment: int = 1) -> None:
        self.world.write(day, self.world.make(day, 30), segment)

    def _say(self, day: str) -> None:
        remark = Remark(
            f"f-{self._said}", self.event(day), "ana", 10**18 + self._said, verdict=Verdict.TRUE_POSITIVE
        )
        self._log.append(FEEDBACK, self._said, [remark.to_bytes()])
        self._said += 1

    def _reindex(self, day: str, index: str, embedder: Any) -> None:
        names, disk = self.world.state.day(day), self.world.disk
        embedders = replace(self.world.embedders, **{index: embedder})
        Reindexer(disk, IndexTools(embedders, lambda *_: None)).build(names, index)
        activate(names, index, disk)

    def close(self) -> None:
        self._log.close()


def _questions(life: Life) -> list[Question]:
    """Every operation, about days that stay and that change."""
    steady, late = life.event(STEADY), life.event(LATE)
    tcp = {"protocol": "tcp"}
    return [
        *(("similar", {"event_id": steady, "index": index, "k": 30}) for index in SPACES),
        ("similar", {"event_id": late, "k": 40, "flat": True, "filters": tcp}),
        ("similar", {"event_id": late, "filters": {"feedback": "true_positive"}, "flat": True}),
        ("similar", {"host": HOST, "index": "entity"}),
        *(
            ("search", {"text": "many packets to a web server", "by": by})
            for by in ("fused", "meaning", "words")
        ),
        (
            "search",
            {"text": "scan from outside", "k": 40, "flat": True, "filters": {"tags": ["lateral", "web-*"]}},
        ),
        ("hybrid", {"entity": HOST, "text": "many packets", "k": 20}),
        ("explain", {"event_id": steady}),
        ("explain", {"event_id": late, "k": 5}),
        *(("novel", {"days": 2, "index": index, "percentile": 90}) for index in ("fused", "semantic")),
        ("timeline", {"host": HOST}),
        ("campaigns", {"k": 20}),
        ("get", {"event_id": late, "enrich": True}),
        ("list", {"limit": 300, "filters": tcp}),
        ("list", {"limit": 50, "order": "oldest", "enrich": True, "filters": {"src_internal": True}}),
        ("feedback", {}),
        ("days", {}),
        ("stats", {}),
        ("ping", {}),
    ]


@dataclass
class Asking:
    """One client that asks on and on, in its own order; what is wrong with an answer is kept."""

    endpoint: str
    life: Life
    seed: int
    stop: threading.Event
    answers: int = 0
    repeated: int = 0
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Ask until told to stop."""
        rng = random.Random(self.seed)
        patience = Patience(overall_s=30.0, per_try_s=30.0, hedge_s=30.0)
        with zmq.Context() as context, Client(FixedReplicas([self.endpoint]), context, patience) as client:
            while not self.stop.is_set():
                questions = _questions(self.life)
                rng.shuffle(questions)
                for op, args in questions:
                    if not self.stop.is_set():
                        self._ask(client, op, args)

    def _ask(self, client: Client, op: str, args: dict[str, Any]) -> None:
        try:
            answer = client.ask(op, args)
            self.faults += [f"{op} {args}: {fault}" for fault in _wrong(answer, args, self.life.world.events)]
            if op != PING and answer["receipt"]["repeatable"] and not answer["receipt"]["missing"]:
                self._ask_again(client, op, args, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed question
            self.faults.append(f"{op} {args}: {type(error).__name__}: {error}")
        self.answers += 1

    def _ask_again(self, client: Client, op: str, args: dict[str, Any], first: dict[str, Any]) -> None:
        try:
            second = client.ask(op, {**args, "as_of": first["receipt"]["as_of"]})
        except RpcRefused as refusal:
            if refusal.code not in SEEN_LATER:
                raise
            return
        self.repeated += 1
        if _packed(first) != _packed(second):
            self.faults.append(f"{op} {args}: another answer as of {first['receipt']['as_of']}")


def _wrong(answer: Mapping[str, Any], args: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    """What cannot be right about an answer, whenever it was given."""
    for event in _events(answer):
        if event["event_id"] not in known:
            yield f"{event['event_id']} was never written"
        elif known[event["event_id"]].network_features.source_ip != event["src_ip"]:
            yield f"{event['event_id']} has the source of another event"
        asked_for = event["event_id"] == args.get("event_id")
        if args.get("filters", {}).get("protocol") == "tcp" and event["protocol"] != 6 and not asked_for:
            yield f"{event['event_id']} does not pass the filter"
    for group in answer.get("groups", ()):
        if not len(group["examples"]) <= group["count"] == sum(group["classes"].values()):
            yield f"{group['count']} events of a pattern are not those of its classes"
        if any(event["narrative"] != group["narrative"] for event in group["examples"]):
            yield "an example has another narrative than its pattern"
    if answer.get("receipt", {}).get("partial"):
        yield "there was time enough, and not all was searched"


def _events(found: Any) -> list[dict[str, Any]]:
    """The events that an answer shows, wherever they stand."""
    if isinstance(found, list):
        return [event for one in found for event in _events(one)]
    if not isinstance(found, dict):
        return []
    own = [found] if {"event_id", "src_ip", "narrative"} <= found.keys() else []
    return own + [event for one in found.values() for event in _events(one)]


def _packed(answer: Mapping[str, Any]) -> bytes:
    """An answer without what is about answering rather than about what was found."""
    plain = {name: value for name, value in answer.items() if name not in {"replica", "receipt"}}
    receipt = {name: value for name, value in answer["receipt"].items() if name != "took_ms"}
    return bytes(msgpack.packb({**plain, "receipt": receipt}))


@pytest.fixture
def life(world: Any, small_embedder: Any) -> Iterator[Life]:
    made = Life(world, small_embedder)
    yield made
    made.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Answer by some handlers on a free port; gives the endpoint."""
    context = zmq.Context()
    servers: list[RpcServer] = []

    def start(handlers: Any) -> str:
        settings = RpcSettings("tcp://127.0.0.1:*", WORKERS)
        servers.append(RpcServer(context, settings, handlers, make_logger("test")))
        servers[-1].start()
        return servers[-1].endpoint

    yield start
    for server in servers:
        server.stop()
    context.term()


@pytest.fixture
def asking(life: Life, replica: Any, serve: Any) -> Iterator[tuple[Any, list[Asking]]]:
    """The handlers of a replica, and clients that ask it until the end of the block."""
    handlers = replica(life.world)
    stop = threading.Event()
    endpoint = serve(handlers)
    clients = [Asking(endpoint, life, number, stop) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    yield handlers, clients
    stop.set()
    for thread in threads:
        thread.join()


def test_eight_clients_while_everything_changes(
    life: Life, asking: tuple[Any, list[Asking]], replica: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """No question fails, none shows what it must not, each is answered alike again, and nothing stale is left."""
    handlers, clients = asking

    def each_asks(more: int) -> None:
        wanted = [client.answers + more for client in clients]
        until(lambda: all(client.answers >= count for client, count in zip(clients, wanted, strict=True)))

    each_asks(2)
    for done in life.go_on():
        if done == "a day was removed":
            until(lambda: GOING not in _days(handlers))
        each_asks(2)
    assert {op for op, _ in _questions(life)} == set(OPERATIONS)
    fresh = replica(life.world)
    until(lambda: _now(handlers) == _now(fresh))
    for client in clients:
        client.stop.set()
    assert [fault for client in clients for fault in client.faults] == []
    assert sum(client.repeated for client in clients) > CLIENTS
    for op, args in _questions(life):
        if op != PING:
            asked = (one[op](dict(args), Deadline()) for one in (handlers, fresh))
            first, second = map(_packed, asked)
            assert first == second, (op, args)


def _days(handlers: Any) -> list[str]:
    """The days that a replica serves."""
    return [day["day"] for day in handlers["days"]({}, Deadline())["days"]]


def _now(handlers: Any) -> Any:
    """What a replica sees."""
    receipt = handlers["stats"]({}, Deadline())["receipt"]
    return receipt["as_of"], receipt["missing"]
