"""Rotating, retiring and revoking keys: what each leaves on disk, and that every step on the way can be read."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.system_calls import SystemCalls
from services.common.wire import ring_changes
from services.common.wire.keys import KeyRing, new_key_ring, node_seed_file, read_key_ring
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.ring_changes import new_node_seed, retire_key, revoke_key, rotate_ring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DISK = Disk()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    new_key_ring(tmp_path / "keys")
    return tmp_path / "keys"


def why(ring: KeyRing, key_id: int) -> Reason:
    with pytest.raises(FrameRefused) as refused:
        ring.opening_seed(key_id)
    return refused.value.reason


def test_a_new_key_seals_and_the_old_one_opens(keys: Path) -> None:
    """What is given is what lies there; files are 0400 and nothing else is left."""
    old = read_key_ring(keys)
    ring = rotate_ring(keys, DISK)
    assert ring == read_key_ring(keys)
    assert ring.primary != old.primary
    assert ring.opening_seed(old.primary) == old.sealing_seed() != ring.sealing_seed()
    names = {path.name for path in (keys / "wire").iterdir()}
    assert names == {"ring.json", f"{old.primary}.seed", f"{ring.primary}.seed"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (keys / "wire").iterdir()} == {0o400}


def test_an_id_that_was_used_is_not_drawn_again(keys: Path) -> None:
    """Neither one in the ring nor a revoked one: a revoked id must stay refused."""
    first, second = read_key_ring(keys).primary, rotate_ring(keys, DISK).primary
    revoke_key(keys, DISK, first)
    drawn = [first, second, 77]

    def random(size: int) -> bytes:
        return drawn.pop(0).to_bytes(4, "little") if size == 4 else os.urandom(size)

    assert rotate_ring(keys, DISK, random).primary == 77


def test_a_retired_key_is_unknown_and_a_revoked_one_refused(keys: Path) -> None:
    """Both are deleted; only the revoked one is named, and revoking it again does no harm."""
    first, second = read_key_ring(keys).primary, rotate_ring(keys, DISK).primary
    third = rotate_ring(keys, DISK).primary
    assert why(retire_key(keys, DISK, first), first) is Reason.UNKNOWN_KEY
    assert why(revoke_key(keys, DISK, second), second) is Reason.REVOKED_KEY
    assert revoke_key(keys, DISK, second) == read_key_ring(keys)
    ring = read_key_ring(keys)
    assert (why(ring, first), why(ring, second)) == (Reason.UNKNOWN_KEY, Reason.REVOKED_KEY)
    assert {path.name for path in (keys / "wire").iterdir()} == {"ring.json", f"{third}.seed"}


@pytest.mark.parametrize("end", [retire_key, revoke_key])
def test_the_primary_and_unknown_keys_cannot_go(
    keys: Path, end: Callable[[Path, Disk, int], KeyRing]
) -> None:
    """A slip of the finger changes nothing and is answered with what there is."""
    ring = read_key_ring(keys)
    with pytest.raises(UsageError, match="appia keys rotate"):
        end(keys, DISK, ring.primary)
    with pytest.raises(UsageError, match=f"there are {ring.primary}"):
        end(keys, DISK, ring.primary ^ 1)
    assert read_key_ring(keys) == ring


@pytest.mark.parametrize("change", [rotate_ring, lambda keys, disk: retire_key(keys, disk, 1)])
def test_without_a_ring_the_sentence_says_how_to_make_one(
    tmp_path: Path, change: Callable[[Path, Disk], object]
) -> None:
    with pytest.raises(AppiaError, match="appia keys new"):
        change(tmp_path, DISK)


class Interrupted(Exception):  # noqa: N818 - it stands for a power cut
    """The process ends here."""


class EndsAt(SystemCalls):
    """Does so many calls that change names or content, and ends the process at the next."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted

    def open(self, path: Path | str, flags: int, mode: int = 0o640) -> int:
        if flags & os.O_CREAT:
            self._step()
        return super().open(path, flags, mode)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._step()
        return super().write(fd, data)

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._step()
        super().rename(old, new)

    def unlink(self, path: Path | str) -> None:
        self._step()
        super().unlink(path)


