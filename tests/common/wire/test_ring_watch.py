"""Following a key ring: taken up whole or not at all, told once, cheap to ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from services.common.durable import Disk
from services.common.wire import ring_watch
from services.common.wire.keys import KeyRing, new_key_ring, read_key_ring
from services.common.wire.ring_changes import new_node_seed, retire_key, revoke_key, rotate_ring
from services.common.wire.ring_watch import RingWatch

if TYPE_CHECKING:
    from pathlib import Path

DISK = Disk()


class Watched:
    """A ring on disk, a watch over it, what it told, and a clock that moves past the next look."""

    def __init__(self, keys: Path) -> None:
        self.keys = keys
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.now = 0.0
        first = new_key_ring(keys)
        self.watch = RingWatch(
            keys, first, lambda event, facts: self.told.append((event, facts)), lambda: self.now
        )

    def look(self) -> KeyRing | None:
        self.now += 2.0
        return self.watch.changed()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "keys")


def test_every_change_is_given_once_and_told(watched: Watched) -> None:
    """Rotation, revocation, retirement and a sensor's seed; between them nothing is given."""
    first = watched.watch.ring.primary
    assert watched.look() is None
    second = rotate_ring(watched.keys, DISK)
    assert watched.look() == second
    assert watched.look() is None
    revoked = revoke_key(watched.keys, DISK, first)
    assert watched.look() == revoked
    third = rotate_ring(watched.keys, DISK)
    assert watched.look() == third
    retired = retire_key(watched.keys, DISK, second.primary)
    assert watched.look() == retired
    new_node_seed(watched.keys, DISK, "sniffer-1")
    ring = watched.look()
    assert ring is not None
    assert set(ring.nodes) == {"sniffer-1"}
    assert watched.look() is None
    assert [event for event, _ in watched.told] == ["key_ring_changed"] * 5
    assert watched.told[-1][1] == {
        "primary": third.primary,
        "opening": [third.primary],
        "revoked": [first],
        "nodes": ["sniffer-1"],
    }
    shown = repr(watched.told)
    assert not any(seed.hex() in shown for seed in (*ring.seeds.values(), *ring.nodes.values()))


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(watched: Watched) -> None:
    """File times are coarse: right after a change the folder is read again even where no time is new."""
    second = rotate_ring(watched.keys, DISK)
    assert watched.look() == second
    seed = next(path for path in (watched.keys / "wire").glob("*.seed") if path.stem != str(second.primary))
    times = (watched.keys / "wire").stat()
    seed.unlink()
    os.utime(watched.keys / "wire", ns=(times.st_atime_ns, times.st_mtime_ns))
    third = watched.look()
    assert third is not None
    assert set(third.seeds) == {second.primary}


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1, "primary": 1, "revoked": []}'])
def test_a_damaged_ring_is_told_once_and_the_last_good_one_stays(watched: Watched, content: bytes) -> None:
    """Told only at the second look, because a change may be under way; mended, it is taken up again."""
    path = watched.keys / "wire" / "ring.json"
    good = path.read_bytes()
    DISK.write_file(path, content, 0o400)
    assert watched.look() is None
    assert watched.told == []
    assert [watched.look() for _ in range(4)] == [None] * 4
    ((event, facts),) = watched.told
    assert (event, facts["kept"]["primary"]) == ("key_ring_unusable", watched.watch.ring.primary)
    assert "ring.json" in facts["why"]
    DISK.write_file(path, good, 0o400)
    assert watched.look() is None, "the ring is the one that was kept"
    assert [event for event, _ in watched.told] == ["key_ring_unusable", "key_ring_usable_again"]
    rotated = rotate_ring(watched.keys, DISK)
    assert watched.look() == rotated


def test_a_mode_that_is_put_right_is_noticed(watched: Watched) -> None:
    """`chmod` changes no time that is looked at."""
    second = rotate_ring(watched.keys, DISK)
    seed = watched.keys / "wire" / f"{second.primary}.seed"
    seed.chmod(0o644)
    assert [watched.look() for _ in range(3)] == [None] * 3
    assert [event for event, _ in watched.told] == ["key_ring_unusable"]
    seed.chmod(0o400)
    assert watched.look() == second


def test_a_folder_that_is_gone_changes_nothing(watched: Watched, tmp_path: Path) -> None:
    """An unmounted disk is no reason to forget the keys."""
    watched.keys.rename(tmp_path / "away")
    assert [watched.look() for _ in range(3)] == [None] * 3
    assert [event for event, _ in watched.told] == ["key_ring_unusable"]
    (tmp_path / "away").rename(watched.keys)
    assert watched.look() is None


def test_asking_often_does_not_look_often(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver asks a thousand times a second; the disk is looked at once."""
    looks: list[Path] = []

    def mark_of(keys: Path) -> tuple[()]:
        looks.append(keys)
        return ()

    monkeypatch.setattr(ring_watch, "_mark_of", mark_of)
    for _ in range(1000):
        watched.now += 0.001
        watched.watch.changed()
    assert 1 <= len(looks) <= 4


def test_what_changed_between_reading_and_watching_is_seen(tmp_path: Path) -> None:
    """A service reads the ring and begins to watch a little later."""
    first = new_key_ring(tmp_path)
    second = rotate_ring(tmp_path, DISK)
    now = [0.0]
    watch = RingWatch(tmp_path, first, lambda *_: None, lambda: now[0])
    assert watch.changed() == second == read_key_ring(tmp_path)
