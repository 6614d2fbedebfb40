"""What is damaged of a sealed day is made good from its events, beside what serves; nothing else is touched."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.common.chain.store import read_chain
from services.common.days import chunk
from services.common.days.consistency import CORRUPT, MISSING, OK
from services.common.days.leases import hold_folder
from services.common.days.linking import mend
from services.common.days.manifest import MANIFEST, read_manifest
from services.common.days.names import INDICES, read_pointer
from services.common.days.proof import prove_day
from services.common.days.rebuild import Repairer
from services.common.days.scrub import Pace, Scrubber
from services.common.days.sealed_reader import SealedReader
from services.common.durable import Disk
from services.common.errors import AppiaError

from .conftest import DAY, faults, forge, put
from .test_linking import DiesAt, Killed, _opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.days.names import DayNames, GenerationNames, StateNames
    from services.common.days.sealing import Sealer

ROWS = 60


@pytest.fixture(params=["signed", "unsigned"])
def repairer(request: pytest.FixtureRequest, sealer: Sealer) -> Repairer:
    """What seals and repairs, with a chain and without one."""
    return Repairer(request.getfixturevalue("signing_sealer") if request.param == "signed" else sealer)


@pytest.fixture
def sealed(day: DayNames, repairer: Repairer) -> DayNames:
    """A sealed day."""
    assert repairer.sealer.seal(day, 1).failed == {}
    return day


@pytest.fixture
def serving(sealed: DayNames) -> Iterator[SealedReader]:
    """A reader that has the day open before it is damaged, as a replica has."""
    reader = SealedReader(DAY, sealed.generation(1))
    reader.view()
    yield reader
    reader.close()


def flip(path: Path, at: int = 100) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    put(path, bytes(data))


def file_of(one: GenerationNames, index: str) -> Path:
    folder = one.index_version(index, 1)
    return folder / max(read_manifest(folder).artifacts)


def ids(names: DayNames, generation: int) -> list[str]:
    """The events as a reader shows them, with every index there."""
    reader = SealedReader(DAY, names.generation(generation))
    view = reader.view()
    found = [str(fields["event_id"]) for fields in view.events.fetch(range(view.rows))]
    assert view.missing == {}
    assert all(reader.chunk.log.event(int(position)) for position in view.columns["position"])
    reader.close()
    return found


def is_whole(names: DayNames) -> bool:
    return Scrubber({}, Pace()).check_day(names).is_consistent


def left(state: StateNames, repairer: Repairer) -> list[str]:
    """What `appia verify` would find."""
    found = faults(state)
    is_signed = repairer.sealer.links.state_of(DAY) is not None
    return found if is_signed else [fault for fault in found if "is sealed and not signed" not in fault]


@pytest.mark.parametrize("index", INDICES)
def test_an_index_with_a_changed_bit_is_made_anew(
    sealed: DayNames, serving: SealedReader, repairer: Repairer, state: StateNames, index: str
) -> None:
    """The next version serves, the damaged one is gone, and a reader that had it goes over to it while it serves."""
    before = serving.view()
    flip(file_of(sealed.generation(1), index), 0)
    report = repairer.repair(sealed, index)
    assert (report.was, report.repaired, report.generation, report.version) == (CORRUPT, True, 1, 2)
    assert "SHA-256" in report.why
    assert sealed.generation(1).index_version(index, 1).exists() is False
    after = serving.view()
    assert after is not before
    assert after.missing == {}
    assert after.versions == {**dict.fromkeys(INDICES, 1), index: 2}
    assert (is_whole(sealed), left(state, repairer)) == (True, [])
    assert repairer.repair(sealed, index).repaired is False


@pytest.mark.parametrize("what", ["version", "index", "manifest", "pointer"])
def test_whatever_is_gone_of_an_index_comes_back_under_a_new_number(
    sealed: DayNames, repairer: Repairer, state: StateNames, what: str
) -> None:
    """A number that a link names is never given to other bytes."""
    one = sealed.generation(1)
    if what == "index":
        shutil.rmtree(one.index("semantic"))
    elif what == "version":
        shutil.rmtree(one.index_version("semantic", 1))
    elif what == "manifest":
        (one.index_version("semantic", 1) / MANIFEST).unlink()
    else:
        put(one.index_current("semantic"), b"\x00\x00")
    report = repairer.repair(sealed, "semantic")
    assert report.repaired
    assert read_pointer(one.index_current("semantic")) == report.version
    assert (is_whole(sealed), left(state, repairer)) == (True, [])
    signed = repairer.sealer.links.state_of(DAY)
    if signed is not None and what != "pointer":
        assert (report.was, report.version) == (MISSING, 2)
        assert set(signed.generations[1].indices["semantic"].versions) == {2}


@pytest.mark.parametrize("name", [chunk.METADATA, chunk.COLUMNS, chunk.IDENTITIES, chunk.SYMBOLS])
@pytest.mark.parametrize("how", ["bit", "gone"])
def test_a_chunk_is_made_anew_from_its_events(
    sealed: DayNames, repairer: Repairer, state: StateNames, name: str, how: str
) -> None:
    """The next generation has the same events in the same rows and every index; the damaged one is gone."""
    events = ids(sealed, 1)
    path = sealed.generation(1).chunk / name
    flip(path) if how == "bit" else path.unlink()
    report = repairer.repair(sealed, "chunk")
    assert (report.was, report.repaired, report.generation) == (CORRUPT if how == "bit" else MISSING, True, 2)
    assert (sealed.generations(), ids(sealed, 2)) == ([2], events)
    assert len(events) == ROWS
    assert (is_whole(sealed), left(state, repairer)) == (True, [])


def test_late_events_are_sealed_upon_a_repaired_day(
    sealed: DayNames,
    repairer: Repairer,
    state: StateNames,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """A repair takes nothing of the open segments, and the next sealing goes on from it."""
    write_segment(sealed.segment(2), make_payloads(20, seed=2))
    flip(sealed.generation(1).chunk / chunk.COLUMNS)
    assert repairer.repair(sealed, "chunk").generation == 2
    assert (sealed.segments(), len(ids(sealed, 2))) == ([2], ROWS)
    report = repairer.sealer.seal(sealed, 2)
    assert (report.generation, report.rows, sealed.segments()) == (3, ROWS + 20, [])
    assert left(state, repairer) == []


def test_a_reader_keeps_the_damaged_generation_until_it_lets_go(
    sealed: DayNames, repairer: Repairer, state: StateNames
) -> None:
    """What is read is not deleted; it is signed as retired, and goes when the day is sealed the next time."""
    handle = hold_folder(sealed.generation(1).folder)
    flip(sealed.generation(1).chunk / chunk.COLUMNS)
    assert repairer.repair(sealed, "chunk").generation == 2
    assert (sealed.generations(), left(state, repairer)) == ([1, 2], [])
    os.close(handle)


@pytest.mark.parametrize("how", ["bit", "gone"])
def test_damaged_events_are_never_built_from(sealed: DayNames, repairer: Repairer, how: str) -> None:
    """Neither the chunk nor an index is made of them; the backup is named, and what serves stays."""
    path = sealed.generation(1).chunk / chunk.EVENTS
    flip(path, 300) if how == "bit" else path.unlink()
    flip(file_of(sealed.generation(1), "attack"), 0)
    for part in ("chunk", "attack"):
        with pytest.raises(AppiaError, match="restore 2026-01-22 from a backup"):
            repairer.repair(sealed, part)
    assert (sealed.generations(), read_pointer(sealed.generation(1).index_current("attack"))) == ([1], 1)


def test_a_forged_chunk_is_not_signed_once_more(day: DayNames, signing_sealer: Sealer) -> None:
    """Events that fit an altered manifest are refused: the chain knows better."""
    signing_sealer.seal(day, 1)
    forge(day.generation(1).chunk, chunk.EVENTS)
    (day.generation(1).chunk / chunk.COLUMNS).unlink()
    with pytest.raises(AppiaError, match="was altered"):
        Repairer(signing_sealer).repair(day, "chunk")
    assert day.generations() == [1]


@pytest.mark.parametrize("how", ["torn", "gone"])
def test_a_day_whose_pointer_is_damaged_is_served_again(
    sealed: DayNames, repairer: Repairer, state: StateNames, how: str
) -> None:
    """It leads to what the last link says, or to the newest generation; nothing is built for that."""
    sealed.current.unlink() if how == "gone" else put(sealed.current, b"?")
    report = repairer.repair(sealed, "chunk")
    assert (report.was, report.repaired, report.generation) == (OK, True, 1)
    assert any("names generation 1" in sentence for sentence in report.done)
    assert (is_whole(sealed), left(state, repairer)) == (True, [])


def test_nothing_is_done_to_what_is_whole(sealed: DayNames, repairer: Repairer) -> None:
    """Each part is looked at, and left."""
    before = {path: path.stat().st_mtime_ns for path in sealed.folder.rglob("*")}
    for part in ("chunk", *INDICES):
        report = repairer.repair(sealed, part)
        assert (report.was, report.repaired, report.done) == (OK, False, ())
    assert {path: path.stat().st_mtime_ns for path in sealed.folder.rglob("*")} == before


def test_a_day_that_is_not_sealed_is_not_repaired(day: DayNames, repairer: Repairer) -> None:
    with pytest.raises(AppiaError, match="is not sealed"):
        repairer.repair(day, "attack")


def damage(names: DayNames, part: str) -> None:
    """Change a bit of what is served of a part."""
    generation = names.generation(read_pointer(names.current) or 0)
    if part == "chunk":
        flip(generation.chunk / chunk.COLUMNS)
    else:
        folder = generation.index_version(part, read_pointer(generation.index_current(part)) or 0)
        flip(folder / max(read_manifest(folder).artifacts), 0)


@pytest.mark.parametrize("part", ["attack", "chunk"])
def test_a_repair_that_is_killed_anywhere_is_finished_by_the_next(
    day: DayNames, signing_sealer: Sealer, state: StateNames, disk: Disk, part: str
) -> None:
    """Killed at each call from the publishing on: mended, it is whole or damaged as before, and repaired next time."""
    signing_sealer.seal(day, 1)

    def repair(calls: DiesAt) -> None:
        there = Disk(calls)
        Repairer(replace(signing_sealer, disk=there, links=_opened(state, there))).repair(day, part)

    whole = DiesAt()
    damage(day, part)
    repair(whole)
    one = day.generation(read_pointer(day.current) or 0)
    published = whole.done.index(str(one.folder if part == "chunk" else one.index_version(part, 2)))
    repaired = 0
    for calls in range(published, len(whole.done)):
        damage(day, part)
        with pytest.raises(Killed):
            repair(DiesAt(calls))
        links = _opened(state, disk)
        mend(links, day, disk)
        assert prove_day(DAY, [day], read_chain(state.links, None)).faults == (), calls
        repaired += is_whole(day)
        Repairer(replace(signing_sealer, links=links)).repair(day, part)
        assert (is_whole(day), faults(state)) == (True, []), calls
    assert 0 < repaired < len(whole.done) - published