@pytest.mark.parametrize("change", ["rotate", "retire", "revoke"])
def test_every_step_of_a_change_leaves_a_ring_that_works(tmp_path: Path, change: str) -> None:
    """Ended anywhere: the ring reads as before or as after, the primary is there, and it can be done again."""
    for left in range(40):
        keys = tmp_path / str(left)
        old = new_key_ring(keys).primary
        before = rotate_ring(keys, DISK)
        changes: dict[str, Callable[[Disk], KeyRing]] = {
            "rotate": lambda disk, keys=keys: rotate_ring(keys, disk),  # type: ignore[misc]
            "retire": lambda disk, keys=keys, old=old: retire_key(keys, disk, old),  # type: ignore[misc]
            "revoke": lambda disk, keys=keys, old=old: revoke_key(keys, disk, old),  # type: ignore[misc]
        }
        calls = EndsAt(left)
        try:
            changes[change](Disk(calls))
        except Interrupted:
            pass
        else:
            assert left > 0, "the change has no step that could be interrupted"
            return
        now = read_key_ring(keys)
        assert now.opening_seed(before.primary) == before.sealing_seed()
        assert now.primary == before.primary or change == "rotate"
        if change != "rotate" and old not in now.seeds and old not in now.revoked:
            assert change == "retire"
        if change == "rotate" or old in now.seeds:
            changes[change](DISK)
    pytest.fail("40 steps were not enough")


def test_changes_at_the_same_time_take_turns(keys: Path) -> None:
    """Eight rotations at once: every one of the keys is in the ring afterwards."""
    made: list[int] = []
    threads = [
        threading.Thread(target=lambda: made.append(rotate_ring(keys, DISK).primary)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(made) <= set(read_key_ring(keys).seeds)
    assert len(set(made)) == 8


@pytest.mark.parametrize("node", ["sniffer-1", "a/b", "..", ".hidden", "ü 1", "%41", "x" * 80])
def test_a_sensor_gets_a_seed_of_its_own(keys: Path, node: str) -> None:
    """Whatever the node is called: the file lies in its folder, and the ring reads it back by that name."""
    path = new_node_seed(keys, DISK, node)
    assert path.parent == keys / "wire" / "v1"
    assert not path.name.startswith(".")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    ring = read_key_ring(keys)
    assert ring.nodes == {node: bytes.fromhex(path.read_text())}
    with pytest.raises(UsageError, match="not overwritten"):
        new_node_seed(keys, DISK, node)


@pytest.mark.parametrize("node", ["", "a\nb", "x" * 129])
def test_what_is_no_node_id_gets_no_seed(keys: Path, node: str) -> None:
    with pytest.raises(UsageError, match="node id"):
        new_node_seed(keys, DISK, node)


def test_a_stray_name_among_the_sensors_is_refused(keys: Path) -> None:
    """A name that is not spelled as the command spells it could be meant for another node."""
    new_node_seed(keys, DISK, "a/b").rename(keys / "wire" / "v1" / "a%2fb.seed")
    with pytest.raises(AppiaError, match="appia keys sensor"):
        read_key_ring(keys)


def test_the_number_of_sensors_is_bounded(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seed is one more trial for a frame of an unknown sender, so there is a most."""
    monkeypatch.setattr(ring_changes, "MAX_NODE_SEEDS", 1)
    new_node_seed(keys, DISK, "a")
    with pytest.raises(AppiaError, match="the most"):
        new_node_seed(keys, DISK, "b")
    assert not node_seed_file(keys, "b").exists()


def test_seeds_of_sensors_that_cannot_be_read_are_not_passed_over(keys: Path) -> None:
    """A ring without them would believe others in their name."""
    (keys / "wire" / "v1").write_text("no folder")
    with pytest.raises(AppiaError, match="v1 could not be read"):
        read_key_ring(keys)


@pytest.mark.parametrize("mode", [0o420, 0o402, 0o666])
def test_a_ring_that_others_may_change_is_not_used(keys: Path, mode: int) -> None:
    """Who writes ring.json decides which keys are taken."""
    (keys / "wire" / "ring.json").chmod(mode)
    with pytest.raises(AppiaError, match="chmod 0400"):
        read_key_ring(keys)
