"""A restore goes into an empty directory only, checks every byte, and leaves nothing half that could be started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.layout import check_layout, claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    World = Any
    Tree = Callable[[Path], dict[str, tuple[str, int]]]

DAY, OTHER_DAY = "2026-01-22", "2026-01-23"


@pytest.mark.parametrize("what", ["file", "folder", "hidden"])
def test_a_directory_that_holds_anything_is_left_alone(world: World, tree: Tree, what: str) -> None:
    """Also where what it holds is hidden."""
    snapshot = world.back_up()
    world.target.mkdir()
    {"file": (world.target / "a").touch, "folder": (world.target / "b").mkdir}.get(
        what, (world.target / ".c").touch
    )()
    before = tree(world.target)
    with pytest.raises(
        UsageError, match="is not empty: a restore goes into a new or empty state directory only"
    ):
        world.restore(snapshot)
    assert tree(world.target) == before


def test_an_empty_file_system_is_a_fine_target(world: World) -> None:
    """It has a `lost+found`, and a mode that a state directory must not have."""
    (world.target / "lost+found").mkdir(parents=True)
    world.target.chmod(0o777)
    world.restore(world.back_up())
    check_layout(StateNames(world.target))
    assert world.target.stat().st_mode & 0o777 == 0o750


def test_a_file_is_no_target(world: World) -> None:
    """It is said so, and the file stays."""
    snapshot = world.back_up()
    world.target.write_text("mine")
    with pytest.raises(UsageError, match="is not a directory"):
        world.restore(snapshot)
    assert world.target.read_text() == "mine"


class Ending(SystemCalls):
    """Ends like a process that is killed: before the n-th rename, file, folder or mode."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        if flags & os.O_CREAT:
            self._step()
        return super().open(path, flags, mode)

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._step()
        super().rename(old, new)

    def mkdir(self, path: Path | str, mode: int) -> None:
        self._step()
        super().mkdir(path, mode)

    def unlink(self, path: Path | str) -> None:
        self._step()
        super().unlink(path)

    def chmod(self, path: Path | str, mode: int) -> None:
        self._step()
        super().chmod(path, mode)

    def sync(self, fd: int) -> None:
        """Nobody cuts the power here."""


def test_a_restore_that_ends_at_any_step_cannot_be_started_and_goes_on(world: World, tree: Tree) -> None:
    """No service takes a part for a state directory; the same restore again makes it whole."""
    snapshot = world.back_up()
    wanted = {entry.path for entry in snapshot.files}
    for step in range(500):
        world.target = world.target.with_name(f"target-{step}")
        try:
            world.restore(snapshot, disk=Disk(Ending(step)))
        except KeyboardInterrupt:
            _check_not_startable(world.target)
        else:
            break
        if (world.target / "VERSION").exists():
            assert set(tree(world.target)) == wanted | {".restoring"}, (
                "it was done, and only its mark is left"
            )
            with pytest.raises(UsageError, match="is not empty"):
                world.restore(snapshot)
            continue
        restored = world.restore(snapshot)
        assert (restored.rows, restored.missing) == (dict(snapshot.rows), ())
        assert set(tree(world.target)) == wanted
    assert step > 40


def _check_not_startable(root: Path) -> None:
    """As long as the restore is not done, no service takes the directory; before its marker there is nothing in it."""
    if (root / "days").exists() and not (root / "VERSION").exists():
        with pytest.raises(AppiaError, match="has days but no VERSION"):
            claim_layout(StateNames(root), Disk())
    elif root.exists() and not (root / "VERSION").exists():
        assert {path.name.partition("restoring")[0] for path in root.iterdir()} <= {".", ".."}


def test_only_the_same_backup_goes_on(world: World) -> None:
    """Two moments are never mixed."""
    first, second = world.back_up(), world.back_up()
    with pytest.raises(KeyboardInterrupt):
        world.restore(first, disk=Disk(Ending(12)))
    with pytest.raises(
        UsageError, match=f"a part of the backup {first.name}: go on with --backup {first.name}"
    ):
        world.restore(second)
    assert world.restore(first).missing == ()


def test_what_a_broken_restore_wrote_wrongly_is_written_again(world: World) -> None:
    """It is compared, not trusted: a file may have its size and not its content."""
    snapshot = world.back_up()
    with pytest.raises(KeyboardInterrupt):
        world.restore(snapshot, disk=Disk(Ending(20)))
    there = world.target / "run/senders.json"
    assert there.stat().st_size == 2
    there.write_bytes(b"[]")
    world.restore(snapshot)
    assert there.read_bytes() == b"{}"


