"""A day whose logs are encrypted is sealed, sealed anew and indexed anew as any other, by who has the key."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.common.days.index_builder import IndexTools
from services.common.days.log import LogReader
from services.common.days.opening import Opening
from services.common.days.reindex import Reindexer
from services.common.days.sealed_reader import SealedReader
from services.common.days.verify import verify_day
from services.common.errors import AppiaError
from services.common.rest.storage_keys import StorageKeys, new_storage_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.embedders import Embedders
    from services.common.days.names import DayNames, StateNames
    from services.common.days.sealing import Sealer
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys

DAY = "2026-01-22"


@pytest.fixture
def keys(tmp_path: Path, disk: Disk) -> StorageKeys:
    new_storage_keys(disk, tmp_path / "storage.keys")
    return StorageKeys(tmp_path / "storage.keys", print)


def _events(day: DayNames, generation: int, keys: LogKeys) -> list[bytes]:
    with closing(SealedReader(DAY, day.generation(generation), opening=Opening(keys=keys))) as reader:
        view = reader.view()
        assert not view.missing
        return [view.events.payload(int(position)) for position in view.columns["position"].tolist()]


def test_a_plain_day_is_encrypted_when_it_is_sealed(
    state: StateNames,
    sealer: Sealer,
    keys: StorageKeys,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """A key that came later: open logs stay as they are, the sealed one has the key; columns need none."""
    day, payloads = state.day(DAY), make_payloads(100)
    write_segment(day.segment(1), payloads)
    replace(sealer, keys=keys).seal(day, 1)
    assert sorted(_events(day, 1, keys)) == sorted(payloads)
    raw = (day.generation(1).chunk / "events.log").read_bytes()
    assert not [payload for payload in payloads if payload[:24] in raw]
    assert verify_day(day).faults == verify_day(day, keys).faults == ()
    with closing(SealedReader(DAY, day.generation(1))) as reader:
        view = reader.view()
        assert (view.rows, dict(view.missing)) == (100, {})
        with pytest.raises(AppiaError, match="encrypted with the storage key"):
            view.events.payload(int(view.columns["position"][0]))


def test_late_events_make_a_new_generation_under_a_key_of_its_own(
    state: StateNames,
    sealer: Sealer,
    keys: StorageKeys,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """The events of the encrypted generation are in it; without the key nothing is published and nothing removed."""
    day, early, late = state.day(DAY), make_payloads(60), make_payloads(20, 2)
    write_segment(day.segment(1), early)
    own = replace(sealer, keys=keys)
    own.seal(day, 1)
    write_segment(day.segment(2), late)
    with pytest.raises(AppiaError, match="encrypted with the storage key"):
        sealer.seal(day, 2)
    assert (day.segments(), day.generations()) == ([2], [1])
    own.seal(day, 2)
    assert sorted(_events(day, 2, keys)) == sorted([*early, *late])
    blocks = []
    for number in (1, 2):
        with closing(LogReader(day.generation(number).chunk / "events.log")) as log:
            blocks.append(log._block)
    assert blocks[0] != blocks[1]


@pytest.mark.parametrize("index", ["attack", "semantic", "temporal", "entity"])
def test_an_index_of_an_encrypted_day_is_made_anew(  # noqa: PLR0917 - fixtures
    state: StateNames,
    sealer: Sealer,
    embedders: Embedders,
    keys: StorageKeys,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
    index: str,
) -> None:
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(50))
    replace(sealer, keys=keys).seal(day, 1)
    model = embedders.named(index)
    model.model_id = model.model_id.replace("0" * 12, "1" * 12)
    tools = IndexTools(embedders, sealer.progress)
    report = Reindexer(sealer.disk, tools, keys).build(day, index)
    assert (report.version, report.kept) == (2, 0)
    assert verify_day(day, keys).faults == ()
