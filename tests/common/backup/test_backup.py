"""What a backup holds, what it leaves out, and that it is of one moment while the state directory changes."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.common.backup import copying
from services.common.backup.scope import Kind, survey
from services.common.days.log import LogReader, LogWriter
from services.common.days.log_format import EVENT
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.rest.storage_keys import StorageKeys, new_storage_keys, storage_keys_file
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    World = Any
    Tree = Callable[[Path], dict[str, tuple[str, int]]]

DAY, OTHER_DAY = "2026-01-22", "2026-01-23"
INDICES = ("attack", "semantic", "temporal", "entity")
IN_IT = {
    "VERSION",
    "access.toml",
    "chain/links.jsonl",
    f"days/{DAY}/sealed/000001/chunk/columns.bin",
    f"days/{DAY}/sealed/000001/chunk/events.log",
    f"days/{DAY}/sealed/000001/chunk/manifest.json",
    f"days/{DAY}/sealed/CURRENT",
    f"days/{OTHER_DAY}/open/000001/events-000001.log",
    "feedback/feedback-000001.log",
    "models/attack/0123/model.onnx",
    "models/attack/ACTIVE",
    "run/ports.json",
    "run/senders.json",
}


def test_what_is_in_a_backup_comes_back_byte_by_byte_with_its_mode(world: World, tree: Tree) -> None:
    """Everything but what is made again, says only who runs now, or belongs to the sensors; secrets not either."""
    before = tree(world.state.root)
    snapshot = world.back_up()
    restored = world.restore(snapshot)
    after = tree(world.target)
    assert set(after) == IN_IT
    assert {path: before[path] for path in IN_IT} == after
    assert (world.target.stat().st_mode & 0o777, after[f"days/{DAY}/sealed/000001/chunk/columns.bin"][1]) == (
        0o750,
        0o444,
    )
    assert snapshot.rows == restored.rows == {DAY: 2, OTHER_DAY: 3}
    assert (snapshot.remarks, restored.remarks, snapshot.faults) == (2, 2, ())
    assert {name for fault in restored.faults for name in INDICES if name in fault} == set(INDICES), (
        "the small generation has no indices, and nothing else is wrong"
    )
    assert len(restored.faults) == len(INDICES) + 1


def test_secrets_are_in_a_backup_only_on_request_and_stay_secret(world: World, tree: Tree) -> None:
    """In the store and restored only their owner may read them."""
    snapshot = world.back_up(keys=True)
    world.restore(snapshot)
    assert (world.target / "keys/wire/1.seed").read_bytes() == b"secret"
    assert tree(world.target)["keys/wire/1.seed"][1] == 0o400
    assert [(world.target / name).stat().st_mode & 0o777 for name in ("keys", "keys/wire")] == [0o700, 0o700]
    (piece,) = next(entry.pieces for entry in snapshot.files if entry.path == "keys/wire/1.seed")
    assert tree(world.store.folder)[f"pieces/{piece.sha256[:2]}/{piece.sha256}"][1] == 0o400


def test_a_log_is_copied_up_to_its_last_whole_record(
    world: World, payloads: Callable[[Path], list[bytes]]
) -> None:
    """What a writer has put there in part was never acknowledged."""
    path = world.state.day(OTHER_DAY).segment(1).log(1)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(whole[32:50])
    world.restore(world.back_up())
    copied = world.target / path.relative_to(world.state.root)
    assert copied.read_bytes() == whole
    assert payloads(copied) == [b"third", b"fourth", b"fifth"]


def test_a_log_without_a_whole_header_is_left_out(world: World) -> None:
    """A crash came before anything in it was acknowledged; a long one whose header is damaged is kept as it is."""
    folder = world.state.day(OTHER_DAY).segment(1).folder
    (folder / "events-000002.log").write_bytes(b"APPIALOG")
    (folder / "events-000003.log").write_bytes(bytes(5000))
    snapshot = world.back_up()
    names = {entry.path.rpartition("/")[2]: entry.size for entry in snapshot.files}
    assert "events-000002.log" not in names
    assert names["events-000003.log"] == 5000
    (fault,) = snapshot.faults
    assert "events-000003.log does not begin with the header of a log: it is damaged" in fault


def test_an_encrypted_log_is_copied_without_its_key(world: World, tmp_path: Path) -> None:
    """The records are found by their checksums, and stay encrypted."""
    file = tmp_path / "storage.keys"
    new_storage_keys(world.disk, file)
    keys = StorageKeys(file, print)
    path = world.state.day(OTHER_DAY).segment(1).log(2)
    with closing(LogWriter(world.disk, path, keys)) as log:
        log.append(EVENT, 3, [b"a private event"])
    restored = world.restore(world.back_up())
    copied = world.target / path.relative_to(world.state.root)
    assert restored.rows[OTHER_DAY] == 4
    assert copied.read_bytes() == path.read_bytes()
    assert b"a private event" not in copied.read_bytes()
    with closing(LogReader(copied, keys)) as reader:
        assert [record.payload for record in reader.scan()] == [b"a private event"]


def test_a_restored_key_checks_the_seal_of_records(world: World, tmp_path: Path) -> None:
    """The check after a restore opens encrypted records with the key that came with the backup."""
    keys = tmp_path / "other.keys", storage_keys_file(world.state.keys)
    for number, file in enumerate(keys, 2):
        new_storage_keys(world.disk, file)
        with closing(
            LogWriter(world.disk, world.state.day(OTHER_DAY).segment(1).log(number), StorageKeys(file, print))
        ) as log:
            log.append(EVENT, 3, [b"a private event"])
    found = [fault for fault in world.restore(world.back_up(keys=True)).faults if "storage key" in fault]
    assert len(found) == 1
    assert "events-000002.log is encrypted" in found[0]


def test_another_backup_writes_only_what_is_new(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that did not change cost nothing; of a log that grew, whole pieces are kept."""
    monkeypatch.setattr(copying, "PIECE", 64)
    world.back_up()
    stored = _pieces(world)
    world.back_up()
    assert _pieces(world) == stored
    world.write(OTHER_DAY, 1, [b"x" * 200])
    snapshot = world.back_up()
    new = _pieces(world) - stored
    grown = next(entry for entry in snapshot.files if entry.path.endswith("open/000001/events-000001.log"))
    assert {piece.sha256 for piece in grown.pieces} & stored, "the beginning is shared"
    assert new <= {piece.sha256 for piece in grown.pieces}, "and nothing else was written"
    assert 0 < len(new) < len(grown.pieces)


