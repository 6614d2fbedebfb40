"""What a killed run leaves goes when the next one begins, and what runs that live have stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fleet.image import why_no_image, why_not
from fleet.leftovers import RECORDS, SCRATCH, Claim, clear
from fleet.machine import CGROUPS
from fleet.machines import Machines
from fleet.network import Network, command

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEAD, ALIVE = f"fk{os.getpid()}", f"fl{os.getpid()}"
needs_root = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
needs_image = pytest.mark.skipif(why_no_image() is not None, reason=why_no_image() or "")


@pytest.fixture
def killed() -> Iterator[Path]:
    """The folder of a run that was killed while it had a machine and a place on its network."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True) as scratch:
        words = [sys.executable, "-m", "fleet.machines", "up", "one", "--prefix", DEAD]
        environment = {**os.environ, "PYTHONPATH": "tests:.", "TMPDIR": scratch}
        run = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
        assert run.stdout is not None
        with run.stdout:
            assert run.stdout.readline().startswith(b"one\t")  # it is up
            run.kill()
            run.wait()
        yield Path(scratch)


def kill(folder: Path) -> None:
    """A run whose machines have their disks in `folder`, killed at once."""
    killed = (
        "import os; from pathlib import Path; from fleet.leftovers import Claim\n"
        f"Claim({ALIVE!r}, Path({str(folder)!r})).take(); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": "tests:."}
    subprocess.run([sys.executable, "-c", killed], check=False, env=environment)


@contextmanager
def mounted(folder: Path) -> Iterator[str]:
    """Something is mounted there, and no more in the end; gives the name that the system has for it."""
    folder.mkdir(parents=True)
    command("mount", "-t", "tmpfs", "none", str(folder))
    name = str(folder.resolve())
    try:
        yield name
    finally:
        if os.path.ismount(name):
            command("umount", name)


def groups() -> list[Path]:
    """The control groups of machines of the run that is killed."""
    return [group for top in CGROUPS for group in Path(top).glob(f"{DEAD}-*")]


def said() -> str:
    """All of this computer in which a run has something."""
    words = (("ip", "netns", "list"), ("ip", "-brief", "link"), ("nft", "list", "tables"))
    return "\n".join([*(command(*one) for one in words), Path("/proc/mounts").read_text(encoding="utf-8")])


def lives(pid: str) -> bool:
    """Whether a process does anything; one that ended may wait to be noticed by who started it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@needs_image
def test_what_a_killed_run_left_is_taken_away_whole(killed: Path) -> None:
    before = said()
    assert f"{DEAD}-one" in before
    assert f"{DEAD}-br" in before
    assert str(killed) in before
    pids = command("ip", "netns", "pids", f"{DEAD}-one").split()
    assert pids
    assert groups()
    assert DEAD in clear()
    after = said()
    assert DEAD not in after
    assert str(killed) not in after
    assert not list(killed.iterdir())  # the run's own folder was in it
    assert not (RECORDS / f"{DEAD}.run").exists()
    assert not [pid for pid in pids if lives(pid)]
    assert not groups()
    assert DEAD not in clear()


@needs_root
def test_a_run_that_lives_keeps_what_it_has(tmp_path: Path) -> None:
    claim, network = Claim(ALIVE, tmp_path), Network(ALIVE)
    (tmp_path / "machines").mkdir()
    claim.take()
    try:
        network.make()
        assert ALIVE not in clear()
        assert f"{ALIVE}-br" in command("ip", "-brief", "link")
        assert (tmp_path / "machines").is_dir()
        with pytest.raises(UsageError, match=f"A run with the prefix {ALIVE} is under way"):
            Claim(ALIVE, tmp_path).take()
    finally:
        network.remove()
        claim.release()
    Claim(ALIVE, tmp_path).release()  # one that was never taken
    assert not (RECORDS / f"{ALIVE}.run").exists()


@needs_root
def test_of_a_folder_that_was_given_others_files_stay(tmp_path: Path) -> None:
    """Whatever it is called, and what others have mounted in it stays too."""
    mine = tmp_path / f"{SCRATCH}mine"
    folder = mine / "run"
    with mounted(folder / "machines/one/root") as own, mounted(folder / "others") as others:
        (mine / "notes.txt").write_text("somebody's")
        kill(folder)
        assert ALIVE in clear()
        assert not os.path.ismount(own)
        assert os.path.ismount(others)
        assert sorted(path.name for path in mine.iterdir()) == ["notes.txt", "run"]
        assert [path.name for path in folder.iterdir()] == ["others"]


@needs_root
def test_a_folder_is_found_behind_a_link(tmp_path: Path) -> None:
    """The system names what is mounted by where it is, not by the way that led there."""
    link = tmp_path / "link"
    (tmp_path / "place").mkdir()
    link.symlink_to("place")
    with mounted(link / "machines/one/root") as disk:
        kill(link)
        assert ALIVE in clear()
        assert not os.path.ismount(disk)
        assert not list(link.iterdir())


@needs_root
@pytest.mark.parametrize(
    "record", [None, "/a/folder", '{"folder": "/a"}', "[]"], ids=["busy", "path", "part", "list"]
)
def test_what_cannot_be_taken_away_is_kept_in_mind(tmp_path: Path, record: str | None) -> None:
    """Runs with other prefixes go on, and one with this prefix hears of it."""
    busy, kept = tmp_path / "known_hosts", RECORDS / f"{ALIVE}.run"
    with mounted(busy):  # it is the run's, but not a disk: nobody unmounts it
        kill(tmp_path)
        if record is not None:
            kept.write_text(record)
        try:
            assert ALIVE not in clear()
            assert kept.read_text()
            with pytest.raises(
                UsageError, match=f"a killed run with the prefix {ALIVE} left could not be taken"
            ):
                Claim(ALIVE, tmp_path).take()
        finally:
            if record is not None:
                kept.unlink()
    assert (ALIVE in clear()) == (record is None)
    assert not kept.exists()


@needs_root
def test_a_folder_with_a_key_of_somebody_is_refused(tmp_path: Path) -> None:
    """It would be overwritten, and removed at the end."""
    key = tmp_path / "id_ed25519"
    key.write_text("mine")
    with pytest.raises(UsageError, match="has a key for ssh already"):
        Machines(tmp_path, ALIVE)
    assert key.read_text() == "mine"
