"""The folder of backups: what it is made of, who may work with it, and what is removed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.common.backup.checking import check_store
from services.common.backup.folder_store import FolderStore
from services.common.backup.places import check_apart, folder_of
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    World = Any

DAY, OTHER_DAY = "2026-01-22", "2026-01-23"


def test_old_backups_go_with_what_only_they_need(world: World) -> None:
    """What is left is whole, and a broken backup's pieces go too."""
    first = world.back_up()
    world.write(OTHER_DAY, 1, [b"sixth"])
    world.seal(DAY, 2, 1, {"events.log": b"a second generation"})
    world.disk.remove(world.state.day(DAY).generation(1).folder)
    second = world.back_up()
    with world.store.writing():
        orphan = world.store.put(b"of a broken backup", secret=False)
        needed = {piece.sha256 for entry in second.files for piece in entry.pieces}
        only_first = {piece.sha256: piece.bytes for entry in first.files for piece in entry.pieces}
        freed = world.store.prune([first.name])
    assert freed == sum(size for sha256, size in only_first.items() if sha256 not in needed) + orphan.bytes
    assert world.store.names() == [second.name]
    assert {path.name for path in world.store.folder.glob("pieces/*/*")} == needed
    assert world.restore(second).missing == ()


def test_nothing_is_removed_while_a_snapshot_cannot_be_read(world: World) -> None:
    """Nobody knows what it needs."""
    names = [world.back_up().name for _ in range(3)]
    (world.store.folder / "snapshots" / f"{names[1]}.json").write_bytes(b"{")
    pieces = set(world.store.folder.glob("pieces/*/*"))
    with world.store.writing(), pytest.raises(AppiaError, match="is damaged"):
        world.store.prune([names[0]])
    assert world.store.names() == names
    assert set(world.store.folder.glob("pieces/*/*")) == pieces


def test_names_ascend_also_after_the_clock_was_set_back(world: World) -> None:
    """So the newest backup is never the first to go."""
    first = world.back_up()
    world.now = world.now.replace(year=2020)
    second = world.back_up()
    assert world.store.names() == [first.name, second.name]


def test_damage_in_the_store_is_found_and_healed_by_the_next_backup(world: World) -> None:
    """The damaged piece is set aside, so that it is copied again while the original is there."""
    snapshot = world.back_up()
    path = f"days/{DAY}/sealed/000001/chunk/columns.bin"
    entry = next(entry for entry in snapshot.files if entry.path == path)
    piece = world.store.folder / "pieces" / entry.pieces[0].sha256[:2] / entry.pieces[0].sha256
    piece.chmod(0o640)
    piece.write_bytes(b"SEALED COLUMNS")
    with world.store.writing():
        found = check_store(world.store, lambda _done, _total: None)
    assert found.backups == 1
    assert found.faults == (
        f"{path} of backup {snapshot.name}: {piece} is damaged: it is not what its name says",
    )
    world.back_up()
    with world.store.writing():
        again = check_store(world.store, lambda _done, _total: None)
    assert (again.backups, again.pieces, again.faults) == (2, found.pieces, ())
    assert world.restore(snapshot).missing == ()


def test_a_piece_that_was_cut_is_written_again_by_the_next_backup(world: World) -> None:
    """Its size alone shows that it is not what it should be."""
    snapshot = world.back_up()
    for piece in world.store.folder.glob("pieces/*/*"):
        piece.chmod(0o640)
        piece.write_bytes(piece.read_bytes()[:-1])
    world.back_up()
    assert world.restore(snapshot).missing == ()