def test_sealed_files_that_are_in_the_store_are_not_read_again(world: World) -> None:
    """Their manifest says what they are: so a file that rots later is whole in every later backup."""
    world.back_up()
    sealed = world.state.day(DAY).generation(1).chunk / "events.log"
    sealed.chmod(0o644)
    sealed.write_bytes(b"SEALED EVENTS")
    snapshot = world.back_up()
    world.restore(snapshot)
    assert snapshot.faults == ()
    copied = world.target / sealed.relative_to(world.state.root)
    assert copied.read_bytes() == b"sealed events"


def test_what_is_damaged_before_the_first_backup_is_named_and_kept_as_it_is(world: World) -> None:
    """Nothing else suffers, and the restore names it too."""
    sealed = world.state.day(DAY).generation(1).chunk / "events.log"
    sealed.chmod(0o644)
    sealed.write_bytes(b"SEALED EVENTS")
    snapshot = world.back_up()
    assert snapshot.faults == (f"{sealed} is not what its manifest says; it was copied as it is",)
    restored = world.restore(snapshot)
    copied = world.target / sealed.relative_to(world.state.root)
    assert copied.read_bytes() == b"SEALED EVENTS"
    assert any(f"{copied} was changed" in fault for fault in restored.faults)


@pytest.mark.parametrize("damage", [b"000009x", b"000007", None])
def test_a_day_that_cannot_be_counted_is_copied_and_named(world: World, damage: bytes | None) -> None:
    """Whatever is wrong with its pointer or manifest; the other day is counted."""
    names = world.state.day(DAY)
    if damage is None:
        manifest = names.generation(1).chunk / "manifest.json"
        manifest.chmod(0o644)
        manifest.write_bytes(manifest.read_bytes().replace(b"through_segment", b"through"))
    else:
        names.current.write_bytes(damage)
    snapshot = world.back_up()
    (fault,) = snapshot.faults
    assert fault.startswith(f"day {DAY} cannot be counted: ")
    assert snapshot.rows == {OTHER_DAY: 3}
    assert {entry.path for entry in snapshot.files} == IN_IT


