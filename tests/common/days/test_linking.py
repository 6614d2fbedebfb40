"""What is published of a day is signed before it is pointed at, whatever crash comes in between."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.common.chain.keys import read_signing_ring
from services.common.chain.store import ChainWriter, NoLinks, read_chain
from services.common.days.adopting import adopt
from services.common.days.index_builder import IndexTools
from services.common.days.linking import describe, mend
from services.common.days.manifest import read_manifest
from services.common.days.names import number_name, read_pointer
from services.common.days.proof import prove_day
from services.common.days.reindex import Reindexer
from services.common.days.switching import activate, roll_back
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.system_calls import SystemCalls

from .conftest import DAY, NOON_NS, Projection, faults, forge, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.embedders import Embedders
    from services.common.days.names import DayNames, StateNames
    from services.common.days.sealing import Sealer

_ONCE = -2  # calls for the first link of a chain, which only the first sealing makes


def whats(state: StateNames) -> list[str]:
    return [link.what for link in read_chain(state.links, None).links]


def test_a_sealed_day_is_proved(
    day: DayNames,
    state: StateNames,
    signing_sealer: Sealer,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """Each generation is one link, with the one before that is kept; older ones are retired by it."""
    signing_sealer.seal(day, 1)
    assert faults(state) == []
    for number in (2, 3):
        write_segment(day.segment(number), make_payloads(20, seed=number))
        signing_sealer.seal(day, number)
        assert faults(state) == []
    assert whats(state) == ["begin", "sealed", "sealed", "sealed"]
    signed = read_chain(state.links, None).state_of(DAY)
    assert signed is not None
    assert (signed.served, list(signed.generations)) == (3, [2, 3])
    assert signed.generations[3] == describe(day.generation(3))


def test_every_version_is_signed_before_it_serves(  # noqa: PLR0917 - fixtures
    day: DayNames,
    state: StateNames,
    signing_sealer: Sealer,
    links: ChainWriter,
    embedders: Embedders,
    disk: Disk,
) -> None:
    """Made anew, served, taken back, made again, and built because it was missing: the chain proves each of them."""
    signing_sealer.seal(day, 1)
    for version in ("1" * 12, "2" * 12):
        other = replace(embedders, attack=Projection("attack", 8, "l2", version))
        Reindexer(disk, IndexTools(other, lambda *_: None), links=links).build(day, "attack")
        assert faults(state) == []
        activate(day, "attack", disk, links)
        assert faults(state) == []
    roll_back(day, "attack", disk, links)
    assert faults(state) == []
    assert whats(state)[2:] == ["waits", "served", "waits", "served", "served"]
    overlap = day.generation(1).index_version("attack", 3) / "overlap.json"
    assert overlap.name in read_manifest(overlap.parent).artifacts, (
        "the report of a version is signed with it"
    )


def test_an_index_that_failed_is_signed_when_it_is_there(
    day: DayNames,
    state: StateNames,
    signing_sealer: Sealer,
    embedders: Embedders,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The day is signed without it; several that come later are a link each, and none loses another."""

    def broken(_values: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(embedders.attack, "embed", broken)
        patched.setattr(embedders.semantic, "embed", broken)
        assert set(signing_sealer.seal(day, 1).failed) == {"attack", "semantic"}
    chain = read_chain(state.links, None)
    assert prove_day(DAY, [day], chain).faults == ()
    signing_sealer.build_missing(day)
    assert faults(state) == []
    assert whats(state) == ["begin", "sealed", "indexed", "indexed"]


class Killed(BaseException):
    """Stands for the end of the process at this very call."""


class DiesAt(SystemCalls):
    """The process ends at the n-th call that changes something."""

    def __init__(self, calls: int | None = None) -> None:
        self._last = calls
        self.done: list[str] = []  # the name that each call changed, empty where it has none

    def _count(self, what: Path | str = "") -> None:
        if len(self.done) == self._last:
            raise Killed
        self.done.append(str(what))

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._count()
        return super().write(fd, data)

    def sync_data(self, fd: int) -> None:
        self._count()
        super().sync_data(fd)

    def rename(self, old: Path | str, new: Path | str) -> None:
        self._count(new)
        super().rename(old, new)

    def unlink(self, path: Path | str) -> None:
        self._count(path)
        super().unlink(path)


def _dies(work: Callable[[Disk], object], calls: int) -> bool:
    try:
        work(Disk(DiesAt(calls)))
    except Killed:
        return True
    return False


def _opened(state: StateNames, disk: Disk) -> ChainWriter:
    ring = read_signing_ring(state.keys)
    assert ring is not None
    return ChainWriter(state.links, ring, disk, lambda: NOON_NS)


@pytest.mark.usefixtures("links")
def test_a_crash_anywhere_between_publishing_and_pointing_is_mended(
    day: DayNames, state: StateNames, signing_sealer: Sealer, embedders: Embedders, disk: Disk
) -> None:
    """Killed at each call of a switch of versions in turn: after mending the chain and the disk say the same."""
    signing_sealer.seal(day, 1)
    ended = 0
    for calls in range(60):
        other = replace(embedders, attack=Projection("attack", 8, "l2", f"{calls:012d}"))
        waiting = IndexTools(other, lambda *_: None)
        Reindexer(disk, waiting, links=_opened(state, disk)).build(day, "attack")
        was_killed = _dies(lambda there: activate(day, "attack", there, _opened(state, there)), calls)
        ended += was_killed
        for sentence in mend(_opened(state, disk), day, disk):
            assert "attack" in sentence
        assert faults(state) == [], calls
        if not was_killed:
            break
    assert ended >= 4, "link, pointer and removals are calls of their own"


@pytest.mark.usefixtures("links")
def test_a_crash_anywhere_while_a_generation_is_published_is_mended(
    state: StateNames,
    sealer: Sealer,
    disk: Disk,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """Killed at each call from the rename on: sealed again or served as signed, and no event is lost or doubled."""

    def seal(day: DayNames, calls: SystemCalls) -> None:
        there = Disk(calls)
        replace(sealer, disk=there, links=_opened(state, there)).seal(day, 1)

    whole = DiesAt()
    first = state.day("2026-02-01")
    write_segment(first.segment(1), make_payloads(12), batch=12)
    seal(first, whole)
    published = whole.done.index(str(first.generation(1).folder))
    pointed = whole.done.index(str(first.current))
    assert published + 4 <= pointed, "the link is written and synced in between"
    served = 0
    for calls in range(published, pointed + 4):
        day = state.day(f"2026-03-{calls - published + 1:02d}")
        write_segment(day.segment(1), make_payloads(12), batch=12)
        with pytest.raises(Killed):
            seal(day, DiesAt(calls + _ONCE))
        mend(_opened(state, disk), day, disk)
        assert prove_day(day.day, [day], read_chain(state.links, None)).faults == (), calls
        if read_pointer(day.current) is None:
            assert day.segments() == [1], "what was not served is made again from its segment"
            seal(day, SystemCalls())
        else:
            served += 1
        assert prove_day(day.day, [day], read_chain(state.links, None)).faults == ()
        assert read_manifest(day.generation(read_pointer(day.current) or 0).chunk).rows == 12
    assert 0 < served < pointed + 4 - published


def test_mending_never_goes_back_to_an_older_generation(  # noqa: PLR0917 - fixtures
    day: DayNames,
    state: StateNames,
    sealer: Sealer,
    signing_sealer: Sealer,
    links: ChainWriter,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """What was sealed while there was no key has events that the signed generation lacks: it stays, and is named."""
    signing_sealer.seal(day, 1)
    write_segment(day.segment(2), make_payloads(20, seed=2))
    sealer.seal(day, 2)
    assert mend(links, day, sealer.disk) == []
    assert read_pointer(day.current) == 2
    assert any("names 2, and link 2 says 1" in fault for fault in faults(state))
    signed = adopt(day, links)
    assert "000002/chunk" in signed.parts
    assert faults(state) == []


@pytest.mark.parametrize("part", ["chunk", "attack/000001"])
def test_what_was_altered_is_not_signed_once_more(  # noqa: PLR0917 - fixtures
    day: DayNames,
    signing_sealer: Sealer,
    links: ChainWriter,
    embedders: Embedders,
    part: str,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """A forged file with a manifest made to fit goes into no new generation, version or adoption."""
    signing_sealer.seal(day, 1)
    disk = signing_sealer.disk
    other = replace(embedders, attack=Projection("attack", 8, "l2", "1" * 12))
    reindexer = Reindexer(disk, IndexTools(other, lambda *_: None), links=links)
    reindexer.build(day, "attack")
    folder = day.generation(1).folder / part
    forge(folder, "columns.bin" if part == "chunk" else "vectors.faiss")
    with pytest.raises(AppiaError, match="altered"):
        adopt(day, links)
    if part == "chunk":
        write_segment(day.segment(2), make_payloads(20, seed=2))
        with pytest.raises(AppiaError, match="altered"):
            reindexer.build(day, "semantic")
        with pytest.raises(AppiaError, match="altered"):
            signing_sealer.seal(day, 2)
    else:
        activate(day, "attack", disk, links)
        with pytest.raises(AppiaError, match="altered"):
            roll_back(day, "attack", disk, links)


def test_events_that_were_altered_in_place_are_not_sealed_again(
    day: DayNames,
    signing_sealer: Sealer,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """The log of the generation before is hashed whole before its events go into the next."""
    signing_sealer.seal(day, 1)
    log = day.generation(1).chunk / "events.log"
    put(log, log.read_bytes()[:-1] + b"\x00")
    write_segment(day.segment(2), make_payloads(20, seed=2))
    with pytest.raises(AppiaError, match="SHA-256"):
        signing_sealer.seal(day, 2)
    assert read_pointer(day.current) == 1


def test_without_a_key_days_are_sealed_as_ever(
    day: DayNames, state: StateNames, sealer: Sealer, disk: Disk
) -> None:
    """No chain, no mending but what never served."""
    sealer.seal(day, 1)
    assert not state.links.exists()
    assert mend(NoLinks(), day, disk) == []
    assert prove_day(DAY, [day], read_chain(state.links, None)).faults == (
        f"{day.sealed_folder} is sealed and not signed",
    )


def test_pointers_are_written_as_numbers(day: DayNames, signing_sealer: Sealer) -> None:
    """Mending writes what sealing writes."""
    signing_sealer.seal(day, 1)
    before = day.current.read_bytes()
    put(day.current, b"")
    day.current.unlink()
    assert mend(signing_sealer.links, day, signing_sealer.disk)
    assert day.current.read_bytes() == before == f"{number_name(1)}\n".encode()
