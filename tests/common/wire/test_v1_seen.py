"""What is remembered of version 1 frames lies on disk: kills and restarts forget nothing, damage harms nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from services.common.durable import Disk
from services.common.wire.v1 import SealedV1
from services.common.wire.v1_seen import BUCKET, ENTRY, HEAD, SeenFile, SeenFrames, Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLACES = 1 << 10

# Notes frames for ever, and says after each.
NOTES = """
import sys
from pathlib import Path
from services.common.durable import Disk
from services.common.wire.v1 import SealedV1
from services.common.wire.v1_seen import SeenFile, SeenFrames
seen = SeenFrames(1 << 18, lambda: 1000.0, SeenFile(Disk(), Path(sys.argv[1])))
number = 0
while True:
    seen.note(SealedV1(b"the mark", None, 0, number, bytes(16)))
    print(number, flush=True)
    number += 1
"""


def frame(counter: int, tag: int = 0) -> SealedV1:
    return SealedV1(b"the mark", None, 0, counter, tag.to_bytes(16, "little"))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SeenFrames]]:
    """Open the memory at `tmp_path/seen`; the clock's seconds as a keyword."""
    made: list[SeenFrames] = []

    def make(now: float = 1000.0) -> SeenFrames:
        made.append(SeenFrames(PLACES, lambda: now, SeenFile(Disk(), tmp_path / "seen")))
        return made[-1]

    yield make
    for seen in made:
        seen.close()


def test_a_restart_forgets_nothing(opened: Callable[..., SeenFrames]) -> None:
    """The same frame is a replay, another under its nonce an alarm, and after 24 hours it is new."""
    first = opened()
    assert [first.note(frame(number)) for number in range(5)] == [Sighting.NEW] * 5
    first.close()
    second = opened(2000.0)
    assert second.note(frame(3)) is Sighting.REPLAY
    assert second.note(frame(4, tag=1)) is Sighting.NONCE_REUSED
    assert second.note(frame(5)) is Sighting.NEW
    second.close()
    later = opened(1000.0 + 24 * 3600)
    assert later.note(frame(0)) is Sighting.NEW
    assert later.note(frame(3)) is Sighting.REPLAY, "it was seen again at 2000"


def test_a_kill_forgets_nothing(tmp_path: Path) -> None:
    """A process that is killed while it takes frames: every frame that it had taken is known afterwards."""
    command = [sys.executable, "-c", NOTES, str(tmp_path / "seen")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    numbers = [int(line) for line in said if line.endswith("\n")]
    assert len(numbers) >= 100
    seen = SeenFrames(1 << 18, lambda: 2000.0, SeenFile(Disk(), tmp_path / "seen"))
    assert {seen.note(frame(number)) for number in numbers} == {Sighting.REPLAY}
    seen.close()


def test_the_file_takes_room_only_for_what_is_in_it(tmp_path: Path) -> None:
    """The full size of 16 MiB is a number in its folder, until frames come."""
    seen = SeenFrames(file=SeenFile(Disk(), tmp_path / "seen"))
    seen.note(frame(1))
    seen.close()
    status = (tmp_path / "seen").stat()
    assert status.st_size == HEAD.size + (16 << 20)
    assert status.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"X" + content[1:],
        lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
    ],
)
def test_a_file_that_does_not_fit_is_begun_anew(
    tmp_path: Path, opened: Callable[..., SeenFrames], damage: Callable[[bytes], bytes]
) -> None:
    """It is a memory for alarms: the receiver starts, and remembers from then on."""
    first = opened()
    first.note(frame(1))
    first.close()
    content = (tmp_path / "seen").read_bytes()
    (tmp_path / "seen").write_bytes(damage(content))
    second = opened()
    assert second.note(frame(1)) is Sighting.NEW
    second.close()
    assert opened().note(frame(1)) is Sighting.REPLAY


def test_noise_in_the_entries_harms_nobody(tmp_path: Path, opened: Callable[..., SeenFrames]) -> None:
    """Entries that a power cut tore are forgotten frames, and never a frame that is refused."""
    opened().close()
    with (tmp_path / "seen").open("r+b") as file:
        file.seek(HEAD.size)
        file.write(os.urandom(ENTRY.size * PLACES))
    seen = opened()
    assert {seen.note(frame(number)) for number in range(200)} == {Sighting.NEW}
    assert PLACES % BUCKET == 0