def test_events_of_a_segment_that_is_sealed_already_count_once(world: World) -> None:
    """A crash may have come before the segment was removed; the next start does that, also after a restore."""
    world.write(DAY, 1, [b"first", b"second"])
    world.write(DAY, 2, [b"late"])
    snapshot = world.back_up()
    assert snapshot.rows == {DAY: 3, OTHER_DAY: 3}
    assert world.restore(snapshot).rows == snapshot.rows


@pytest.mark.parametrize(
    "path",
    [
        f"days/{DAY}/sealed/000001/chunk/events.log",
        f"days/{OTHER_DAY}/open/000001/events-000001.log",
        "run/senders.json",
    ],
)
def test_a_file_that_cannot_be_read_does_not_keep_the_rest_out(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A bad sector is a fault of one file; it is named, and everything else is in the backup."""
    bad, opened, os_open = world.state.root / path, Path.open, os.open

    def broken(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == bad:
            raise OSError(5, "Input/output error", str(self))
        return opened(self, *args, **kwargs)

    def broken_too(file: Path | str, *args: Any, **kwargs: Any) -> int:
        if str(file) == str(bad):
            raise OSError(5, "Input/output error", str(file))
        return os_open(file, *args, **kwargs)

    monkeypatch.setattr(Path, "open", broken)
    monkeypatch.setattr(os, "open", broken_too)
    snapshot = world.back_up()
    assert snapshot.faults == (f"{bad} could not be read (Input/output error): it is not in the backup",)
    assert {entry.path for entry in snapshot.files} == IN_IT - {path}


class Meanwhile(SystemCalls):
    """Does something when a file of the store gets its name, once."""

    def __init__(self, what: Callable[[], None]) -> None:
        self.what: Callable[[], None] | None = what

    def rename(self, old: Path | str, new: Path | str) -> None:
        super().rename(old, new)
        if self.what is not None and "pieces" in str(new):
            what, self.what = self.what, None
            what()


def test_a_day_that_is_sealed_during_the_backup_is_in_it_once(
    world: World, payloads: Callable[[Path], list[bytes]]
) -> None:
    """The pass in which it happened does not count: the next one finds the day as it is sealed."""

    def seal() -> None:
        world.write(OTHER_DAY, 2, [b"late"])
        world.seal(OTHER_DAY, 1, 1, {"events.log": b"three events"})

    snapshot = world.back_up(disk=Disk(Meanwhile(seal)))
    world.restore(snapshot)
    assert snapshot.faults == ()
    names = [entry.path for entry in snapshot.files if OTHER_DAY in entry.path]
    assert f"days/{OTHER_DAY}/open/000001/events-000001.log" not in names
    assert f"days/{OTHER_DAY}/sealed/000001/chunk/events.log" in names
    assert payloads(world.target / f"days/{OTHER_DAY}/open/000002/events-000001.log") == [b"late"]
    assert snapshot.rows[OTHER_DAY] == 2, "a file for an event in the small generation, and the late one"


def test_a_link_of_the_chain_that_is_written_meanwhile_is_not_half_in_it(world: World) -> None:
    """Chain and days are of one moment: both as they were after the link."""
    links = world.state.root / "chain/links.jsonl"

    def publish() -> None:
        links.write_bytes(links.read_bytes() + b'{"link": 2}\n')
        world.seal(DAY, 2, 1, {"events.log": b"two"})

    world.restore(world.back_up(disk=Disk(Meanwhile(publish))))
    assert (world.target / "chain/links.jsonl").read_bytes() == b'{"link": 1}\n{"link": 2}\n'
    assert (world.target / f"days/{DAY}/sealed/CURRENT").read_text() == "000002\n"


def test_a_state_directory_that_never_stands_still_is_given_up_with_a_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No backup is made that mixes moments."""
    monkeypatch.setattr(copying, "MOST_PASSES", 3)
    looked = copying.survey

    def restless(root: Path, *, keys: bool) -> Any:
        (root / "access.toml").write_text(os.urandom(8).hex())
        os.utime(root / "access.toml", ns=(0, int.from_bytes(os.urandom(4), "big")))
        return looked(root, keys=keys)

    monkeypatch.setattr(copying, "survey", restless)
    with pytest.raises(AppiaError, match="changed during each of 3 passes"):
        world.back_up()
    assert world.store.names() == []


def test_small_files_of_the_run_are_copied_before_the_logs_and_logs_before_days(world: World) -> None:
    """They say what is in the logs (what was read of a watched folder), so they must not be newer than them."""
    kinds = [found.kind for found in survey(world.state.root, keys=True).files]
    assert kinds == sorted(kinds, key=lambda kind: kind.value)
    assert set(kinds) == set(Kind)
    by_path = {found.path: found.kind for found in survey(world.state.root, keys=True).files}
    assert by_path["run/senders.json"] is Kind.LOOSE
    assert by_path["feedback/feedback-000001.log"] is Kind.LOG
    assert by_path["chain/links.jsonl"] is Kind.PUBLISHED


def test_links_are_followed_where_operators_put_them_and_named_elsewhere(
    world: World, tmp_path: Path
) -> None:
    """A folder of days on another disk is copied; a link deeper inside is a fault, and so is a socket."""
    elsewhere = tmp_path / "other-disk"
    (world.state.root / "days").rename(elsewhere)
    (world.state.root / "days").symlink_to(elsewhere)
    odd = world.state.root / "chain" / "odd"
    odd.symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(world.state.root / "run/socket"))
        snapshot = world.back_up()
    assert {entry.path for entry in snapshot.files} == IN_IT
    assert snapshot.faults == (
        f"{odd} is neither a file nor a folder: it is not in the backup",
        f"{world.state.root}/run/socket is neither a file nor a folder: it is not in the backup",
    )