def test_a_snapshot_that_was_changed_is_named_by_the_check(
    world: World, rewrite: Callable[..., None]
) -> None:
    """By its own checksum; and one of a newer release, or under another name, is told apart."""
    one, two = world.back_up(), world.back_up()
    folder = world.store.folder / "snapshots"
    good = (folder / f"{one.name}.json").read_bytes()
    (folder / f"{one.name}.json").write_bytes(good.replace(b'"remarks":2', b'"remarks":3'))
    with world.store.writing():
        (fault,) = check_store(world.store, lambda _done, _total: None).faults
    assert "is damaged (its checksum does not fit)" in fault
    (folder / f"{one.name}.json").write_bytes(good.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(AppiaError, match="has format 2, this release reads up to 1: install a newer appia"):
        world.store.snapshot(one.name)
    rewrite(folder / f"{two.name}.json", name="20200101T000000Z")
    with pytest.raises(AppiaError, match="is the snapshot of another backup, 20200101T000000Z"):
        world.store.snapshot(two.name)


@pytest.mark.parametrize(
    "fields",
    [
        {"files": [{"path": "a", "mode": 420, "pieces": [{"sha256": "../x", "bytes": 1}]}]},
        {"files": [{"path": "a", "mode": 420, "pieces": [{"sha256": "0" * 64, "bytes": -1}]}]},
        {"files": [{"path": "a", "mode": True, "pieces": []}]},
        {"files": [{"path": "a", "mode": 1, "pieces": []}, {"path": "a", "mode": 1, "pieces": []}]},
        {"files": None},
        {"rows": {"../..": 1}},
        {"rows": {DAY: 0.5}},
        {"name": "../../etc/passwd"},
    ],
)
def test_nothing_in_a_snapshot_is_trusted(
    world: World, rewrite: Callable[..., None], fields: dict[str, object]
) -> None:
    """Whatever somebody put there is refused with a sentence."""
    name = world.back_up().name
    rewrite(world.store.folder / "snapshots" / f"{name}.json", **fields)
    with pytest.raises(AppiaError, match="is damaged"):
        world.store.snapshot(name)


def test_one_works_with_the_folder_at_a_time(world: World) -> None:
    """Others are told so at once; who only reads does not hold up who reads too."""
    world.back_up()
    other = FolderStore(Disk(), world.store.folder)
    with world.store.writing():
        with pytest.raises(AppiaError, match="another process works with"), other.writing():
            pass
        with pytest.raises(AppiaError, match="another process works with"), other.reading():
            pass
    with world.store.reading(), other.reading(), pytest.raises(AppiaError, match="another process"):
        world.back_up()


def test_a_folder_of_something_else_is_left_alone(world: World, tmp_path: Path) -> None:
    """Neither written nor read."""
    full = FolderStore(Disk(), tmp_path / "full")
    full.folder.mkdir()
    (full.folder / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no folder for backups"), full.writing():
        pass
    with pytest.raises(UsageError, match="is no folder for backups"), full.reading():
        pass
    assert [path.name for path in full.folder.iterdir()] == ["letter.txt"]
    with (
        pytest.raises(UsageError, match="is missing: make it, or mount"),
        FolderStore(Disk(), tmp_path / "not-mounted" / "store").writing(),
    ):
        pass
    (world.store.folder.parent / "new").mkdir()
    (world.store.folder.parent / "new" / "lost+found").mkdir()
    with FolderStore(Disk(), world.store.folder.parent / "new").writing():
        pass


def test_a_place_is_a_folder_by_its_path_or_its_url(tmp_path: Path) -> None:
    """Anything else is refused with what is allowed."""
    assert (
        folder_of(str(tmp_path))
        == folder_of(f"file://{tmp_path}")
        == folder_of(f"file://localhost{tmp_path}")
    )
    assert folder_of("file:///a%20b").name == "a b"
    for url, match in [
        ("s3://bucket/x", "s3:// is no place for backups"),
        ("sftp://host/x", "sftp:// is no place for backups"),
        ("file://host/x", "names no folder of this machine"),
        ("file:///x?y=1", "names no folder of this machine"),
        ("", "where is the backup"),
        ("a\0b", "where is the backup"),
    ]:
        with pytest.raises(UsageError, match=match):
            folder_of(url)


def test_a_backup_never_lies_in_what_it_copies(tmp_path: Path) -> None:
    """Nor the other way round, also not through a link."""
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "link").symlink_to(state)
    check_apart(state, tmp_path / "state-backup")
    for place in (state, state / "backup", tmp_path, tmp_path / "link" / "backup"):
        with pytest.raises(UsageError, match="lie in each other"):
            check_apart(state, place)


def test_a_folder_that_a_crash_left_half_made_is_made_whole(tmp_path: Path) -> None:
    """Its own marker may be there in part."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / ".appia-backup.json.123.staged").write_bytes(b"{")
    with FolderStore(Disk(), folder).writing():
        assert sorted(path.name for path in folder.iterdir()) == [
            "appia-backup.json",
            "incoming",
            "lock",
            "pieces",
            "snapshots",
        ]


def test_a_snapshot_is_there_only_after_all_that_it_names_is_on_disk(
    world: World, synced: type[SystemCalls]
) -> None:
    """Whatever a power cut leaves of a backup: every one that is listed is whole."""
    calls: Any = synced("snapshots", "pieces")
    for _ in range(2):
        world.back_up(disk=Disk(calls))
    assert calls.lost == [set(), set()]
    assert str(world.store.folder / "snapshots") not in calls.unsynced, "and it stays listed"


def test_names_that_a_killed_backup_did_not_sync_are_synced_by_the_next(
    world: World, synced: type[SystemCalls]
) -> None:
    """It finds the piece there and does not write it, but a power cut could still take its name."""
    world.back_up()
    calls: Any = synced("snapshots", "pieces")
    calls.unsynced = {str(path) for path in world.store.folder.glob("pieces/*")}
    assert calls.unsynced
    world.back_up(disk=Disk(calls))
    assert calls.lost == [set()]


class Stopping(SystemCalls):
    """Ends before the n-th name is taken away."""

    def __init__(self, left: int) -> None:
        self.left = left

    def unlink(self, path: Path | str) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().unlink(path)


def test_a_removal_that_ends_at_any_step_leaves_only_whole_backups(world: World) -> None:
    """What is listed has all of its pieces."""
    names = []
    for number in range(3):
        world.write(OTHER_DAY, 1, [b"event %d" % number])
        names.append(world.back_up().name)
    for step in range(100):
        store = FolderStore(Disk(Stopping(step)), world.store.folder)
        with suppress(KeyboardInterrupt), store.writing():
            store.prune([name for name in store.names() if name != names[-1]])
        with world.store.writing():
            assert check_store(world.store, lambda _done, _total: None).faults == ()
        assert world.store.names()[-1] == names[-1]
        if world.store.names() == names[-1:]:
            break
    assert step >= 2


def test_a_snapshot_does_not_come_back_after_its_pieces_are_gone(world: World, synced: Any) -> None:
    """Its name is off the disk before the first of them goes."""
    first = world.back_up()
    world.write(OTHER_DAY, 1, [b"sixth"])
    world.back_up()
    gone: list[tuple[bool, str]] = []

    class Watching(synced):
        def unlink(self, path: Path | str) -> None:
            super().unlink(path)
            gone.append((str(world.store.folder / "snapshots") in self.unsynced, str(path)))
            self.unsynced.add(str(Path(path).parent))

    store = FolderStore(Disk(Watching("snapshots", "pieces")), world.store.folder)
    with store.writing():
        store.prune([first.name])
    pieces = [unsynced for unsynced, path in gone if "pieces" in path]
    assert pieces
    assert not any(pieces)
