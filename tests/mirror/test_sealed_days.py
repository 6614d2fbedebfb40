"""Sealed days of another host: pulled whole, checked before anything serves, and never taken away by mistake."""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from services.common.chain.follower import ChainFollower
from services.common.chain.keys import new_signing_key, read_signing_ring
from services.common.chain.store import ChainWriter
from services.common.counts import read_counts
from services.common.days.adopting import adopt
from services.common.days.held import read_held
from services.common.days.holds import Book, Dropped, to_bytes
from services.common.days.names import StateNames
from services.common.days.sealed_reader import SealedReader
from services.common.days.stored import size_of
from services.common.days.verify import verify_day
from services.common.durable import Disk
from tests.mirror.conftest import QuickCalls

if TYPE_CHECKING:
    from pathlib import Path

DAYS = ("2026-01-19", "2026-01-20", "2026-01-21")
DAY = DAYS[-1]


def held_days(mirror: Any) -> list[str]:
    """Days that serve here, whole."""
    found = [day for day in mirror.state.days() if mirror.state.day(day).current.exists()]
    assert all(not verify_day(mirror.state.day(day)).faults for day in found)
    return found


def not_held(mirror: Any) -> dict[str, str]:
    held = read_held(mirror.state.mirror)
    assert held is not None
    return dict(held.not_held)


def drop(there: Any, day: str) -> None:
    """As retention drops a day: into the book first, then its files."""
    there.disk.write_file(there.state.retention, to_bytes(Book(dropped=(Dropped(day, "", 1, 1),))))
    shutil.rmtree(there.state.day(day).folder)


def test_sealed_days_come_whole_the_newest_first(there: Any, make_mirror: Any, digests: Any) -> None:
    """Every byte is the one of the source, and what is served is named by a pointer after everything else."""
    for day in DAYS:
        there.fill(day, 30, sealed=True)
    mirror = make_mirror(there.state.root)
    order: list[str] = []
    rename = mirror.disk.rename
    mirror.disk.write_file = _noting(mirror.disk.write_file, order)
    mirror.settle()
    assert held_days(mirror) == list(DAYS)
    assert order == [f"days/{day}/sealed/CURRENT" for day in reversed(DAYS)]
    assert digests(mirror.state.root / "days", leave=()) == digests(there.state.root / "days", leave=())
    assert mirror.told == []
    assert not_held(mirror) == {}
    assert rename is not None


def _noting(write: Any, order: list[str]) -> Any:
    def noted(path: Path, data: bytes, *rest: Any) -> None:
        if path.parent.name == "sealed":
            order.append("/".join(path.parts[-4:]))
        write(path, data, *rest)

    return noted


