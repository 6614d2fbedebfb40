"""An index of a sealed day is kept in a smaller form: the same rows, the same model, nearly the same neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days import compression, stored
from services.common.days.index_builder import IndexTools
from services.common.days.manifest import read_manifest
from services.common.days.names import INDICES, read_pointer
from services.common.days.overlap import read_overlap
from services.common.days.reindex import Reindexer
from services.common.days.repacking import Repacker, RepackReport
from services.common.days.stored import look_at_stored
from services.common.days.switching import activate, roll_back
from services.common.days.verify import verify_day
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.chain.store import ChainWriter
    from services.common.days.embedders import Embedders
    from services.common.days.names import DayNames, GenerationNames, StateNames
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.sealing import Sealer
    from services.common.durable import Disk

DAY = "2026-01-22"
ROWS = 1200


@pytest.fixture
def day(
    state: StateNames,
    signing_sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> DayNames:
    """A sealed and signed day."""
    names = state.day(DAY)
    write_segment(names.segment(1), make_payloads(ROWS))
    assert signing_sealer.seal(names, 1).failed == {}
    return names


@pytest.fixture
def repacker(disk: Disk, links: ChainWriter) -> Repacker:
    return Repacker(disk, lambda *_: None, links=links)


def test_a_smaller_form_waits_and_is_served(  # noqa: PLR0917 - fixtures
    day: DayNames,
    repacker: Repacker,
    disk: Disk,
    links: ChainWriter,
    read_sealed: Callable[[GenerationNames], SealedReader],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report says what it saves and how far answers agree; nothing was embedded; asked again nothing is made."""
    monkeypatch.setattr(compression, "LEAST_RECALL", 0.5)  # the vectors of the test have few neighbours
    monkeypatch.setattr(compression, "WORTH", 2.0)
    generation = day.generation(1)
    assert "attack" in look_at_stored(day).packable
    report = repacker.build(day, "attack", "balanced")
    assert isinstance(report, RepackReport)
    assert (report.version, read_pointer(generation.index_current("attack"))) == (2, 1)
    assert report.overlap is not None
    assert read_overlap(generation.index_version("attack", 2)) is not None
    again = repacker.build(day, "attack", "balanced")
    assert again.version == 2
    switch = activate(day, "attack", disk, links)
    assert switch.model == switch.before_model, "the model stays"
    view = read_sealed(generation).view()
    assert (view.missing, view.indices["attack"].rows) == ({}, ROWS)
    assert verify_day(day).faults == ()
    packed = read_manifest(generation.index_version("attack", 2))
    assert packed.facts["wanted"] == "balanced"
    assert packed.facts["chunk"] == read_manifest(generation.index_version("attack", 1)).facts["chunk"]
    found = look_at_stored(day)
    assert "attack" not in found.packable
    assert found.leftover["attack"] > 0
    assert repacker.build(day, "attack", "maximum").version == 2, "losses do not add up"
    assert roll_back(day, "attack", disk, links).version == 1


def test_a_version_of_another_model_that_waits_is_not_thrown_away(
    day: DayNames, repacker: Repacker, disk: Disk, embedders: Embedders, links: ChainWriter
) -> None:
    """Somebody made it with `appia reindex` and has not decided yet."""

    class Other:
        def __init__(self, inner: Any) -> None:
            self.inner, self.name, self.dim, self.metric = inner, inner.name, inner.dim, inner.metric
            self.model_id = f"{inner.name}@{'1' * 12}"

        def embed(self, values: Any, /) -> Any:
            return -self.inner.embed(values)

    others: Any = {name: Other(embedders.named(name)) for name in INDICES}
    tools = IndexTools(replace(embedders, **others), lambda *_: None)
    Reindexer(disk, tools, links=links).build(day, "attack")
    with pytest.raises(AppiaError, match="waits to be served"):
        repacker.build(day, "attack", "balanced")
    activate(day, "attack", disk, links)
    assert "attack" not in look_at_stored(day).leftover, "a version to go back to is no leftover"


def test_what_cannot_be_made_smaller_is_refused(day: DayNames, state: StateNames, repacker: Repacker) -> None:
    """An index of hosts, a day that is not sealed, an index that was altered."""
    with pytest.raises(UsageError, match="attack, semantic, temporal"):
        repacker.build(day, "entity", "balanced")
    with pytest.raises(AppiaError, match="not sealed"):
        repacker.build(state.day("2026-01-01"), "attack", "balanced")
    path = day.generation(1).index_version("attack", 1) / "rows.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(AppiaError, match="was changed"):
        repacker.build(day, "attack", "balanced")
    assert read_pointer(day.generation(1).index_current("attack")) == 1


def test_few_means_the_same_to_who_looks_and_who_packs() -> None:
    """The number stands twice because looking must not load faiss."""
    assert stored.FEW == compression.SMALL
