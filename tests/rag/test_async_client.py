"""The client to await: many questions at once, the same failover, and the methods of the blocking one."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import AppiaError, UsageError
from services.common.registry.known import KnownSet
from services.common.rpc_client import RpcRefused, RpcTimeout
from services.rag.asking import Patience
from services.rag.async_client import AsyncClient
from services.rag.connect import Where, connect, connect_async
from services.rag.protocol import OPERATIONS, Kind
from services.rag.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = "2026-01-20"
METHODS = {
    name: method
    for name, method in inspect.getmembers(Questions, inspect.isfunction)
    if not name.startswith("_") and name != "ask"
}


def parameters(method: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(method).parameters) - {"self"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_argument_of_an_operation_is_a_parameter(name: str) -> None:
    """The methods are those of the table of operations, with its arguments and no other."""
    arguments = {argument.name for argument in OPERATIONS[name].arguments}
    if name == "similar":  # hosts have a method of their own
        assert parameters(METHODS["similar_hosts"]) <= arguments
        arguments -= {"host"}
    assert parameters(METHODS[name]) == arguments


@pytest.mark.parametrize("name", OPERATIONS)
def test_defaults_are_those_of_the_operation(name: str) -> None:
    """Who calls a method with nothing but what is required asks what the operation asks by default."""
    given = inspect.signature(METHODS[name]).parameters
    for argument in OPERATIONS[name].arguments:
        if argument.name in given and argument.kind is not Kind.FILTERS:
            default = given[argument.name].default
            assert default is inspect.Parameter.empty or default == argument.default


def test_both_clients_have_the_same_methods() -> None:
    """What blocks in one is awaited in the other."""
    assert METHODS.keys() <= set(dir(AsyncClient))


def test_many_questions_are_under_way_at_once(world: Any, start_replica: Any) -> None:
    """A hundred questions on one loop are all answered, each its own; a refusal is raised where it was asked."""
    events = world.fill(DAY, 40, sealed=True)
    endpoints = tuple(start_replica(world.state.root, f"rag-{i}").ready()["endpoint"] for i in range(2))

    async def ask_all() -> None:
        async with connect_async(Where(endpoints=endpoints)) as client:
            wanted = [events[i % 40].event_id for i in range(100)]
            answers = await asyncio.gather(*(client.get(event_id) for event_id in wanted))
            assert [answer["fields"]["event_id"] for answer in answers] == wanted
            with pytest.raises(RpcRefused, match="no event 'unknown'"):
                await client.get("unknown")
            assert (await client.stats())["rows"] == 40

    asyncio.run(ask_all())


def test_a_cancelled_question_leaves_the_client_whole(world: Any, start_replica: Any) -> None:
    """Who gives up waiting for a replica that hangs can ask another question at once."""
    world.fill(DAY, 10, sealed=True)
    hanging, sound = (start_replica(world.state.root, f"rag-{i}") for i in range(2))
    endpoints = [replica.ready()["endpoint"] for replica in (hanging, sound)]

    async def give_up() -> None:
        async with connect_async(Where(endpoints=(endpoints[0],))) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.ping()
            os.kill(hanging.process.pid, signal.SIGCONT)
            assert (await client.ping())["name"] == "rag-0"

    os.kill(hanging.process.pid, signal.SIGSTOP)
    asyncio.run(give_up())

    async def be_quick() -> None:
        async with connect_async(Where(endpoints=tuple(endpoints)), Patience(30.0, 10.0, 0.05)) as client:
            assert [(await client.stats())["rows"] for _ in range(5)] == [10] * 5

    asyncio.run(be_quick())


def test_nobody_there_is_a_sentence() -> None:
    """A client gives up after its patience, and says what to look at."""

    async def ask() -> None:
        async with connect_async(Where(endpoints=("tcp://127.0.0.1:9",)), Patience(0.3, 0.1, 0.1)) as client:
            with pytest.raises(RpcTimeout, match=r"No replica answered 'ping' within 0.3 s"):
                await client.ping()

    asyncio.run(ask())


def test_replicas_are_found_by_the_state_directory(world: Any, start_replica: Any, until: Any) -> None:
    """A state directory is enough to connect; nothing at all is refused."""
    world.fill(DAY, 10, sealed=True)
    start_replica(world.state.root).ready()
    until(world.state.registry.exists)

    def rows() -> int:
        with connect(Where(state=world.state.root), Patience(1.0, 0.5, 0.2)) as client:
            return int(client.stats()["rows"])

    assert rows() == 10
    with pytest.raises(UsageError, match="Where are the replicas"):
        Where().replicas()


def test_the_examples_of_the_documentation_run(world: Any, start_replica: Any, until: Any) -> None:
    """docs/python.md is true: its programs run as they stand, on a state directory of the reader's own."""
    world.fill(DAY, 10, sealed=True)
    start_replica(world.state.root).ready()
    until(world.state.registry.exists)
    document = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        # There is no model here that could embed a text; its words need none.
        own = program.replace("/var/lib/appia", str(world.state.root)).replace("k=5", 'k=5, by="words"')
        done = subprocess.run([sys.executable, "-c", own], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("10 [")


def test_a_registry_that_does_not_answer_at_once_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Members of etcd that choose a leader answer no first look; who never answers is told in a sentence."""
    looks = iter([False, False, True, False, False, False, True])
    monkeypatch.setattr(KnownSet, "refresh", lambda _: next(looks))
    where = Where(state=tmp_path)
    assert where.replicas().entries() == []
    with pytest.raises(AppiaError, match="registry file does not answer"):
        where.replicas()
    assert list(looks) == [True], "three looks each"
