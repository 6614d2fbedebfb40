"""Every face says the same: the protocol, the Python client, HTTP, the tools for assistants and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest
import requests
import zmq
from mcp.client.client import Client as McpClient
from mcp.client.stdio import StdioServerParameters, stdio_client

from services.common.rpc_client import RpcClient, RpcRefused
from services.rag.client import Client, FixedReplicas

APPIA = Path(sys.executable).parent / "appia"
OLD, OPEN = "2026-01-20", "2026-01-22"

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Mistake:
    """A request that is wrong, words of the sentence that says so, and the same as a command, where there is one."""

    op: str
    args: Arguments
    said: str
    command: tuple[str, ...] | None = None
    option: str = ""  # what the command says instead, which knows options and not arguments


MISTAKES = (
    Mistake("get", {"event_id": "nobody"}, "There is no event 'nobody'", ("get", "nobody")),
    Mistake("similar", {"event_id": "nobody"}, "There is no event 'nobody'", ("similar", "nobody")),
    Mistake("explain", {"event_id": "nobody"}, "There is no event 'nobody'", ("explain", "nobody")),
    Mistake("similar", {"event_id": "e", "k": 1001}, "'k' must be a whole number from 1 to 1000"),
    Mistake("list", {"limit": 0}, "'limit' must be a whole number from 1 to 1000"),
    Mistake(
        "list",
        {"filters": {"src": "10.0.0.5/8"}},
        "host bits set: write 10.0.0.0/8, or 10.0.0.5",
        ("list", "--src", "10.0.0.5/8"),
    ),
    Mistake(
        "list",
        {"filters": {"since": "2026-01-23", "until": "2026-01-22"}},
        "'since' must lie before 'until'",
        ("list", "--from", "2026-01-23", "--to", "2026-01-21"),
        "--from must lie before --to",
    ),
    Mistake(
        "list",
        {"filters": {"min_overall": 0.9, "max_overall": 0.1}},
        "'min_overall'",
        ("list", "--min-score", "0.9", "--max-score", "0.1"),
        "--min-score",
    ),
    Mistake("list", {"filters": {"port": "80-70"}}, "80 is above 70", ("list", "--port", "80-70")),
    Mistake(
        "list",
        {"filters": {"since": "2199-01-01"}},
        "'since' begins in the future",
        ("list", "--from", "2199-01-01"),
        "--from begins in the future",
    ),
    Mistake("search", {"text": ""}, "'text' must be a text that is not empty", ("search", "")),
    Mistake("search", {"text": " \t "}, "'text' must be a text that is not empty", ("search", " \t ")),
    Mistake("search", {"text": "x" * 1001}, "at most 1000 characters, not 1001", ("search", "x" * 1001)),
    Mistake("hybrid", {"entity": "nowhere", "text": "scan"}, "'nowhere'"),
    Mistake("timeline", {"host": "nowhere"}, "'nowhere'", ("timeline", "nowhere")),
    Mistake("novel", {"days": 0}, "'days' must be a whole number"),
    Mistake("novel", {"percentile": 101}, "'percentile' must be a finite number from 90 to 100"),
    Mistake("list", {"filters": {"nothing": 1}}, "There is no filter 'nothing'"),
    Mistake("list", {"nothing": 1}, "There is no argument 'nothing'"),
    Mistake("list", {"filters": {"min_ml": True}}, "'min_ml' must be a finite number"),
    Mistake("stats", {"as_of": "never"}, "as_of", ("stats", "--as-of", "never")),
)


@dataclass(frozen=True)
class Faces:
    """One replica and the servers before it."""

    endpoint: str
    url: str

    def by_client(self, mistake: Mistake) -> str:
        """What the Python client raises."""
        with zmq.Context() as context, Client(FixedReplicas([self.endpoint]), context) as client:
            with pytest.raises(RpcRefused) as refused:
                client.ask(mistake.op, mistake.args)
            return str(refused.value)

    def by_http(self, mistake: Mistake) -> str:
        """The detail of the problem."""
        response = requests.post(f"{self.url}/v1/{mistake.op}", json=mistake.args, timeout=20)
        assert response.status_code in {400, 404}
        return str(response.json()["detail"])

    def by_command(self, words: tuple[str, ...]) -> str:
        """What the command says on standard error."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("APPIA_")}
        done = subprocess.run(
            [str(APPIA), *words, "--endpoint", self.endpoint],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert (done.returncode != 0, done.stdout) == (True, "")
        assert len(done.stderr.splitlines()) == 1
        return done.stderr.removeprefix("appia: ").strip()

    async def by_tools(self, mistakes: tuple[Mistake, ...]) -> list[str]:
        """The texts of the errors of tools."""
        server = StdioServerParameters(command=str(APPIA), args=["mcp", "--endpoint", self.endpoint])
        async with McpClient(stdio_client(server)) as client:
            results: list[Any] = [await client.call_tool(one.op, one.args) for one in mistakes]
        assert all(result.is_error for result in results)
        return [result.content[0].text for result in results]


@pytest.fixture
def faces(world: Any, start_replica: Any, start_server: Any) -> Faces:
    """A replica with a sealed and an open day, and an HTTP server before it."""
    world.fill(OLD, 30, sealed=True)
    world.fill(OPEN, 20, sealed=False)
    endpoint = start_replica(world.state.root).ready()["endpoint"]
    return Faces(endpoint, start_server(["http", "--port", "0"], [endpoint]).url)


def test_a_mistake_is_the_same_sentence_everywhere(faces: Faces) -> None:
    """What is wrong with a request is said in one sentence, the same by client, HTTP, tool and command."""
    by_tools = asyncio.run(faces.by_tools(MISTAKES))
    for mistake, by_tool in zip(MISTAKES, by_tools, strict=True):
        sentence = faces.by_client(mistake)
        assert mistake.said in sentence
        assert "\n" not in sentence
        assert _timeless(faces.by_http(mistake)) == _timeless(sentence)
        assert _timeless(sentence) in _timeless(by_tool)
        if mistake.command is not None:
            assert (mistake.option or mistake.said) in faces.by_command(mistake.command)


def _timeless(sentence: str) -> str:
    """A sentence without the seconds of the moment at which it was said."""
    return re.sub(r":\d\d\.\d{6}Z", "", sentence)


def test_what_is_no_request_is_refused_by_the_replica(faces: Faces) -> None:
    """Bytes that are no request, or too many of them, are answered; the replica goes on."""
    ten_megabytes = {"v": 1, "id": 1, "op": "search", "args": {"text": "x" * (10 << 20)}}
    not_a_number = {"v": 1, "id": 1, "op": "list", "args": {"filters": {"min_ml": math.nan}}}
    broken_text = b"\x84\xa1v\x01\xa2id\x01\xa2op\xa6search\xa4args\x81\xa4text\xa2\xff\xfe"
    for raw, code in (
        (msgpack.packb({"v": 2, "id": 1, "op": "ping"}), "usage"),
        (b"\xc1", "usage"),
        (broken_text, "usage"),
        (msgpack.packb(not_a_number), "usage"),
        (msgpack.packb({**ten_megabytes, "args": {"text": "x" * 70_000}}), "too_large"),
    ):
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(faces.endpoint)
            socket.send(raw)
            assert socket.poll(10_000)
            error = msgpack.unpackb(socket.recv())["error"]
            assert error["code"] == code
            assert "\n" not in error["message"]
    with zmq.Context() as context:
        connection = RpcClient(context, faces.endpoint)
        with (
            contextlib.closing(connection),
            contextlib.closing(RpcClient(context, faces.endpoint)) as flooding,
        ):
            flooding.socket.send(msgpack.packb(ten_megabytes))
            assert connection.call("ping", {}, 10.0)["name"] == "rag-1"
