"""What the file registry keeps on disk, and what it makes of files that are torn, foreign or stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.common.registry.files import FileRegistry
from services.common.registry.port import Entry, NameTaken, RegistryUnavailable
from services.common.registry.process import this_place

TTL_S = 3.0
NOW = 1_770_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> FileRegistry:
    return FileRegistry(tmp_path, clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rag" / "one.json"


def entry(name: str = "one") -> Entry:
    return Entry("rag", name, "tcp://127.0.0.1:5560", {"days": 3})


def names(registry: FileRegistry) -> list[str]:
    return [found.name for found in registry.entries("rag")]


def change(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_file_holds_what_the_documentation_says(registry: FileRegistry, path: Path) -> None:
    registry.register(entry(), TTL_S)
    record = json.loads(path.read_text())
    assert len(record.pop("token")) == 16
    assert record.pop("start_ticks") > 0
    assert record == {
        "version": 1,
        "kind": "rag",
        "name": "one",
        "address": "tcp://127.0.0.1:5560",
        "info": {"days": 3},
        "ttl_s": 3.0,
        "expires_at": NOW + 3,
        "pid": os.getpid(),
        "place": this_place(),
    }


def test_a_lease_runs_out_by_the_clock_of_the_machine(registry: FileRegistry, clock: Clock) -> None:
    registration = registry.register(entry(), TTL_S)
    clock.now += 2.9
    assert names(registry) == ["one"]
    clock.now += 0.1
    assert names(registry) == []
    registration.heartbeat({})
    assert names(registry) == ["one"]


def test_a_clock_that_was_set_back_lets_no_entry_live_on(registry: FileRegistry, clock: Clock) -> None:
    registration = registry.register(entry(), TTL_S)
    clock.now -= 3600
    assert names(registry) == []
    registration.heartbeat({})
    assert names(registry) == ["one"]


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"kind": "ingester"},
        {"name": "two"},
        {"address": ""},
        {"address": 7},
        {"info": None},
        {"info": {"nested": {}}},
        {"expires_at": None},
        {"expires_at": 10**400},
        {"ttl_s": 10**400},
        {"expires_at": float("inf"), "ttl_s": float("inf")},
        {"ttl_s": float("nan")},
        {"pid": "1"},
        {"pid": 0},
        {"pid": -1},
        {"pid": 2**40},
        {"start_ticks": None},
        {"place": None},
    ],
    ids=str,
)
def test_a_record_with_a_bad_field_is_left_out(
    registry: FileRegistry, path: Path, fields: dict[str, Any]
) -> None:
    registry.register(entry(), TTL_S)
    change(path, fields)
    assert names(registry) == []


def test_a_torn_file_is_left_out_at_every_length(registry: FileRegistry, path: Path) -> None:
    registry.register(entry(), TTL_S)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert names(registry) == []


def test_foreign_things_in_the_folder_do_no_harm(registry: FileRegistry, path: Path) -> None:
    registry.register(entry(), TTL_S)
    folder = path.parent
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.json").write_bytes(path.read_bytes())
    (folder / "huge.json").write_bytes(b"[" * 100_000)
    (folder / "deep.json").write_bytes(b"[" * 60_000)
    (folder / "binary.json").write_bytes(bytes(range(256)))
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to(path)
    os.mkfifo(folder / "pipe.json")
    assert names(registry) == ["one"]


def test_a_process_that_was_never_reaped_counts_as_dead(registry: FileRegistry, path: Path) -> None:
    registry.register(entry(), TTL_S)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as child:
        ticks = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
        change(path, {"pid": child.pid, "start_ticks": ticks})
        assert names(registry) == ["one"]
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert names(registry) == []
    assert names(registry) == []


def test_a_reused_process_id_counts_as_dead(registry: FileRegistry, path: Path) -> None:
    registry.register(entry(), TTL_S)
    change(path, {"start_ticks": json.loads(path.read_text())["start_ticks"] + 1})
    assert names(registry) == []


@pytest.mark.parametrize("place", ["", "another-boot:4026531836"])
def test_a_process_of_another_place_is_judged_by_its_lease_alone(
    registry: FileRegistry, path: Path, clock: Clock, place: str
) -> None:
    registry.register(entry(), TTL_S)
    change(path, {"place": place, "pid": 2**31 - 1})
    assert names(registry) == ["one"]
    clock.now += TTL_S
    assert names(registry) == []


def test_a_dead_holder_does_not_keep_its_name(registry: FileRegistry, path: Path) -> None:
    registration = registry.register(entry(), TTL_S)
    change(path, {"token": "another", "address": "tcp://other:1"})
    with pytest.raises(NameTaken, match="tcp://other:1"):
        registration.heartbeat({})
    change(path, {"start_ticks": 1})
    registration.heartbeat({})
    assert names(registry) == ["one"]


def test_what_a_killed_writer_left_is_cleared_by_the_next_registration(
    registry: FileRegistry, path: Path
) -> None:
    path.parent.mkdir()
    leftover = path.with_name(".one.json.0123456789abcdef")
    leftover.write_text("{")
    other = path.with_name(".one-more.json.0123456789abcdef")
    other.write_text("{")
    registry.register(entry(), TTL_S)
    assert sorted(found.name for found in path.parent.iterdir()) == [other.name, "one.json"]


def test_a_heartbeat_makes_the_folder_again(registry: FileRegistry, path: Path) -> None:
    registration = registry.register(entry(), TTL_S)
    path.unlink()
    path.parent.rmdir()
    registration.heartbeat({})
    assert names(registry) == ["one"]


def test_a_folder_that_cannot_be_used_is_an_unavailable_registry(tmp_path: Path) -> None:
    (tmp_path / "rag").write_text("a file where a folder should be")
    registry = FileRegistry(tmp_path)
    with pytest.raises(RegistryUnavailable, match="rag"):
        registry.entries("rag")
    with pytest.raises(RegistryUnavailable, match="rag"):
        registry.register(entry(), TTL_S)


def test_beats_and_withdrawal_say_when_the_folder_has_gone_bad(registry: FileRegistry, path: Path) -> None:
    registration = registry.register(entry(), TTL_S)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file where a folder should be")
    with pytest.raises(RegistryUnavailable, match=r"one\.json"):
        registration.heartbeat({})
    with pytest.raises(RegistryUnavailable, match=r"one\.json"):
        registration.withdraw()


def test_nobody_ever_reads_a_half_written_entry(registry: FileRegistry, path: Path) -> None:
    registration = registry.register(entry(), TTL_S)
    reader = "import sys, json\nfor _ in range(2000):\n    json.load(open(sys.argv[1], 'rb'))\n"
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", reader, str(path)]) as child:
        while child.poll() is None:
            registration.heartbeat({"text": "x" * 20_000})
            registration.heartbeat({})
        assert child.returncode == 0
