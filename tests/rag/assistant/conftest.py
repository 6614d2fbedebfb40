"""A chat endpoint that tests play: a real server on loopback that sends whatever it is told to."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.fusion import FusionWeights
from services.common.logs import make_logger
from services.common.rpc import Deadline
from services.rag.answers import Tools, answers_with
from services.rag.catalog import Catalog
from services.rag.explain import Explainer
from services.rag.operations import Operations, Replica
from services.rag.queries import Queries
from services.rag.searcher import Searcher
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

    Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]
    Behaviour = Callable[[socket.socket, "Asked"], None]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def user(self) -> str:
        """The text of the user's message."""
        return str(self.document["messages"][1]["content"])


@dataclass
class Played:
    """The endpoint: where it is, what came, and how it behaves."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    behaviour: Behaviour | None = None

    def says(self, text: str, **choice: Any) -> None:
        """Answer as a chat endpoint does."""
        self.sends_json({"choices": [{"message": {"content": text}, "finish_reason": "stop", **choice}]})

    def echoes(self) -> None:
        """Answer with everything that the user's message had."""
        self.behaviour = lambda connection, asked: connection.sendall(_reply(_chat(asked.user)))

    def sends_json(self, document: Any, status: int = 200) -> None:
        self.sends(_reply(json.dumps(document).encode(), status))

    def sends(self, raw: bytes) -> None:
        """Send these bytes and close the connection."""
        self.behaviour = lambda connection, _: connection.sendall(raw)


def _chat(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()


def _reply(body: bytes, status: int = 200, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Any], Ask]]:
    """Asks a replica, in this process, over a world."""
    started: list[Catalog] = []

    def start(world: Any) -> Ask:
        own: Any = world.embedders
        named = {embedder.model_id: embedder for embedder in (own.attack, own.semantic, own.temporal)}

        class Models:
            rows = texts = windows = profiles = staticmethod(named.__getitem__)

        queries = Queries(Models())  # type: ignore[arg-type]
        searcher, replica = Searcher(queries, FusionWeights()), Replica("rag-7", 42, "0.0", 0.0)
        entities: Any = None  # no host is compared here
        tools = Tools(searcher, TextSearch(queries), entities, Explainer(searcher), replica)
        started.append(Catalog(world.state, make_logger("test")))
        started[-1].start()
        assert started[-1].wait_opened(30)
        handlers = Operations(started[-1], answers_with(tools), replica).handlers()
        return lambda op, args: json.loads(json.dumps(handlers[op](dict(args), Deadline())))

    yield start
    for catalog in started:
        catalog.stop()


@pytest.fixture
def reply() -> Callable[..., bytes]:
    """Makes an answer of HTTP from its body, status and media type."""
    return _reply


@pytest.fixture
def played() -> Iterator[Played]:
    """An endpoint on a free port of loopback."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline().decode().strip()
            headers: dict[str, str] = {}
            while text := self.rfile.readline().decode().strip():
                name, _, value = text.partition(":")
                headers[name.lower()] = value.strip()
            if not line:
                return  # somebody connected and sent nothing
            asked = Asked(line, headers, self.rfile.read(int(headers["content-length"])))
            endpoint.asked.append(asked)
            assert endpoint.behaviour is not None
            with contextlib.suppress(OSError):  # who asked may have gone
                endpoint.behaviour(self.connection, asked)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as server:
        server.allow_reuse_address = True
        server.server_bind()
        server.server_activate()
        endpoint = Played(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield endpoint
        server.shutdown()
        thread.join()
