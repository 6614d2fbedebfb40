"""Boot numbers: on disk before use, never twice."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.common.errors import AppiaError
from services.common.wire.boots import next_boot

if TYPE_CHECKING:
    from pathlib import Path

TAKE = """
import sys
from pathlib import Path
from services.common.wire.boots import next_boot
for _ in range(30):
    print(next_boot(Path(sys.argv[1]), lambda: 50.0, lambda _: None))
"""


class Clock:
    """Seconds that pass only where somebody waits or a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_boots_grow_whatever_the_clock_does(tmp_path: Path) -> None:
    """The next full second, which is waited for; after a clock that was set back, one more than the last."""
    clock, path = Clock(), tmp_path / "boot"
    clock.now = 100.75
    assert (next_boot(path, clock, clock.sleep), clock.now) == (101, 101.0)
    assert (next_boot(path, clock, clock.sleep), clock.now) == (102, 102.0)
    clock.now = 7.0
    assert (next_boot(path, clock, clock.sleep), clock.now) == (103, 7.0), "nobody waits for so long"
    clock.now = 500.0
    assert next_boot(path, clock, clock.sleep) == 501
    assert path.read_text() == "501\n"


def test_a_folder_restored_from_a_copy_brings_no_number_again(tmp_path: Path) -> None:
    """200 boots a minute apart, the file lost or rolled back now and then: no number twice."""
    clock, path = Clock(), tmp_path / "boot"
    seen = set()
    for minute in range(200):
        if minute % 10 == 3:
            path.write_text("5\n")
        if minute % 10 == 7:
            path.unlink()
        clock.now += 60
        seen.add(next_boot(path, clock, clock.sleep))
    assert len(seen) == 200


def test_quick_restarts_and_a_rollback_bring_no_number_again(tmp_path: Path) -> None:
    """Ten boots a second, then the file as it was after five: none runs ahead of the clock, none comes again."""
    clock, path, taken = Clock(), tmp_path / "boot", []
    for number in range(30):
        taken.append(next_boot(path, clock, clock.sleep))
        assert taken[-1] <= clock.now
        clock.now += 0.1
        if number == 4:
            copy = path.read_bytes()
        if number == 19:
            path.write_bytes(copy)
    assert len(set(taken)) == 30


def test_processes_that_share_the_file_never_share_a_number(tmp_path: Path) -> None:
    """Three processes take 30 numbers each at once and all 90 differ."""
    command = [sys.executable, "-c", TAKE, str(tmp_path / "boot")]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    numbers = [number for taker in takers for number in taker.communicate()[0].split()]
    assert [taker.returncode for taker in takers] == [0, 0, 0]
    assert len(numbers) == len(set(numbers)) == 90


@pytest.mark.parametrize("content", [b"", b"twelve\n", b"-4\n", b"\xff\xfe"])
def test_a_damaged_file_is_not_guessed_at(tmp_path: Path, content: bytes) -> None:
    """Guessing could repeat a number, so the operator is asked."""
    path = tmp_path / "boot"
    path.write_bytes(content)
    with pytest.raises(AppiaError, match="boot"):
        next_boot(path)
    assert path.read_bytes() == content


def test_the_last_number_is_the_last(tmp_path: Path) -> None:
    """Numbers do not wrap around."""
    path = tmp_path / "boot"
    path.write_text(f"{(1 << 32) - 2}\n")
    assert next_boot(path) == (1 << 32) - 1
    with pytest.raises(AppiaError, match="all boot numbers"):
        next_boot(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """An operator's wrong path is answered with that path."""
    with pytest.raises(AppiaError, match="missing"):
        next_boot(tmp_path / "missing" / "boot")
