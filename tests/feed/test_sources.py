"""Files, folders, pipes and growing files: what reaches a reader, and what is said when it ends early."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import UsageError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import Idle, Item, ReadOptions, Refusal
from services.feed.readers.sources import LONGEST_LINE, text_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEADER = "Src IP,Dst IP,Timestamp,Label\n"
PATIENCE_SECONDS = 20


def row(number: int) -> str:
    return f"10.1.0.4,10.1.0.9,2026-03-02 10:00:{number:02},flow-{number}\n"


def numbers(items: list[Item]) -> list[int]:
    events = [item for item in items if isinstance(item, NetworkSecurityEvent)]
    return [int(event.threat_category.removeprefix("flow-")) for event in events]


def test_gzip_is_told_by_its_first_bytes_and_not_by_the_name(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    (tmp_path / "packed.csv").write_bytes(gzip.compress((HEADER + row(1)).encode()))
    (tmp_path / "plain.csv.gz").write_text(HEADER + row(2))
    assert numbers(read_all("cicflowmeter", tmp_path / "packed.csv")) == [1]
    assert numbers(read_all("cicflowmeter", tmp_path / "plain.csv.gz")) == [2]


def test_a_truncated_gzip_gives_what_was_readable_and_one_refusal(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    text = HEADER + "".join(row(n % 60) for n in range(20_000))
    packed = gzip.compress(text.encode())
    path = tmp_path / "flows.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    *events, refusal = read_all("cicflowmeter", path)
    assert 1000 < len(events) < 20_000
    assert numbers(events) == [n % 60 for n in range(len(events))]
    assert (refusal.reason, refusal.row) == ("truncated_gzip", False)
    assert refusal.line == len(events) + 2


def test_a_damaged_gzip_is_refused_and_does_not_end_the_folder(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    packed = bytearray(gzip.compress((HEADER + row(1)).encode()))
    packed[12] ^= 0xFF
    (tmp_path / "a.csv").write_bytes(packed)
    (tmp_path / "b.csv").write_text(HEADER + row(2))
    items = read_all("cicflowmeter", tmp_path)
    assert [item.reason for item in items if isinstance(item, Refusal)] == ["damaged_gzip"]
    assert numbers(items) == [2]


def test_a_folder_is_read_to_its_bottom_in_the_order_of_names(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    (tmp_path / "day-2").mkdir()
    (tmp_path / "day-2" / "a.csv").write_text(HEADER + row(3))
    (tmp_path / "day-1.csv").write_text(HEADER + row(1))
    (tmp_path / "day-2" / "b.csv").write_text("nothing of the kind\n")
    items = read_all("cicflowmeter", tmp_path)
    assert numbers(items) == [1, 3]
    assert (items[-1].source, items[-1].reason) == ("day-2/b.csv", "wrong_format")


def test_a_source_that_is_not_there_is_a_usage_error(read_all: Callable[..., Any]) -> None:
    for name in ("cicflowmeter", "mldefender-pb"):
        with pytest.raises(UsageError, match="does not exist"):
            read_all(name, "/nowhere/at/all")


def test_a_line_without_end_is_refused_in_bounded_memory_and_the_next_is_read(
    tmp_path: Path, read_all: Callable[..., Any]
) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(HEADER + "x" * (3 * LONGEST_LINE) + "\n" + row(7))
    items = read_all("cicflowmeter", path)
    assert [(item.line, item.reason) for item in items[:1]] == [(2, "line_too_long")]
    assert numbers(items) == [7]


def test_lines_are_utf8_or_windows_1252_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("\ufeffé\r\n".encode() + b"\x96\n" + b"\x81\xff\n" + b"end")
    with path.open("rb") as file:
        lines = list(text_lines(file))
    assert lines[:2] == [(1, "é"), (2, "\N{EN DASH}")]
    assert lines[2].reason == "not_text"  # type: ignore[union-attr]
    assert lines[3] == (4, "end")


def test_the_standard_input_is_read_packed_or_not() -> None:
    program = (
        "from services.feed.readers import reader_of\n"
        "from services.feed.readers.port import ReadOptions\n"
        "print([item.threat_category for item in reader_of('cicflowmeter').read('-', ReadOptions())])"
    )
    for data in ((HEADER + row(5)).encode(), gzip.compress((HEADER + row(5)).encode())):
        result = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True)
        assert result.stdout.decode().strip() == "['flow-5']"


def test_a_silent_pipe_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    stop = threading.Event()
    with os.fdopen(reading) as pipe, os.fdopen(writing, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", pipe)
        writer.write((HEADER + row(1) + "10.1.0.4,half").encode())
        items = reader_of("cicflowmeter").read("-", ReadOptions(stop=stop))
        assert numbers([next(items)]) == [1]
        stop.set()
        assert list(items) == []


class Tail:
    """Follows a file in a thread and keeps what came out of it."""

    def __init__(self, path: Path) -> None:
        self.stop = threading.Event()
        self.items: list[Item] = []
        self._source = reader_of("cicflowmeter").read(str(path), ReadOptions(follow=True, stop=self.stop))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self.items.extend(item for item in self._source if not isinstance(item, Idle))

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.items) < count and time.monotonic() < deadline:
            time.sleep(0.02)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    path = tmp_path / "flows.csv"
    path.write_text(HEADER + row(1))
    return path


@pytest.fixture
def tail(growing: Path) -> Iterator[Tail]:
    follower = Tail(growing)
    yield follower
    follower.end()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_growing_file_is_followed_and_half_a_line_waits_for_its_end(growing: Path, tail: Tail) -> None:
    tail.wait_for(1)
    append(growing, row(2) + row(3)[:10])
    tail.wait_for(2)
    assert numbers(tail.items) == [1, 2]
    append(growing, row(3)[10:])
    tail.wait_for(3)
    assert numbers(tail.items) == [1, 2, 3]


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(growing: Path, tail: Tail) -> None:
    tail.wait_for(1)
    growing.rename(growing.with_suffix(".1"))
    append(growing.with_suffix(".1"), row(2).rstrip("\n"))
    growing.write_text(HEADER + row(3))
    tail.wait_for(3)
    assert numbers(tail.items) == [1, 2, 3]


def test_a_file_that_was_cut_short_is_read_from_its_start(growing: Path, tail: Tail) -> None:
    append(growing, row(2))
    tail.wait_for(2)
    os.truncate(growing, 0)
    time.sleep(1)  # longer than a poll: a file that has grown past the old length again is not told apart
    append(growing, HEADER + row(5))
    tail.wait_for(3)
    assert numbers(tail.items) == [1, 2, 5]


def test_a_wrong_file_is_not_followed_for_ever(tmp_path: Path, read_all: Callable[..., Any]) -> None:
    path = tmp_path / "conn.log"
    path.write_text("#separator \\x09\n")
    (refusal,) = read_all("cicflowmeter", path, follow=True)
    assert refusal.reason == "wrong_format"


def test_only_a_single_plain_file_can_be_followed(tmp_path: Path, read_all: Callable[..., Any]) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(b"x"))
    for source in (tmp_path, tmp_path / "packed"):
        with pytest.raises(UsageError):
            read_all("cicflowmeter", source, follow=True)