def test_what_is_open_goes_when_its_generation_is_here(there: Any, make_mirror: Any) -> None:
    """Until then the open segment serves, so no event is missing for a moment."""
    there.fill(DAY, 30, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    there.seal(DAY)
    mirror.filesystem.left = 0
    with pytest.raises(Exception, match="cannot be read"):
        mirror.turn()
    assert mirror.state.day(DAY).segments() == [1]
    mirror.filesystem.left = 1 << 40
    mirror.settle()
    assert (mirror.state.day(DAY).segments(), held_days(mirror)) == ([], [DAY])
    there.write(DAY, there.make(DAY, 5, "late"), segment=2)
    mirror.turn()
    assert mirror.state.day(DAY).segments() == [2]
    there.seal(DAY, through=2)
    mirror.settle()
    assert mirror.state.day(DAY).generations() == [1, 2]
    with closing(SealedReader(DAY, mirror.state.day(DAY).generation(2))) as reader:
        assert reader.view().rows == 35


def test_a_link_that_is_cut_again_and_again_costs_no_byte_twice(there: Any, make_mirror: Any) -> None:
    """What was pulled stays, across cuts and kills; nothing serves before all is here."""
    there.fill(DAY, 400, sealed=True)
    mirror = make_mirror(there.state.root, bytes_per_s=40_000)
    whole = size_of(there.state.day(DAY).folder)
    for _ in range(60):
        mirror.filesystem.left = 60_000
        try:
            mirror.turn()
        except Exception as error:  # noqa: BLE001 - the link is cut in the middle of anything
            assert "cannot be read" in str(error)  # noqa: PT017 - it need not be cut each time
        if held_days(mirror):
            break
        mirror.restart()
    assert held_days(mirror) == [DAY]
    assert mirror.filesystem.read < 2 * whole
    assert mirror.told == []


@pytest.mark.parametrize("name", ["events.log", "metadata.db", "vectors.faiss", "identities.bin"])
@pytest.mark.parametrize("kind", ["flipped", "truncated", "endless"])
def test_a_file_that_is_not_what_its_manifest_says_never_serves(
    there: Any, make_mirror: Any, name: str, kind: str
) -> None:
    """It is refused, told once, and pulled again after a pause; the part that it is of does without it."""
    there.fill(DAY, 40, sealed=True)
    mirror = make_mirror(there.state.root)
    change = {
        "flipped": lambda data, start: bytes([data[0] ^ 1]) + data[1:] if data and not start else data,
        "truncated": lambda data, start: data[: max(50 - start, 0)],
        "endless": lambda data, _start: data + bytes(1 << 21),
    }[kind]
    mirror.filesystem.change = lambda path, start, data: change(data, start) if path.endswith(name) else data
    mirror.turn(2)
    if name == "vectors.faiss":
        assert len(mirror.told) == 4  # one an index
        assert mirror.state.day(DAY).current.exists()
        with closing(SealedReader(DAY, mirror.state.day(DAY).generation(1))) as reader:
            assert not reader.view().indices
    else:
        assert len(mirror.told) == 1
        assert held_days(mirror) == []
        assert mirror.told[0][1] in not_held(mirror)[DAY] or "not held here yet" in not_held(mirror)[DAY]
    mirror.filesystem.change = lambda _path, _start, data: data
    mirror.settle()
    assert held_days(mirror) == [DAY]
    with closing(SealedReader(DAY, mirror.state.day(DAY).generation(1))) as reader:
        assert set(reader.view().indices) == {"attack", "semantic", "temporal"}
    assert mirror.rounds.status.faults == ()
    assert not_held(mirror) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["artifacts"].update({"../../../../escape": raw["artifacts"]["events.log"]}),
        lambda raw: raw["artifacts"].update({"/tmp/escape": raw["artifacts"]["events.log"]}),  # noqa: S108
        lambda raw: raw["artifacts"].update({"..": raw["artifacts"]["events.log"]}),
        lambda raw: raw["artifacts"].update({"manifest.json": {"bytes": 10, "sha256": "0" * 64}}),
        lambda raw: raw.update(day="2026-01-01"),
        lambda raw: raw.update(generation=7),
        lambda raw: raw.update(kind="index"),
        lambda raw: raw.update(rows="many"),
        lambda raw: raw["facts"].pop("through_segment"),
        lambda raw: raw["artifacts"]["events.log"].update(bytes=1 << 60),
    ],
)
def test_a_manifest_that_lies_is_refused(there: Any, make_mirror: Any, change: Any, tmp_path: Path) -> None:
    """Names that lead elsewhere, another day, lengths beyond the disk: nothing of it serves, nothing lies elsewhere."""
    there.fill(DAY, 20, sealed=True)
    path = there.state.day(DAY).generation(1).chunk / "manifest.json"
    raw = json.loads(path.read_bytes())
    change(raw)
    path.chmod(0o600)
    path.write_text(json.dumps(raw))
    mirror = make_mirror(there.state.root)
    mirror.turn(2)
    assert held_days(mirror) == []
    assert DAY in not_held(mirror)
    assert len(mirror.told) >= 1
    assert not list(tmp_path.rglob("escape"))


def test_names_at_the_source_that_lead_elsewhere_are_passed_over(there: Any, make_mirror: Any) -> None:
    """Only what is named as days and numbers are is looked at."""
    there.fill(DAY, 10, sealed=True)
    for name in ("2026-13-99", "..days", "2026-01-21x", "link"):
        (there.state.root / "days" / name).mkdir()
    (there.state.day(DAY).open_folder / "00001x").mkdir(parents=True)
    (there.state.root / "days" / "2026-01-01").write_text("a file")
    mirror = make_mirror(there.state.root)
    mirror.settle()
    assert (mirror.state.days(), mirror.told) == ([DAY], [])


def test_a_day_goes_only_when_the_source_says_that_it_was_dropped(there: Any, make_mirror: Any) -> None:
    """A share that is not mounted, an empty list and a missing day delete nothing."""
    for day in DAYS:
        there.fill(day, 10, sealed=True)
    mirror = make_mirror(there.state.root)
    mirror.settle()
    days = there.state.root / "days"
    away = there.state.root.with_name("away")
    there.state.root.rename(away)
    with pytest.raises(Exception, match="no VERSION: it is no state directory, or not mounted"):
        mirror.turn()
    away.rename(there.state.root)
    days.rename(away)
    mirror.settle()
    days.mkdir()
    mirror.settle()
    days.rmdir()
    away.rename(days)
    assert held_days(mirror) == list(DAYS)
    drop(there, DAYS[0])
    mirror.settle()
    assert held_days(mirror) == list(DAYS[1:])
    assert not_held(mirror) == {}
    assert mirror.state.retention.read_bytes() == there.state.retention.read_bytes()


def test_a_day_that_a_replica_reads_goes_when_it_lets_go(there: Any, make_mirror: Any) -> None:
    """The pointer goes first, so that nobody new opens it; the files wait for those who have them."""
    there.fill(DAY, 10, sealed=True)
    mirror = make_mirror(there.state.root)
    mirror.settle()
    with closing(SealedReader(DAY, mirror.state.day(DAY).generation(1))) as reader:
        drop(there, DAY)
        mirror.settle()
        assert not mirror.state.day(DAY).current.exists()
        assert mirror.state.day(DAY).generations() == [1]
        assert reader.view().events.fetch([0])
        del reader._view
    del reader
    mirror.settle()
    assert mirror.state.days() == []


