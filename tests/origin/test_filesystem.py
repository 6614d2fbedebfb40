"""The files of an origin as an fsspec file system: what is on disk, standard errors, and no trust in the other end."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
import zmq

from services.common.errors import AppiaError, UsageError
from services.common.logs import make_logger
from services.common.rpc import RequestError
from services.common.rpc_server import RpcServer, RpcSettings
from services.mirror import appia_filesystem
from services.mirror.appia_filesystem import AppiaFileSystem
from tests.origin.conftest import OPEN, SEALED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def files(world: Any, start: Callable[..., Any], connect: Callable[..., Any]) -> AppiaFileSystem:
    found: AppiaFileSystem = connect(start(world.state.root).port)
    return found


def test_every_file_is_as_it_is_on_disk(files: AppiaFileSystem, world: Any) -> None:
    """Walked as any file system, to the last byte; more than one request where a file is long."""
    long = world.state.day(OPEN).segment(1).folder / "columns.bin"
    with long.open("ab") as file:
        file.truncate((2 << 20) + 12_345)
    found = files.find("")
    assert f"days/{SEALED}/sealed/000001/chunk/metadata.db" in found
    for path in found:
        on_disk = world.state.root / path
        assert files.cat_file(path) == on_disk.read_bytes()
        assert files.info(path)["size"] == on_disk.stat().st_size
        assert files.info(path)["mtime_ns"] == on_disk.stat().st_mtime_ns


def test_ranges_are_as_python_has_them(files: AppiaFileSystem, world: Any) -> None:
    """Also from the end, beyond it, and empty ones."""
    path = f"days/{OPEN}/open/000001/columns.bin"
    content = (world.state.root / path).read_bytes()
    for start, end in [
        (0, 10),
        (10, None),
        (None, 10),
        (-7, None),
        (5, -5),
        (0, 10**9),
        (10**9, None),
        (9, 3),
    ]:
        assert files.cat_file(path, start, end) == content[start:end]
    with files.open(path) as file:
        file.seek(100)
        assert file.read(50) == content[100:150]
        file.seek(-3, 2)
        assert file.read() == content[-3:]


def test_ranges_of_many_files_take_few_requests(
    files: AppiaFileSystem, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there is told in its place; more than one answer holds is fetched on."""
    asked = []
    ask = AppiaFileSystem._ask
    monkeypatch.setattr(AppiaFileSystem, "_ask", lambda *args: (asked.append(args[1]), ask(*args))[1])
    paths = [path for path in files.find("") if path.startswith("days/")]
    asked.clear()
    found = files.cat_ranges([*paths, "nothing"], 0, 64)
    assert found[:-1] == [(world.state.root / path).read_bytes()[:64] for path in paths]
    assert isinstance(found[-1], FileNotFoundError)
    assert asked == ["read"]
    with pytest.raises(FileNotFoundError):
        files.cat_ranges(["VERSION", "nothing"], 0, [5, 5], on_error="raise")
    long = world.state.root / f"days/{OPEN}/open/000001/columns.bin"
    with long.open("ab") as file:
        file.truncate(1 << 20)
    several = files.cat_ranges([f"days/{OPEN}/open/000001/columns.bin"] * 3, 0, 1 << 20)
    assert [len(part) for part in several if isinstance(part, bytes)] == [1 << 20] * 3


def test_errors_are_those_of_the_standard_library(files: AppiaFileSystem) -> None:
    """Of a file that is not there, and of one that cannot be written."""
    for call in (files.ls, files.info, files.cat_file):
        with pytest.raises(FileNotFoundError):
            call("nothing")
    with pytest.raises(PermissionError, match="read only"):
        files.open("VERSION", "wb")
    assert not files.exists("keys")
    assert files.exists("VERSION")
    assert files.isdir("days")
    assert files.ls("VERSION", detail=False) == ["VERSION"]


def test_a_url_names_it(files: AppiaFileSystem, world: Any) -> None:
    """Where it is registered; nowhere else does fsspec know it."""
    port = int(files.endpoint.rpartition(":")[2])
    with pytest.raises(ValueError, match="Protocol not known"):
        fsspec.core.url_to_fs(f"appia://127.0.0.1:{port}/days")
    with _registered():
        other, path = fsspec.core.url_to_fs(f"appia://127.0.0.1:{port}/days/")
        with closing(other):
            assert path == "days"
            assert other.ls(path, detail=False) == [f"days/{SEALED}", f"days/{OPEN}"]
            assert other.cat_file(f"appia://127.0.0.1:{port}/VERSION") == b"1\n"
    six, path = AppiaFileSystem.of_url("appia://[::1]:77/days")
    with closing(six):
        assert (six.endpoint, path) == ("tcp://[::1]:77", "days")
    assert world.state.version.exists()


