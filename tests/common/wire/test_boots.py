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


def test_boots_grow_whatever_the_clock_does(tmp_path: Path) -> None:
    """A clock that stands still or goes back brings no number twice."""
    path = tmp_path / "boot"
    waits: list[float] = []
    clock = iter([100.0, 100.0, 100.9, 100.9, 7.0, 7.0, 500.0, 500.0])
    assert [next_boot(path, lambda: next(clock), waits.append) for _ in range(4)] == [100, 101, 102, 500]
    assert waits == [pytest.approx(0.1)], "only for the next second, and only where that is near"
    assert path.read_text() == "500\n"


def test_a_folder_restored_from_a_copy_brings_no_number_again(tmp_path: Path) -> None:
    """1,000 boots a minute apart, the file lost or rolled back now and then: no number twice."""
    path = tmp_path / "boot"
    seen = set()
    for minute in range(1000):
        if minute % 10 == 3:
            path.write_text("5\n")
        if minute % 10 == 7:
            path.unlink()
        seen.add(next_boot(path, lambda: 1_000_000.0 + 60 * minute))  # noqa: B023 - called at once
    assert len(seen) == 1000


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
