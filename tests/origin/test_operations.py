"""What an origin answers over its socket: pages, ranges, refusals; and how much it sends a second."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.names import MIRRORING, ORIGIN, PING
from services.common.rpc_client import RpcClient, RpcRefused
from services.origin import operations
from tests.origin.conftest import OPEN, SEALED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def ask(world: Any, start: Callable[..., Any]) -> Iterator[Callable[..., dict[str, Any]]]:
    running = start(world.state.root)
    with zmq.Context() as context, closing(RpcClient(context, running.serving.endpoint)) as client:
        yield lambda op, **args: client.call(op, args, 10)


def test_every_operation_is_a_right(ask: Callable[..., Any]) -> None:
    """What is answered can be allowed, each by its name."""
    with pytest.raises(RpcRefused, match="There is no operation 'nothing'") as refused:
        ask("nothing")
    there = set(str(refused.value).rpartition("there are: ")[2].rstrip(".").split(", "))
    assert {f"{ORIGIN}{name}" for name in there - {PING}} == set(MIRRORING)


def test_a_long_list_comes_in_pages(
    ask: Callable[..., Any], world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins after the last name of the one before; all together have every name once."""
    monkeypatch.setattr(operations, "PAGE", 4)
    path = f"days/{OPEN}/open/000001"
    names: list[str] = []
    after, pages = "", 0
    while True:
        page = ask("list", path=path, after=after)
        names += [entry[0] for entry in page["entries"]]
        assert len(page["entries"]) <= 4
        pages, after = pages + 1, page["last"]
        if not after:
            break
    there = [path.name for path in world.state.day(OPEN).segment(1).folder.iterdir()]
    assert names == sorted(name for name in there if not name.startswith("metadata.db"))
    assert pages == len(names) // 4 + (len(names) % 4 > 0)


def test_many_ranges_are_one_request(ask: Callable[..., Any]) -> None:
    """Each part has its bytes and the size of its file, or why there is none."""
    found = ask(
        "read",
        ranges=[["VERSION", 0, 10], ["keys", 0, 1], ["VERSION", 1, 1], ["VERSION", 0, 0], ["days", 0, 1]],
    )
    assert found["wait_s"] == 0
    assert [part.get("data", part.get("error")) for part in found["parts"]] == [
        b"1\n", "not_found", b"\n", b"", "not_found",
    ]  # fmt: skip
    assert found["parts"][0]["size"] == 2


def test_an_answer_has_a_mebibyte_at_most(ask: Callable[..., Any], world: Any) -> None:
    """The last part is cut, and what comes after it is left out."""
    big = world.state.day(OPEN).segment(1).folder / "columns.bin"
    with big.open("ab") as file:
        file.truncate(3 << 20)
    path = f"days/{OPEN}/open/000001/columns.bin"
    parts = ask("read", ranges=[[path, 0, 700_000], [path, 0, 700_000], ["VERSION", 0, 2]])["parts"]
    assert [len(part["data"]) for part in parts] == [700_000, (1 << 20) - 700_000]


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"ranges": []},
        {"ranges": "VERSION"},
        {"ranges": [["VERSION", 0]]},
        {"ranges": [["VERSION", -1, 1]]},
        {"ranges": [["VERSION", 0, -1]]},
        {"ranges": [["VERSION", 0, 1 << 63]]},
        {"ranges": [["VERSION", 0.0, 1]]},
        {"ranges": [[7, 0, 1]]},
        {"ranges": [["VERSION", 0, 1]] * 257},
    ],
)
def test_what_is_no_range_is_refused(ask: Callable[..., Any], args: dict[str, Any]) -> None:
    """In a sentence; the next request is answered."""
    with pytest.raises(RpcRefused) as refused:
        ask("read", **args)
    assert refused.value.code == "usage"
    assert ask("stat", path="VERSION")["size"] == 2


@pytest.mark.parametrize("args", [{}, {"path": 7}, {"path": None}, {"path": b"VERSION"}])
def test_what_is_no_path_is_refused(ask: Callable[..., Any], args: dict[str, Any]) -> None:
    """The same for what is listed or looked at."""
    for op in ("list", "stat"):
        with pytest.raises(RpcRefused, match="The argument 'path' must be a text"):
            ask(op, **args)


@pytest.mark.parametrize("path", ["..", "../..", "/etc/passwd", "keys/x", "days/\0", "days/" + "x" * 10_000])
def test_there_is_no_way_out(ask: Callable[..., Any], path: str) -> None:
    """Whatever is asked for is not there; what was asked is quoted in part only."""
    for op in ("list", "stat"):
        with pytest.raises(RpcRefused) as refused:
            ask(op, path=path)
        assert refused.value.code == "not_found"
        assert len(str(refused.value)) < 300


def test_a_day_that_goes_while_it_is_read_is_not_found(ask: Callable[..., Any], world: Any) -> None:
    """And nothing else is said of it."""
    path = f"days/{SEALED}/sealed/CURRENT"
    assert ask("read", ranges=[[path, 0, 10]])["parts"][0]["data"] == b"000001\n"
    shutil.rmtree(world.state.day(SEALED).folder)
    assert ask("read", ranges=[[path, 0, 10]])["parts"][0]["error"] == "not_found"


def test_bytes_are_held_to_the_rate(
    world: Any, start: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Who pulls gets them all in the time that they take, without an error; what was held back is counted."""
    running = start(world.state.root, bytes_per_s=20_000, observe="127.0.0.1:0")
    path = f"days/{OPEN}/open/000001/columns.bin"
    big = world.state.root / path
    with big.open("ab") as file:
        file.truncate(50_000)
    began = time.monotonic()
    assert connect(running.port).cat_file(path) == big.read_bytes()
    assert time.monotonic() - began >= 1.4  # a second's worth at once, then 20 kB a second
    samples = {sample.metric.name: sample.value for sample in running.serving.sent.source().read()}
    assert samples["appia_origin_sent_bytes_total"] == 50_000
    assert samples["appia_origin_held_back_total"] >= 1


def test_an_origin_without_a_state_directory_is_not_ready(start: Callable[..., Any], tmp_path: Any) -> None:
    """It says so, serves nothing, and serves when the ingester has made one."""
    (tmp_path / "later").mkdir()
    running = start(tmp_path / "later")
    with zmq.Context() as context, closing(RpcClient(context, running.serving.endpoint)) as client:
        answer = client.call("ping", {}, 10)
        assert answer["ready"] is False
        assert re.search("is not a state directory", answer["why"])
        assert client.call("list", {"path": ""}, 10)["entries"] == []
        (tmp_path / "later" / "VERSION").write_text("1\n")
        assert client.call("ping", {}, 10)["ready"] is True
        assert [entry[0] for entry in client.call("list", {"path": ""}, 10)["entries"]] == ["VERSION"]
