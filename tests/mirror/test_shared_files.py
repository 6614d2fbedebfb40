"""What speaks of all days is here too: links of the chain, remarks, decisions, the book of retention, models."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import DECISIONS, FEEDBACK
from services.common.durable import Disk
from services.mirror.pace import LEAST, MOST, Pace
from services.mirror.room import left_out
from tests.mirror.conftest import Seconds

if TYPE_CHECKING:
    from pathlib import Path


def _logs(there: Any, mirror: Any) -> None:
    mirror.settle()
    for files, copies in (
        (there.state.feedback_files, mirror.state.feedback_files),
        (there.state.decisions, mirror.state.decisions),
    ):
        assert copies.numbers() == files.numbers()
        assert all(copies.path(n).read_bytes() == files.path(n).read_bytes() for n in files.numbers())


def test_logs_grow_here_and_the_oldest_go(there: Any, make_mirror: Any) -> None:
    """Records come whole, in files of the same numbers; what the source removed as too old goes here."""
    mirror = make_mirror(there.state.root)
    for files, kind in ((there.state.feedback_files, FEEDBACK), (there.state.decisions, DECISIONS)):
        there.disk.make_folder(files.folder)
        for number in (1, 2):
            with closing(LogWriter(Disk(), files.path(number))) as log:
                for lsn in range(3):
                    log.append(kind, lsn, [bytes([number]) * 50])
                    log.sync()
                    mirror.turn()
                    with closing(LogReader(_here(mirror, files).path(number))) as copy:
                        assert len(list(copy.scan())) == lsn + 1
    _logs(there, mirror)
    there.disk.remove(there.state.decisions.path(1))
    _logs(there, mirror)
    assert mirror.told == []


def _here(mirror: Any, files: Any) -> Any:
    return type(files)(mirror.state.root / files.folder.name, files.word)


def test_half_a_record_waits(there: Any, make_mirror: Any) -> None:
    """What is being written may be cut off again; a file that is shorter than before is copied anew."""
    files = there.state.feedback_files
    there.disk.make_folder(files.folder)
    mirror = make_mirror(there.state.root)
    with closing(LogWriter(Disk(), files.path(1))) as log:
        log.append(FEEDBACK, 0, [b"first"])
        log.sync()
        whole = log.size
    with files.path(1).open("ab") as file:
        file.write(b"\x20\x00\x00\x00half")
    mirror.turn()
    assert _here(mirror, files).path(1).stat().st_size == whole
    data = files.path(1).read_bytes()
    files.path(1).write_bytes(data[:32])  # the record was never synced, and a power cut took it
    mirror.settle()
    with closing(LogWriter(Disk(), files.path(2))) as log:
        log.append(FEEDBACK, 1, [b"second"])
    _logs(there, mirror)


def test_a_chain_that_begins_anew_is_copied_whole(there: Any, make_mirror: Any) -> None:
    """Whole links only; where the source moved its chain aside, ours is replaced, not lengthened."""
    links = there.state.links
    there.disk.make_folder(links.parent)
    mirror = make_mirror(there.state.root)
    for content, here in (
        (b"one\ntw", b"one\n"),
        (b"one\ntwo\n", b"one\ntwo\n"),
        (b"other\n", b"other\n"),
        (b"another\nlonger\n", b"another\nlonger\n"),
    ):
        links.write_bytes(content)
        mirror.turn()
        assert mirror.state.links.read_bytes() == here
    assert mirror.told == []


def test_models_come_whole_and_by_their_names(
    there: Any, make_mirror: Any, models: Path, tmp_path: Path
) -> None:
    """A model is published when all its files have the SHA-256 of its manifest, and then made the active one."""
    home = next(path for path in (models / "attack").iterdir() if path.is_dir() and len(path.name) == 64)
    target = there.state.models / "attack" / home.name
    target.mkdir(parents=True)
    for file in home.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    (there.state.models / "attack" / "ACTIVE").write_text(f"{home.name}\n")
    mirror = make_mirror(there.state.root)
    mirror.filesystem.change = lambda path, start, data: (
        b"\0" + data[1:] if path.endswith(".onnx") and not start else data
    )
    mirror.turn(2)
    assert not (mirror.state.models / "attack" / "ACTIVE").exists()
    assert "SHA-256" in mirror.told[0][1]
    mirror.filesystem.change = lambda _path, _start, data: data
    mirror.settle()
    here = mirror.state.models / "attack"
    assert (here / "ACTIVE").read_text() == f"{home.name}\n"
    assert {p.name: p.read_bytes() for p in (here / home.name).iterdir()} == {
        p.name: p.read_bytes() for p in home.iterdir()
    }
    assert tmp_path.exists()


def test_the_rate_holds_over_everything_and_pieces_stay_short(there: Any, make_mirror: Any) -> None:
    """At 50,000 bytes a second a mirror has read no more than that, and half a second at most in one piece."""
    there.fill("2026-01-21", 200, sealed=True)
    mirror = make_mirror(there.state.root, bytes_per_s=50_000)
    for _ in range(30):
        mirror.clock.now -= 5  # a turn is a second of this clock, and what it waits
        mirror.turn()
    assert mirror.clock.waited > 1
    assert mirror.rounds.status.bytes <= 50_000 * (mirror.clock.now - 1000) + 25_000


def test_pieces_follow_what_the_link_gives() -> None:
    """A slow link is read in small pieces, a fast one in large ones, and none beyond the bounds."""
    clock = Seconds()
    pace = Pace(0, clock, clock.wait)
    for _ in range(20):
        pace.spent(pace.piece, 1.0)
    assert pace.piece == LEAST
    for _ in range(20):
        pace.spent(pace.piece, 0.01)
    assert pace.piece == MOST
    assert clock.waited == 0


@pytest.mark.parametrize(
    ("budget", "gone"),
    [(0, ""), (100, ""), (99, "a"), (60, "ab"), (59, "abc"), (30, "abc"), (29, "abcd"), (1, "abcd")],
)
def test_the_newest_days_are_held_without_a_gap(budget: int, gone: str) -> None:
    """Once a day does not fit, no older one is taken, however small; of those the size is not asked for."""
    sizes = {"d": 30, "c": 30, "b": 30, "a": 10}
    asked = []

    def size(day: str) -> int:
        asked.append(day)
        return sizes[day]

    assert left_out("dcba", size, budget) == frozenset(gone)
    assert asked == [] if not budget else len(asked) <= 4 - len(gone) + 1


@pytest.fixture(name="models")
def _models() -> Path:
    """The folder of the shipped models."""
    import os  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    home = Path(os.environ.get("APPIA_TEST_MODELS", Path.home() / ".local" / "share" / "appia" / "models"))
    if not (home / "attack" / "ACTIVE").exists():
        pytest.skip("no models are built: run `appia models build`")
    return home
