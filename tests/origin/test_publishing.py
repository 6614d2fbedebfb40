"""What is published is what replicas need, whole and in order; a kill loses nothing, and nothing goes unasked."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from services.common.counts import read_counts
from services.common.days.carried import carried
from services.common.days.holds import Book, Dropped, to_bytes
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.origin.fsspec_store import FsspecStore
from services.origin.publishing import Publisher
from services.origin.source import Source, Stopped
from services.origin.stores import FolderStore, open_store
from services.origin.tree import Tree
from tests.origin.conftest import OPEN, SEALED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.origin.stores import Store

PAUSE_S = 60.0


def publisher(world: Any, store: Store, stop: threading.Event | None = None, per_s: int = 0) -> Publisher:
    root = world.state.root
    return Publisher(root, Source(Tree(root), stop or threading.Event(), per_s), store, PAUSE_S)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


@pytest.fixture
def store(share: Path) -> FolderStore:
    return FolderStore(share, Disk())


def contents(root: Path) -> dict[str, bytes]:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {path: file.read_bytes() for path, file in found.items()}


def needed(world: Any) -> dict[str, bytes]:
    """What of the state directory is for mirrors."""
    return {path: data for path, data in contents(world.state.root).items() if carried(path) is not None}


def test_a_folder_has_all_that_replicas_need(world: Any, store: FolderStore, share: Path) -> None:
    """Byte by byte, and nothing else; a second look changes nothing."""
    (world.state.root / "keys").mkdir()
    (world.state.root / "keys" / "secret").write_text("x")
    publisher(world, store).publish(0)
    assert contents(share) == needed(world)
    before = {path: path.stat().st_mtime_ns for path in share.rglob("*")}
    publisher(world, store).publish(0)
    assert {
        path: path.stat().st_mtime_ns for path in share.rglob("*") if path.name in {"CURRENT", "VERSION"}
    } == {path: at for path, at in before.items() if path.name in {"CURRENT", "VERSION"}}
    sealed = share / "days" / SEALED / "sealed"
    assert all(path.stat().st_mtime_ns == before[path] for path in sealed.rglob("*"))


def test_an_object_store_has_the_same(world: Any) -> None:
    """Through fsspec: files whole."""
    filesystem = fsspec.filesystem("memory", skip_instance_cache=True)
    filesystem.store.clear()
    try:
        place = open_store("memory://bucket/site", world.state.root, Disk())
        filesystem.makedirs("/bucket/site", exist_ok=True)
        publisher(world, place).publish(0)
        found = {
            path.removeprefix("/bucket/site/"): filesystem.cat_file(path)
            for path in filesystem.find("/bucket")
        }
        assert found == needed(world)
        assert place.appends is False
        world.seal(OPEN)
        shutil.rmtree(world.state.day(OPEN).open_folder)
        publisher(world, place).publish(0)
        found = {
            path.removeprefix("/bucket/site/"): filesystem.cat_file(path)
            for path in filesystem.find("/bucket")
        }
        assert found == needed(world)
    finally:
        filesystem.store.clear()


def test_an_open_day_grows(world: Any, store: FolderStore, share: Path) -> None:
    """What is new is added where files can grow: the file there is the same one, longer."""
    one = publisher(world, store)
    one.publish(0)
    columns = share / "days" / OPEN / "open" / "000001" / "columns.bin"
    inode = columns.stat().st_ino
    world.write(OPEN, world.make(OPEN, 10, "more"))
    one.publish(1)
    assert contents(share) == needed(world)
    assert columns.stat().st_ino == inode
    assert read_counts(columns.with_name("metadata.count"))[0] == 30


def test_vectors_that_change_in_place_are_put_again_before_their_notes(
    world: Any, store: FolderStore, share: Path
) -> None:
    """After the pause, whole; until then neither the vectors nor the notes that speak of them are new."""
    names = world.state.day(OPEN).segment(1)
    names.rewritten("temporal").write_bytes(b"")
    one = publisher(world, store)
    one.publish(0)
    with names.vectors("temporal").open("r+b") as file:
        file.write(b"\xff" * 8)
    names.rewritten("temporal").write_bytes(b"\0\0\0\0")
    there = share / "days" / OPEN / "open" / "000001"
    one.publish(PAUSE_S - 1)
    assert (there / "temporal.rewritten").read_bytes() == b""
    one.publish(PAUSE_S)
    assert contents(share) == needed(world)


def test_counters_come_after_what_they_count(world: Any, share: Path) -> None:
    """And pointers after what they point at: whoever reads meanwhile finds all that is named."""
    seen: list[str] = []

    class Watched(FolderStore):
        def put(self, path: str, chunks: Iterable[bytes]) -> None:
            super().put(path, chunks)
            seen.append(path)

    publisher(world, Watched(share, Disk())).publish(0)
    open_files = [path for path in seen if "/open/" in path]
    counters = [path for path in open_files if path.endswith(".count")]
    assert open_files[-len(counters) :] == counters
    sealed = [path for path in seen if "/sealed/" in path]
    assert sealed[-1] == f"days/{SEALED}/sealed/CURRENT"
    for index in ("attack", "semantic", "temporal", "entity"):
        own = [path for path in sealed if f"/{index}/" in path]
        assert own[-1].endswith(f"{index}/CURRENT")


class Killed(Exception):  # noqa: N818 - what happens to the process
    pass


def test_a_publisher_that_was_killed_goes_on(world: Any, share: Path) -> None:
    """At every file that it puts; what is there already is not put again, and no pointer is ahead of its files."""
    puts: list[str] = []

    class Dying(FolderStore):
        left = 0

        def put(self, path: str, chunks: Iterable[bytes]) -> None:
            if self.left == 0:
                (self._root / path).parent.mkdir(parents=True, exist_ok=True)
                staged = (self._root / path).with_name(f".{Path(path).name}.staged")
                staged.write_bytes(next(iter(chunks), b"")[:3])
                raise Killed
            self.left -= 1
            super().put(path, chunks)
            puts.append(path)

    dying = Dying(share, Disk())
    for _ in range(500):
        dying.left = 1
        try:
            publisher(world, dying).publish(0)
        except Killed:
            _check_pointers(share)
        else:
            break
    assert contents(share) == needed(world)
    immutable = [path for path in puts if "/sealed/" in path]
    assert len(immutable) == len(set(immutable))


def _check_pointers(share: Path) -> None:
    for current in share.rglob("CURRENT"):
        assert (current.parent / current.read_text().strip()).is_dir()
    for manifest in share.glob("days/*/sealed/CURRENT"):
        chunk = manifest.parent / manifest.read_text().strip() / "chunk"
        told = json.loads((chunk / "manifest.json").read_text())
        assert told


def test_a_writer_that_starts_anew_has_its_files_put_whole(
    world: Any, store: FolderStore, share: Path
) -> None:
    """It may have cut back what was published; a new log tells."""
    one = publisher(world, store)
    one.publish(0)
    names = world.state.day(OPEN).segment(1)
    there = share / "days" / OPEN / "open" / "000001"
    with (there / "columns.bin").open("ab") as file:
        file.write(b"torn" * 10)
    names.log(2).write_bytes(b"")
    names.columns.write_bytes(names.columns.read_bytes() + b"other bytes than were torn" * 9)
    one.publish(1)
    assert contents(share) == needed(world)


def test_what_grew_otherwise_there_is_put_whole(world: Any, store: FolderStore, share: Path) -> None:
    """Its last bytes are compared."""
    (world.state.root / "feedback").mkdir()
    own = world.state.root / "feedback" / "feedback-000001.log"
    own.write_bytes(b"a" * 10)
    publisher(world, store).publish(0)
    (share / "feedback" / "feedback-000001.log").write_bytes(b"a" * 5 + b"torn")
    own.write_bytes(b"a" * 20)
    publisher(world, store).publish(1)
    assert (share / "feedback" / "feedback-000001.log").read_bytes() == b"a" * 20


def test_a_segment_goes_when_the_day_is_sealed(world: Any, store: FolderStore, share: Path) -> None:
    """After the generation that holds it, and its pointer, are there."""
    one = publisher(world, store)
    one.publish(0)
    world.seal(OPEN)
    one.publish(1)
    assert contents(share) == needed(world)
    assert (share / "days" / OPEN / "sealed" / "CURRENT").exists()
    assert list((share / "days" / OPEN / "open").glob("*")) == []


def test_a_day_goes_when_the_book_says_so_and_only_then(world: Any, store: FolderStore, share: Path) -> None:
    """A folder that is gone, as on a disk that is not mounted, is no reason."""
    one = publisher(world, store)
    one.publish(0)
    shutil.rmtree(world.state.day(SEALED).folder)
    one.publish(1)
    assert (share / "days" / SEALED / "sealed" / "CURRENT").exists()
    world.state.retention.write_bytes(
        to_bytes(Book(dropped=(Dropped(SEALED, "2026-02-01T00:00:00Z", 30, 1),)))
    )
    one.publish(2)
    assert not (share / "days" / SEALED).exists()
    assert contents(share) == needed(world)


def test_a_state_directory_that_is_away_takes_nothing_away(
    world: Any, store: FolderStore, share: Path
) -> None:
    """Nor is anything published of it."""
    one = publisher(world, store)
    one.publish(0)
    before = contents(share)
    world.state.root.rename(world.state.root.with_name("away"))
    with pytest.raises(AppiaError, match="is not a state directory"):
        one.publish(1)
    assert contents(share) == before


def test_a_share_that_is_not_mounted_is_not_filled(world: Any, share: Path) -> None:
    """The folder has to be there; it is never made."""
    shutil.rmtree(share)
    with pytest.raises(FileNotFoundError):
        publisher(world, FolderStore(share, Disk())).publish(0)
    assert not share.exists()


def test_a_share_that_is_taken_away_is_not_filled(world: Any, store: FolderStore, share: Path) -> None:
    """Its mount point is still there, and empty; nothing is put into it, and all goes on when the share is back."""
    one = publisher(world, store)
    one.publish(0)
    share.rename(share.with_name("unmounted"))
    share.mkdir()
    world.write(OPEN, world.make(OPEN, 5, "more"))
    with pytest.raises(FileNotFoundError, match="is the share mounted"):
        one.publish(1)
    assert list(share.iterdir()) == []
    share.rmdir()
    share.with_name("unmounted").rename(share)
    one.publish(2)
    assert contents(share) == needed(world)


def test_a_damaged_day_keeps_no_other_back(world: Any, store: FolderStore, share: Path) -> None:
    """It is told, and stays as it was published."""
    one = publisher(world, store)
    one.publish(0)
    before = contents(share)
    world.state.day(SEALED).current.write_text("nonsense")
    world.write(OPEN, world.make(OPEN, 5, "more"))
    with pytest.raises(AppiaError, match="should name a numbered folder"):
        one.publish(1)
    after = contents(share)
    assert read_counts(share / "days" / OPEN / "open" / "000001" / "metadata.count")[0] == 25
    assert {path: data for path, data in after.items() if SEALED in path} == {
        path: data for path, data in before.items() if SEALED in path
    }


def test_a_place_is_asked_once_and_not_at_each_look(world: Any, share: Path) -> None:
    """Nothing is listed or read there while nothing changes; after a failure and after an hour everything is."""
    asked: list[str] = []

    class Watched(FolderStore):
        appends = False
        fails = False

        def sizes(self, folder: str) -> Any:
            asked.append(folder)
            return super().sizes(folder)

        def read(self, path: str, start: int, length: int) -> Any:
            asked.append(path)
            return super().read(path, start, length)

        def put(self, path: str, chunks: Iterable[bytes]) -> None:
            if self.fails:
                raise OSError("the place fails")
            super().put(path, chunks)

    store = Watched(share, Disk())
    one = publisher(world, store)
    one.publish(0)
    first = set(asked)
    asked.clear()
    one.publish(1)
    one.publish(PAUSE_S + 1)
    assert asked == []
    shutil.rmtree(share / "days" / SEALED)
    one.publish(3600)
    assert contents(share) == needed(world)
    assert set(asked) == first
    asked.clear()
    store.fails = True
    world.write(OPEN, world.make(OPEN, 5, "more"))
    with pytest.raises(OSError, match="the place fails"):
        one.publish(3700)
    store.fails = False
    asked.clear()
    one.publish(3701)
    assert "days" in {path.partition("/")[0] for path in asked}
    one.publish(3701 + PAUSE_S)
    assert contents(share) == needed(world)


def test_old_decisions_go_as_they_go_here(world: Any, store: FolderStore, share: Path) -> None:
    """The log forgets its oldest; files that are not of it are left alone."""
    folder = world.state.root / "decisions"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"decisions-00000{number}.log").write_bytes(b"x")
    one = publisher(world, store)
    one.publish(0)
    (folder / "decisions-000001.log").unlink()
    one.publish(1)
    assert sorted(path.name for path in (share / "decisions").iterdir()) == [
        "decisions-000002.log",
        "decisions-000003.log",
    ]
    for path in folder.iterdir():
        path.unlink()
    one.publish(2)
    assert len(list((share / "decisions").iterdir())) == 2


def test_the_end_comes_in_the_middle_of_a_file(world: Any, store: FolderStore) -> None:
    """However slow it is published."""
    stop = threading.Event()
    one = publisher(world, store, stop, per_s=1000)
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(Stopped):
        one.publish(0)
    timer.join()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://user:word@host/x", "must hold no password"),
        ("nonsense://host/x", "no place that fsspec knows"),
        ("{state}/days", "lie in each other"),
        ("file://{state}", "lie in each other"),
    ],
)
def test_a_place_that_cannot_be_is_refused(world: Any, url: str, why: str) -> None:
    """In a sentence, and no password in it."""
    with pytest.raises(UsageError, match=why) as refused:
        open_store(url.format(state=world.state.root), world.state.root, Disk())
    assert "word@" not in str(refused.value)


def test_the_state_directory_of_another_ingester_is_no_place(world: Any, share: Path) -> None:
    """Publishing there would destroy it."""
    StateNames(share).lock.write_bytes(b"")
    with pytest.raises(UsageError, match="an ingester writes"):
        publisher(world, FolderStore(share, Disk())).publish(0)


@pytest.fixture
def failing() -> Callable[[], Any]:
    """A file system whose library raises errors of its own."""

    class Odd(Exception):  # noqa: N818 - of a library
        pass

    class Failing(fsspec.AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
        cachable = False

        def ls(self, *_: Any, **__: Any) -> Any:
            raise Odd("the bucket is away")

    return Failing


def test_an_error_of_any_library_is_one_of_the_system(failing: Callable[[], Any]) -> None:
    """So that it is told and tried again, and does not end the service."""
    with pytest.raises(OSError, match="Odd: the bucket is away"):
        FsspecStore(failing(), "bucket", renames=False).sizes("days")