def test_the_newest_days_win_the_room(there: Any, make_mirror: Any) -> None:
    """What does not fit is named before it goes; nothing is pulled beyond the budget, also while it is pulled."""
    for day in DAYS:
        there.fill(day, 40, sealed=True)
    sizes = {day: size_of(there.state.day(day).folder) for day in DAYS}
    mirror = make_mirror(there.state.root, budget=int(2.5 * sizes[DAY]))
    mirror.settle()
    assert held_days(mirror) == list(DAYS[1:])
    assert not_held(mirror) == {
        DAYS[0]: "not held here: newer days take all the room that this mirror may use"
    }
    there.fill("2026-01-22", 40, sealed=True)
    most = 0
    for _ in range(4):
        mirror.clock.now += 600
        mirror.turn()
        most = max(most, size_of(mirror.state.root / "days"))
    assert held_days(mirror) == [DAY, "2026-01-22"]
    assert set(not_held(mirror)) == {DAYS[0], DAYS[1]}
    assert most <= mirror.budget
    mirror.budget = 0
    mirror.restart()
    mirror.settle()
    assert held_days(mirror) == [*DAYS, "2026-01-22"]


def test_versions_of_indices_are_followed(there: Any, make_mirror: Any) -> None:
    """Another version serves here when it serves there, also the one before again."""
    there.fill(DAY, 30, sealed=True)
    mirror = make_mirror(there.state.root)
    mirror.settle()
    there.sealer().build_again(there.state.day(DAY), "attack")
    mirror.settle()
    assert mirror.state.day(DAY).generation(1).index_current("attack").read_text() == "000002\n"
    assert (mirror.told, verify_day(mirror.state.day(DAY)).faults) == ([], ())


def test_with_a_signing_key_only_what_the_chain_names_is_pulled(
    there: Any, make_mirror: Any, tmp_path: Path
) -> None:
    """The chain is followed first; a generation that nobody signed does not come, and comes once it is signed."""
    there.fill(DAY, 20, sealed=True)
    new_signing_key(tmp_path / "keys", Disk())
    ring = read_signing_ring(tmp_path / "keys")
    assert ring is not None
    state = StateNames(tmp_path / "mirror-0")
    follower = ChainFollower(state.links, ring.active.public, lambda _: None)
    mirror = make_mirror(there.state.root, vouching=follower)
    mirror.turn(2)
    assert held_days(mirror) == []
    assert "in no link of the chain" in mirror.told[0][1]
    links = ChainWriter(there.state.links, ring, Disk(), lambda: 1_800_000_000 * 10**9)
    adopt(there.state.day(DAY), links)
    mirror.settle()
    assert held_days(mirror) == [DAY]
    assert state.links.read_bytes() == there.state.links.read_bytes()


def test_a_day_that_is_not_sealed_is_held_whatever_it_takes(there: Any, make_mirror: Any) -> None:
    """With room for nothing, the newest events are here, and what is sealed is named."""
    there.fill(DAYS[0], 20, sealed=True)
    there.fill(DAY, 30, sealed=False)
    mirror = make_mirror(there.state.root, budget=1)
    mirror.settle()
    assert mirror.state.day(DAY).segments() == [1]
    assert set(not_held(mirror)) == {DAYS[0]}


def test_a_full_disk_is_said_and_pulling_goes_on_when_there_is_room(there: Any, make_mirror: Any) -> None:
    """What is here serves on; nothing that could not be written whole is ever counted or published."""
    there.fill(DAYS[0], 30, sealed=True)
    there.fill(DAY, 30, sealed=False)
    calls = FullCalls()
    mirror = make_mirror(there.state.root, disk=Disk(calls))
    mirror.settle()
    there.fill(DAYS[1], 300, sealed=True)
    there.fill(DAY, 300, sealed=False)
    calls.left = 20_000
    for _ in range(4):
        mirror.clock.now += 600
        with suppress(OSError):
            mirror.turn()
    assert held_days(mirror) == [DAYS[0]]
    assert any("No space left" in why for _, why in mirror.told)
    assert read_counts(mirror.state.day(DAY).segment(1).counts("metadata"))[0] in {30, 330}
    calls.left = 1 << 40
    mirror.settle()
    assert held_days(mirror) == [DAYS[0], DAYS[1]]
    assert read_counts(mirror.state.day(DAY).segment(1).counts("metadata"))[0] == 330
    assert mirror.rounds.status.faults == ()


class FullCalls(QuickCalls):
    """The system, with room for so many bytes more."""

    left = 1 << 40

    def write(self, fd: int, data: Any) -> int:
        if self.left < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= len(data)
        return int(super().write(fd, data))
