"""The file of a chain: appended to by one writer, whatever crash came before; followed by readers."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from services.common.chain.follower import ChainFollower
from services.common.chain.keys import new_signing_key, read_signing_ring, signing_folder
from services.common.chain.link import SEALED
from services.common.chain.state import CHUNK
from services.common.chain.store import ChainWriter, last_link, read_chain, read_lines
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.system_calls import SystemCalls

from .conftest import NOON_NS, digest, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Writer = Callable[[], ChainWriter]


def test_what_is_appended_is_read_back(path: Path, writer: Writer) -> None:
    """The first link begins the chain; a day has the state of its last link, for another writer too."""
    one = writer()
    assert one.state_of("2026-01-01") is None
    one.append(SEALED, state_of("2026-01-01"))
    one.append(SEALED, state_of("2026-01-01", 2))
    chain = read_chain(path, None)
    assert [link.what for link in chain.links] == ["begin", "sealed", "sealed"]
    assert chain.links[1].time == "2026-01-22T12:00:00Z"
    assert one.state_of("2026-01-01") == writer().state_of("2026-01-01") == state_of("2026-01-01", 2)
    last = last_link(path)
    assert last is not None
    assert last.digest == chain.head
    assert path.stat().st_mode & 0o777 == 0o640


def test_writers_in_turn_go_on_where_the_other_ended(path: Path, writer: Writer) -> None:
    """The ingester and its sealer each open the chain; what one wrote the other sees."""
    one, two = writer(), writer()
    for n in range(1, 5):
        (one if n % 2 else two).append(SEALED, state_of(f"2026-01-{n:02d}"))
    chain = read_chain(path, None)
    assert chain.faults == ()
    assert len(chain.links) == 5


def test_threads_append_one_after_the_other(path: Path, writer: Writer) -> None:
    """No link is lost or comes twice."""
    one = writer()
    threads = [
        threading.Thread(target=one.append, args=(SEALED, state_of(f"2026-01-{n:02d}"))) for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = read_chain(path, None)
    assert chain.faults == ()
    assert len(chain.days) == 8


def test_whatever_a_crash_leaves_of_a_link_is_cut_off(path: Path, writer: Writer) -> None:
    """Every prefix of the last link, and one with lost blocks, gives a chain that goes on as if it never had been."""
    writer().append(SEALED, state_of("2026-01-01"))
    before = path.read_bytes()
    writer().append(SEALED, state_of("2026-01-02"))
    link = path.read_bytes()[len(before) :]
    lost = bytes(200) + link[200:]
    for left in [*(link[:cut] for cut in range(0, len(link), 23)), lost, bytes(len(link))]:
        path.write_bytes(before + left)
        if b"\n" not in left:
            assert read_chain(path, None).faults == (), "readers wait for the end of a line"
        one = writer()
        assert one.state_of("2026-01-02") is None
        one.append(SEALED, state_of("2026-01-03"))
        chain = read_chain(path, None)
        assert chain.faults == ()
        assert list(chain.days) == ["2026-01-01", "2026-01-03"]


def test_a_crash_in_the_very_first_link_begins_anew(path: Path, writer: Writer) -> None:
    """Nothing was signed yet, so nothing is lost."""
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"key":"ab')
    writer().append(SEALED, state_of("2026-01-01"))
    assert read_chain(path, None).faults == ()


def test_a_chain_that_was_altered_is_not_continued(path: Path, writer: Writer) -> None:
    """A new link on top would hide it: the sentence names the link, and the file stays as it is."""
    for n in range(1, 4):
        writer().append(SEALED, state_of(f"2026-01-{n:02d}"))
    lines, _ = read_lines(path)
    damaged = b"\n".join([*lines[:2], lines[2].replace(b"12:00", b"13:00"), *lines[3:]]) + b"\n"
    path.write_bytes(damaged)
    with pytest.raises(AppiaError, match="link 3 was altered"):
        writer().append(SEALED, state_of("2026-01-09"))
    assert path.read_bytes() == damaged


def test_a_new_key_is_introduced_by_the_old(path: Path, writer: Writer, keys: Path, disk: Disk) -> None:
    """The next link hands over; a reader who trusts either key accepts all. Then the old seed may go."""
    writer().append(SEALED, state_of("2026-01-01"))
    ring = read_signing_ring(keys)
    assert ring is not None
    old = ring.active.public
    new = new_signing_key(keys, disk).public
    writer().append(SEALED, state_of("2026-01-02"))
    (signing_folder(keys) / f"{old.id}.key").unlink()
    writer().append(SEALED, state_of("2026-01-03"))
    for trusted in (old, new):
        chain = read_chain(path, trusted)
        assert chain.faults == ()
        assert [link.what for link in chain.links] == ["begin", "sealed", "key", "sealed", "sealed"]
        assert chain.keys == (old, new)


def test_a_chain_of_a_key_that_is_not_here_is_not_continued(
    path: Path, writer: Writer, tmp_path: Path, disk: Disk
) -> None:
    """The old key is needed to hand over; without it nothing is written."""
    writer().append(SEALED, state_of("2026-01-01"))
    new_signing_key(tmp_path / "others", disk)
    ring = read_signing_ring(tmp_path / "others")
    assert ring is not None
    size = path.stat().st_size
    with pytest.raises(AppiaError, match="not among the signing keys"):
        ChainWriter(path, ring, disk, lambda: NOON_NS).append(SEALED, state_of("2026-01-02"))
    assert path.stat().st_size == size


class FailsToSync(SystemCalls):
    """Loses what is not synced: the next sync of data fails once, as after an error of the disk."""

    def __init__(self) -> None:
        self.fails = False
        self.patched: list[int] = []

    def sync_data(self, fd: int) -> None:
        if self.fails:
            self.fails = False
            raise OSError(5, "Input/output error")
        super().sync_data(fd)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.patched.append(len(data))
        return super().pwrite(fd, data, offset)


def test_a_link_whose_sync_failed_is_written_again_before_the_next(path: Path, keys: Path) -> None:
    """It is read from memory then: another sync alone would not write it (https://lwn.net/Articles/752063/)."""
    calls = FailsToSync()
    ring = read_signing_ring(keys)
    assert ring is not None
    one = ChainWriter(path, ring, Disk(calls), lambda: NOON_NS)
    one.append(SEALED, state_of("2026-01-01"))
    calls.fails = True
    with pytest.raises(OSError, match="Input/output"):
        one.append(SEALED, state_of("2026-01-02"))
    calls.patched.clear()
    one.append(SEALED, state_of("2026-01-03"))
    assert calls.patched[0] >= len(read_lines(path)[0][2]) + 1
    assert read_chain(path, None).faults == ()


def test_a_follower_vouches_for_what_was_signed(path: Path, writer: Writer, keys: Path) -> None:
    """The manifest that was signed passes, another or one that no link names does not; new links are seen at once."""
    ring = read_signing_ring(keys)
    assert ring is not None
    told: list[str] = []
    follower = ChainFollower(path, ring.active.public, told.append)
    with pytest.raises(AppiaError, match="in no link"):
        follower.check("2026-01-01", 1, CHUNK, digest(10))
    writer().append(SEALED, state_of("2026-01-01"))
    follower.check("2026-01-01", 1, CHUNK, digest(10))
    follower.check("2026-01-01", 1, "attack/000001", digest(11))
    with pytest.raises(AppiaError, match="was altered"):
        follower.check("2026-01-01", 1, CHUNK, digest(11))
    with pytest.raises(AppiaError, match="in no link"):
        follower.check("2026-01-01", 2, CHUNK, digest(20))
    writer().append(SEALED, state_of("2026-01-01", 2))
    follower.check("2026-01-01", 2, CHUNK, digest(20))
    follower.check("2026-01-01", 1, CHUNK, digest(10)), "what a receipt names may be of before"
    assert told == []


def test_a_follower_tells_once_what_is_wrong_and_serves_the_rest(
    path: Path, writer: Writer, keys: Path, tmp_path: Path
) -> None:
    """A link that was altered counts no more, those after it do; a chain put in its place is read anew."""
    for n in range(1, 4):
        writer().append(SEALED, state_of(f"2026-01-{n:02d}"))
    shutil.copy(path, tmp_path / "good")
    lines, _ = read_lines(path)
    path.write_bytes(b"\n".join([*lines[:2], lines[2].replace(b"12:00", b"13:00"), *lines[3:]]) + b"\n")
    ring = read_signing_ring(keys)
    assert ring is not None
    told: list[str] = []
    follower = ChainFollower(path, ring.active.public, told.append)
    follower.check("2026-01-03", 1, CHUNK, digest(10))
    for _ in range(2):
        with pytest.raises(AppiaError, match="in no link"):
            follower.check("2026-01-02", 1, CHUNK, digest(10))
    assert len(told) == 1
    assert "link 3 was altered" in told[0]
    (tmp_path / "good").replace(path)
    follower.check("2026-01-02", 1, CHUNK, digest(10))


def test_a_chain_that_a_thief_put_there_vouches_for_nothing(
    path: Path, tmp_path: Path, keys: Path, disk: Disk
) -> None:
    """Whole in itself, and of another key."""
    new_signing_key(tmp_path / "thief", disk)
    ring, own = read_signing_ring(tmp_path / "thief"), read_signing_ring(keys)
    assert ring is not None
    assert own is not None
    ChainWriter(path, ring, disk, lambda: NOON_NS).append(SEALED, state_of("2026-01-01"))
    with pytest.raises(AppiaError, match="in no link"):
        ChainFollower(path, own.active.public, lambda _: None).check("2026-01-01", 1, CHUNK, digest(10))