class Failing(SystemCalls):
    """Fails from the n-th change of a file on, as a disk or a machine that dies."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "Input/output error")

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        self._step()
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._step()
        return super().write(fd, data)

    def sync(self, fd: int) -> None:  # noqa: ARG002 - nobody cuts the power here
        self._step()

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


def test_a_backup_that_breaks_off_at_any_step_harms_nothing_and_goes_on(world: World, tree: Tree) -> None:
    """After each step in turn: no half backup is listed, the ones before are whole, and the next one succeeds."""
    first = world.back_up()
    for step in range(1000):
        world.write(OTHER_DAY, 1, [b"event %d" % step])
        known = world.store.names()
        with suppress(OSError):
            world.back_up(disk=Disk(Failing(step)))
        left = [name for name in world.store.names() if name not in known]
        with world.store.reading():
            for name in left:
                assert world.store.snapshot(name).rows[OTHER_DAY] == 4 + step
        if left and step > 10 and not list((world.store.folder / "incoming").iterdir()):
            break
    assert step > 15, "a backup has more steps than that"
    last = world.back_up()
    assert last.rows == {DAY: 2, OTHER_DAY: 3 + step + 1}
    world.restore(last)
    assert set(tree(world.target)) == IN_IT
    with world.store.reading():
        for piece in {piece for entry in first.files for piece in entry.pieces}:
            assert sum(map(len, world.store.read(piece))) == piece.bytes


def test_a_broken_backup_leaves_what_it_copied_for_the_next(world: World) -> None:
    """Pieces that are there are not written again."""
    with pytest.raises(OSError, match="Input/output"):
        world.back_up(disk=Disk(Failing(100)))
    there = _pieces(world)
    assert len(there) > 3
    stamps = {path: path.stat().st_mtime_ns for path in world.store.folder.glob("pieces/*/*")}
    world.back_up()
    assert there < _pieces(world)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def _pieces(world: World) -> set[str]:
    return {path.name for path in world.store.folder.glob("pieces/*/*")}