@pytest.mark.parametrize(
    "url", ["appia://", "appia://:7", "appia://h:x", "appia://u:p@h:1", "appia://[::1", "appia://h:1/?x=1"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """In a sentence that says how it is written, and quotes nothing: there may be a password in it."""
    with _registered(), pytest.raises((UsageError, ValueError)):
        fsspec.core.url_to_fs(url)


@contextlib.contextmanager
def _registered() -> Iterator[None]:
    fsspec.register_implementation("appia", AppiaFileSystem)
    try:
        yield
    finally:
        sys.modules["fsspec.registry"]._registry.pop("appia")


def test_nothing_leaves_the_machine_in_plain_text() -> None:
    """Without keys another machine is not asked at all."""
    with pytest.raises(AppiaError, match="nothing is sent there in plain text"):
        AppiaFileSystem("192.0.2.1", 5574)
    with pytest.raises(UsageError, match="of no use without a key"):
        AppiaFileSystem("192.0.2.1", 5574, server_key="x" * 40)


def test_an_origin_that_comes_back_is_read_on(
    world: Any, start: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """At the same address, by the same file system; meanwhile each call fails at once."""
    first = start(world.state.root)
    files = connect(first.port, timeout_s=5.0)
    assert files.cat_file("VERSION") == b"1\n"
    first.serving.end()
    with pytest.raises(ConnectionError):
        files.cat_file("VERSION")
    start(world.state.root, bind=f"tcp://127.0.0.1:{first.port}")
    assert files.cat_file("VERSION") == b"1\n"


def test_who_says_nothing_is_not_waited_for(connect: Callable[..., Any]) -> None:
    """A port that takes connections and never answers, as a link that was cut; the next call has a new connection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        files = connect(silent.getsockname()[1], timeout_s=0.3)
        for _ in range(2):
            with pytest.raises(OSError, match=r"did not answer|cannot be reached|wants keys"):
                files.cat_file("VERSION")


@pytest.fixture
def pretend(connect: Callable[..., Any]) -> Iterator[Callable[..., AppiaFileSystem]]:
    """A file system over a server that answers `list`, `stat` and `read` as a test says."""
    with contextlib.ExitStack() as stack:

        def make(**answers: Any) -> AppiaFileSystem:
            context = stack.enter_context(zmq.Context())
            handlers = {
                "stat": lambda _args, _deadline: {"kind": "directory", "size": 0, "mtime_ns": 0},
                **{op: lambda args, _deadline, say=say: say(args) for op, say in answers.items()},
            }
            server = RpcServer(
                context, RpcSettings("tcp://127.0.0.1:*", 1), handlers, make_logger("test", open_null(stack))
            )
            stack.callback(server.stop)
            server.start()
            found: AppiaFileSystem = connect(int(server.endpoint.rpartition(":")[2]), timeout_s=5.0)
            return found

        yield make


def open_null(stack: contextlib.ExitStack) -> Any:
    return stack.enter_context(open("/dev/null", "w", encoding="utf-8"))  # noqa: PTH123 - a device


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"parts": None, "wait_s": 0},
        {"parts": [], "wait_s": 0},
        {"parts": [], "wait_s": -1},
        {"parts": [], "wait_s": 1e9},
        {"parts": [], "wait_s": float("nan")},
        {"parts": [{"data": b"x" * 11, "size": 100}], "wait_s": 0},
        {"parts": [{"data": b"x", "size": -1}], "wait_s": 0},
        {"parts": [{"data": "x", "size": 1}], "wait_s": 0},
        {"parts": [{"data": b"", "size": 100}], "wait_s": 0},
        {"parts": [{"data": b"x", "size": 1}, {"data": b"x", "size": 1}], "wait_s": 0},
        {"parts": ["x"], "wait_s": 0},
    ],
)
def test_an_answer_that_is_none_is_refused(pretend: Callable[..., AppiaFileSystem], answer: Any) -> None:
    """Too many bytes, too few, parts of something else: an error, and neither a wrong file nor a loop."""
    with pytest.raises(OSError, match="that is none"):
        pretend(read=lambda _: answer).cat_file("VERSION", 0, 10)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", ".hidden", "a\nb", "a\0", "x" * 300, 7, None])
def test_a_name_that_leads_elsewhere_is_refused(pretend: Callable[..., AppiaFileSystem], name: Any) -> None:
    """No entry of a list can name anything outside its folder."""
    with pytest.raises(OSError, match="that is none"):
        pretend(list=lambda _: {"entries": [[name, "file", 1, 1]], "last": ""}).ls("days")


@pytest.mark.parametrize(
    "entry",
    [
        ["a", "link", 1, 1],
        ["a", "file", -1, 1],
        ["a", "file", 1.5, 1],
        ["a", "file"],
        "a",
        ["a", "file", 1, None],
    ],
)
def test_an_entry_that_is_none_is_refused(pretend: Callable[..., AppiaFileSystem], entry: Any) -> None:
    """Of another kind, or without a size."""
    with pytest.raises(OSError, match="none"):
        pretend(list=lambda _: {"entries": [entry], "last": ""}).ls("days")


def test_a_list_without_end_is_refused(
    pretend: Callable[..., AppiaFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that go back, and pages that never end."""
    with pytest.raises(OSError, match="that is none"):
        pretend(
            list=lambda args: (
                {"entries": [], "last": "a"} if args["after"] != "a" else {"entries": [], "last": "A"}
            )
        ).ls("")
    monkeypatch.setattr(appia_filesystem, "MOST_ENTRIES", 50)
    count = iter(range(10**6))

    def more(_args: Any) -> dict[str, Any]:
        names = [f"n{next(count):08d}" for _ in range(20)]
        return {"entries": [[name, "file", 1, 1] for name in names], "last": names[-1]}

    with pytest.raises(OSError, match="more than 50 entries"):
        pretend(list=more).ls("")


def test_a_file_without_end_ends_where_it_was(pretend: Callable[..., AppiaFileSystem]) -> None:
    """A size that grows with each answer is that of the first one."""
    sizes = iter(range(100, 10**9, 100))

    def read(args: Any) -> dict[str, Any]:
        length = min(args["ranges"][0][2], 60)
        return {"parts": [{"data": b"x" * length, "size": next(sizes)}], "wait_s": 0}

    assert pretend(read=read).cat_file("VERSION") == b"x" * 100


@pytest.mark.parametrize("code", ["busy", "too_many"])
def test_a_server_that_has_too_much_to_do_is_asked_again(
    pretend: Callable[..., AppiaFileSystem], code: str
) -> None:
    """After a pause, as the rate of a key asks for."""
    left = iter([True, True, False])

    def read(_args: Any) -> dict[str, Any]:
        if next(left):
            raise RequestError(code, "later")
        return {"parts": [{"data": b"1\n", "size": 2}], "wait_s": 0}

    assert pretend(read=read).cat_file("VERSION") == b"1\n"


def test_threads_take_turns(files: AppiaFileSystem, world: Any) -> None:
    """Each gets its own answer."""
    paths = files.find("")
    wrong: list[str] = []

    def read(path: str) -> None:
        if files.cat_file(path) != (world.state.root / path).read_bytes():
            wrong.append(path)

    threads = [threading.Thread(target=read, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_origin_that_drips_or_lets_wait_holds_nobody_for_ever(
    pretend: Callable[..., AppiaFileSystem],
) -> None:
    """A byte in each answer, a wait in each, a page of one name: each is a right answer, and all take too long."""
    count = iter(range(10**6))

    def page(_args: Any) -> dict[str, Any]:
        name = f"n{next(count):08d}"
        time.sleep(
            0.002
        )  # a page of a thousand names may take longest_s, so names come more slowly than that
        return {"entries": [[name, "file", 1, 1]], "last": name}

    files = pretend(
        read=lambda args: (
            {"parts": [], "wait_s": 0.05}
            if args["ranges"][0][0] == "waits"
            else {"parts": [{"data": b"x", "size": 1 << 20}], "wait_s": 0}
        ),
        list=page,
    )
    files.longest_s = 0.2
    for path in ("drips", "waits"):
        with pytest.raises(TimeoutError, match="is too slow"):
            files.cat_file(path, 0, 1 << 19)
    with pytest.raises(TimeoutError, match="is too slow"):
        files.ls("")
