"""The chain proves a day: whatever was altered, removed or put in is named, and a reader maps nothing of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from services.common.chain.follower import ChainFollower
from services.common.chain.keys import read_signing_ring
from services.common.chain.store import ChainWriter, read_chain
from services.common.days.adopting import adopt, sign_removal
from services.common.days.linking import mend
from services.common.days.names import ENTITY, INDICES
from services.common.days.opening import Opening
from services.common.days.proof import prove_day
from services.common.days.sealed_reader import SealedReader
from services.common.errors import AppiaError

from .conftest import DAY, faults, forge, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.names import DayNames, GenerationNames, StateNames
    from services.common.days.sealing import Sealer
    from services.common.durable import Disk


def test_days_from_before_there_was_a_key_are_signed_once(
    day: DayNames, state: StateNames, sealer: Sealer, links: ChainWriter
) -> None:
    """Until then they are named; a file that does not fit its manifest is found; nothing is signed twice."""
    sealer.seal(day, 1)
    adopted = state.day("2026-03-01")
    with pytest.raises(AppiaError, match="not sealed"):
        adopt(adopted, links)
    assert prove_day(DAY, [day], read_chain(state.links, None)).faults
    path = day.generation(1).chunk / "identities.bin"
    good = path.read_bytes()
    put(path, good[:-1] + b"\x01")
    with pytest.raises(AppiaError, match=r"identities\.bin"):
        adopt(day, links)
    put(path, good)
    assert len(adopt(day, links).parts) == 1 + len(INDICES)
    assert adopt(day, links).parts == ()
    assert [link.what for link in read_chain(state.links, None).links] == ["begin", "adopted"]
    assert faults(state) == []


def test_a_removed_day_is_signed_as_removed(
    day: DayNames, state: StateNames, signing_sealer: Sealer, links: ChainWriter, disk: Disk
) -> None:
    """Its link says so; then it may be gone, and may not be there."""
    signing_sealer.seal(day, 1)
    with pytest.raises(AppiaError, match="is there"):
        sign_removal(day, links)
    aside = state.root / "aside"
    day.folder.rename(aside)
    assert prove_day(DAY, [day], read_chain(state.links, None)).faults == (
        f"day {DAY} was removed: link 2 says that it is sealed",
    )
    sign_removal(day, links)
    assert prove_day(DAY, [day], read_chain(state.links, None)).faults == ()
    with pytest.raises(AppiaError, match="nothing to say"):
        sign_removal(day, links)
    aside.rename(day.folder)
    assert "says it is removed" in prove_day(DAY, [day], read_chain(state.links, None)).faults[0]
    assert mend(links, day, disk) == []


def _alter_manifest(day: DayNames) -> str:
    forge(day.generation(2).chunk, "metadata.db")
    return "sealed/000002/chunk/manifest.json was altered: link 3"


def _alter_index(day: DayNames) -> str:
    forge(day.generation(2).index_version("semantic", 1), "rows.bin")
    return "semantic/000001/manifest.json was altered: link 3"


def _alter_file(day: DayNames) -> str:
    path = day.generation(2).chunk / "events.log"
    put(path, path.read_bytes()[:-1] + b"\x00")
    return "events.log was changed"


def _alter_the_one_before(day: DayNames) -> str:
    path = day.generation(1).index_version(ENTITY, 1) / "profiles.bin"
    put(path, path.read_bytes()[:-1] + b"\x01")
    return "profiles.bin was changed"


def _roll_back(day: DayNames) -> str:
    put(day.current, b"000001\n")
    return "CURRENT names 1, and link 3 says 2"


def _no_pointer(day: DayNames) -> str:
    day.current.unlink()
    return "CURRENT is missing, and link 3 says 2"


def _damage_pointer(day: DayNames) -> str:
    put(day.generation(2).index_current("attack"), b"../..")
    return "should name a numbered folder"


def _remove_index(day: DayNames) -> str:
    day.generation(2).index("attack").rename(day.folder / "aside")
    return "attack/000001/manifest.json cannot be read"


def _remove_generation(day: DayNames) -> str:
    day.generation(1).folder.rename(day.folder / "aside")
    return "sealed/000001 was removed: link 3"


def _put_in_a_file(day: DayNames) -> str:
    folder = day.generation(2).chunk
    folder.chmod(0o755)
    (folder / "metadata.db-wal").write_bytes(b"x")
    return "metadata.db-wal was put in"


def _put_in_a_version(day: DayNames) -> str:
    shutil.copytree(
        day.generation(2).index_version("attack", 1), day.generation(2).index_version("attack", 2)
    )
    return "attack/000002 is in no link"


def _put_in_a_generation(day: DayNames) -> str:
    shutil.copytree(day.generation(2).folder, day.generation(3).folder)
    return "sealed/000003 is in no link"


@pytest.mark.parametrize(
    "attack",
    [
        _alter_manifest,
        _alter_index,
        _alter_file,
        _alter_the_one_before,
        _roll_back,
        _no_pointer,
        _damage_pointer,
        _remove_index,
        _remove_generation,
        _put_in_a_file,
        _put_in_a_version,
        _put_in_a_generation,
    ],
)
def test_what_was_done_to_a_day_is_named(  # noqa: PLR0917 - fixtures
    day: DayNames,
    state: StateNames,
    signing_sealer: Sealer,
    attack: Callable[[DayNames], str],
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """Altered, removed, put in, or another generation served: the sentence names the file, and the link that knows."""
    signing_sealer.seal(day, 1)
    write_segment(day.segment(2), make_payloads(20, seed=2))
    signing_sealer.seal(day, 2)
    assert faults(state) == []
    says = attack(day)
    assert any(says in fault for fault in faults(state)), faults(state)


class _Swapping:
    """Vouches as another does, and puts forged files in the place of what was vouched for in the same moment."""

    def __init__(self, inner: ChainFollower, generation: GenerationNames) -> None:
        self._inner, self._generation = inner, generation

    def check(self, day: str, generation: int, part: str, digest: str) -> None:
        self._inner.check(day, generation, part, digest)
        forge(self._generation.folder / part, "symbols.bin" if part == "chunk" else "rows.bin")


def test_what_was_vouched_for_is_what_is_mapped(
    day: DayNames, state: StateNames, signing_sealer: Sealer
) -> None:
    """A manifest that is replaced once it was vouched for is not looked at: its files do not fit the one that was."""
    ring = read_signing_ring(state.keys)
    assert ring is not None
    follower = ChainFollower(state.links, ring.active.public, lambda _: None)
    signing_sealer.seal(day, 1)
    generation = day.generation(1)
    reader = SealedReader(DAY, generation, opening=Opening(vouching=follower))
    reader._opening = Opening(vouching=_Swapping(follower, generation))
    assert "has" in reader.view().missing["attack"]
    assert "attack" not in reader.view().indices
    reader.close()
    with pytest.raises(AppiaError, match=r"symbols\.bin has"):
        SealedReader(DAY, generation, opening=Opening(vouching=_Swapping(follower, generation)))


def test_a_reader_with_the_public_key_maps_only_what_was_signed(
    day: DayNames, state: StateNames, signing_sealer: Sealer
) -> None:
    """A forged index is missing and the day serves without it; a forged or unsigned chunk is not opened."""
    ring = read_signing_ring(state.keys)
    assert ring is not None
    opening = Opening(vouching=ChainFollower(state.links, ring.active.public, lambda _: None))
    signing_sealer.seal(day, 1)
    generation = day.generation(1)
    forge(generation.index_version("attack", 1), "rows.bin")
    reader = SealedReader(DAY, generation, opening=opening)
    view = reader.view()
    assert "was altered" in view.missing["attack"]
    assert set(view.indices) == {"semantic", "temporal"}
    reader.close()
    forge(generation.chunk, "symbols.bin")
    with pytest.raises(AppiaError, match=f"chunk of generation 1 of {DAY} was altered"):
        SealedReader(DAY, generation, opening=opening)
    other = state.day("2026-01-23")
    day.segment(1)
    with pytest.raises(AppiaError, match="in no link"):
        opening.vouching.check(other.day, 1, "chunk", "0" * 64)