def _damage(world: World, snapshot: Any, path: str, how: str) -> None:
    entry = next(entry for entry in snapshot.files if entry.path == path)
    piece = world.store.folder / "pieces" / entry.pieces[0].sha256[:2] / entry.pieces[0].sha256
    content = bytearray(piece.read_bytes())
    if how == "gone":
        piece.unlink()
        return
    piece.chmod(0o640)
    content[len(content) // 2] ^= 1
    piece.write_bytes(
        {"changed": bytes(content), "cut": bytes(content[:-1]), "longer": bytes(content) + b"x"}[how]
    )


@pytest.mark.parametrize("how", ["changed", "cut", "longer", "gone"])
def test_a_damaged_backup_is_refused_with_the_name_of_the_file(world: World, how: str) -> None:
    """Nothing can be started then; the rest comes back on request, and the check names what lacks."""
    snapshot = world.back_up()
    path = f"days/{OTHER_DAY}/open/000001/events-000001.log"
    _damage(world, snapshot, path, how)
    with pytest.raises(
        AppiaError, match=f"(is damaged|is missing).*so {path} cannot be restored.*--despite-damage"
    ):
        world.restore(snapshot)
    assert not (world.target / "VERSION").exists()
    restored = world.restore(snapshot, despite_damage=True)
    assert len(restored.missing) == 1
    assert restored.missing[0].startswith(f"{path}: ")
    assert not (world.target / path).exists()
    assert f"day {OTHER_DAY} has 0 events; there were 3 when it was backed up" in restored.faults
    check_layout(StateNames(world.target))


def test_a_pipe_in_the_place_of_a_piece_holds_nobody_up(world: World) -> None:
    """It is as if the piece, or the snapshot, were missing."""
    snapshot = world.back_up()
    (entry,) = (one for one in snapshot.files if one.path == "VERSION")
    piece = world.store._path(entry.pieces[0].sha256)
    piece.unlink()
    os.mkfifo(piece)
    os.mkfifo(world.store.folder / "snapshots" / "20300101T000000Z.json")
    assert world.store.names() == [snapshot.name]
    with pytest.raises(AppiaError, match="is missing, so VERSION cannot be restored"):
        world.restore(snapshot)


def test_remarks_that_lack_are_named(world: World) -> None:
    """What analysts said is counted too."""
    snapshot = world.back_up()
    _damage(world, snapshot, "feedback/feedback-000001.log", "changed")
    restored = world.restore(snapshot, despite_damage=True)
    assert "there are 0 remarks of analysts; there were 2" in restored.faults


@pytest.mark.parametrize(
    "path", ["../out", "/etc/out", "run/../../out", "", "run//out", "run/.", "a\0b", "a\ud800b"]
)
def test_a_snapshot_that_leads_out_of_the_directory_is_refused(
    world: World, rewrite: Callable[..., None], path: str
) -> None:
    """Whoever can write to the folder of backups cannot write anywhere else."""
    snapshot = world.back_up()
    file = world.store.folder / "snapshots" / f"{snapshot.name}.json"
    rewrite(file, files=[{"path": path, "mode": 0o644, "pieces": []}])
    with pytest.raises(AppiaError, match=r"is damaged \(.*is no path below a state directory\)"):
        world.store.snapshot(snapshot.name)


def test_a_snapshot_gives_no_file_a_mode_that_runs(world: World, rewrite: Callable[..., None]) -> None:
    """Not for execution, and not as another user."""
    snapshot = world.back_up()
    file = world.store.folder / "snapshots" / f"{snapshot.name}.json"
    rewrite(file, files=[{"path": "run/x", "mode": 0o6777, "pieces": []}])
    (entry,) = world.store.snapshot(snapshot.name).files
    assert entry.mode == 0o644


def test_a_snapshot_plants_no_keys(world: World, rewrite: Callable[..., None]) -> None:
    """One that says that no secrets are in it has none: nobody looks for keys there that somebody else has too."""
    snapshot = world.back_up()
    file = world.store.folder / "snapshots" / f"{snapshot.name}.json"
    rewrite(file, files=[{"path": "keys/wire/ring.json", "mode": 0o400, "pieces": []}])
    with pytest.raises(AppiaError, match="has secrets in it and says that it has none"):
        world.store.snapshot(snapshot.name)


@pytest.mark.parametrize("path", ["run/bomb", "VERSION"])
def test_few_bytes_that_stand_for_many_fill_no_disk(
    world: World, rewrite: Callable[..., None], path: str
) -> None:
    """A file of one piece, over and over, is refused before anything is written or read."""
    snapshot = world.back_up()
    piece = world.store.put(bytes(1 << 16), secret=False)
    file = world.store.folder / "snapshots" / f"{snapshot.name}.json"
    pieces = [{"sha256": piece.sha256, "bytes": piece.bytes}] * 100
    if path != "VERSION":
        pieces = [{"sha256": piece.sha256, "bytes": 1 << 60}]
    rewrite(file, files=[{"path": path, "mode": 0o640, "pieces": pieces}])
    with pytest.raises(AppiaError, match=r"bytes more, and .* has room for|has 6553600 bytes"):
        world.restore(world.store.snapshot(snapshot.name))
    assert not world.target.exists()


def test_a_backup_of_a_newer_layout_is_refused_before_anything_is_written(world: World) -> None:
    """With the release that can read it; one whose VERSION alone is damaged comes back on request."""
    world.state.version.write_text("2\n")
    with pytest.raises(
        AppiaError, match="layout version '2', this release reads up to 1: install the release"
    ):
        world.restore(world.back_up())
    assert not world.target.exists()
    world.state.version.write_text("1\n")
    snapshot = world.back_up()
    _damage(world, snapshot, "VERSION", "changed")
    with pytest.raises(AppiaError, match="so VERSION cannot be restored"):
        world.restore(snapshot)
    world.restore(snapshot, despite_damage=True)
    check_layout(StateNames(world.target))


def test_a_directory_can_be_started_only_after_all_in_it_is_on_disk(world: World, synced: Any) -> None:
    """A power cut leaves a restore that goes on, or a whole state directory."""
    snapshot = world.back_up(keys=True)
    calls = synced("VERSION", "target/")
    world.restore(snapshot, disk=Disk(calls))
    assert calls.lost == [set()]
    assert not {path for path in calls.unsynced if "target/" in path}
