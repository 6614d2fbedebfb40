"""Whatever stands in the place of a pointer or a manifest: the day is damaged, and who looks at all days goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.common.chain.store import read_chain
from services.common.days.consistency import check_day
from services.common.days.holds import Book
from services.common.days.proof import prove_day
from services.health.probes.retention import stored_days

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.days.names import DayNames, StateNames
    from services.common.days.sealing import Sealer

STRANGE_VALUES: tuple[Any, ...] = (None, [], {}, [[1]], "x", -1, True, 0.5, 1 << 70, "../../VERSION", "a\0b")
STRANGE_BYTES = (b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b"9" * 5000, b'"x"', b"1e999")


@pytest.fixture
def sealed(day: DayNames, signing_sealer: Sealer) -> DayNames:
    signing_sealer.seal(day, 1)
    return day


def look(day: DayNames, state: StateNames) -> bool:
    """Whether nothing is wrong; everybody who looks at all days looks at this one, and goes on."""
    found = check_day(day, {}, lambda _seconds: None)
    json.dumps(found.as_plain(), allow_nan=False)
    stored_days(state, Book())
    prove_day(day.day, [day], read_chain(state.links, None), contents=False)
    return found.is_consistent


def pieces(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    for key in list(node):
        yield node, key
        if isinstance(node[key], dict):
            yield from pieces(node[key])


@pytest.mark.parametrize("part", ["chunk", "attack/000001", "entity/000001"])
def test_no_value_in_a_manifest_ends_who_reads_it(sealed: DayNames, state: StateNames, part: str) -> None:
    """A number that is a text, facts that are a list: it is no valid manifest, and that is all."""
    path = sealed.generation(1).folder / part / "manifest.json"
    document = json.loads(path.read_bytes())
    for node, key in list(pieces(document)):
        kept = node[key]
        for value in STRANGE_VALUES:
            node[key] = value
            path.write_text(json.dumps(document), "utf-8")
            look(sealed, state)
        node[key] = kept


def test_no_file_in_the_place_of_another_ends_who_reads_it(sealed: DayNames, state: StateNames) -> None:
    """Bytes of any kind, a folder, a link to itself: the day is damaged."""
    generation = sealed.generation(1)
    places = (sealed.current, generation.index_current("attack"), generation.chunk / "manifest.json")
    for path in places:
        kept = path.read_bytes()
        for data in STRANGE_BYTES:
            path.write_bytes(data)
            assert not look(sealed, state)
        path.unlink()
        path.mkdir()
        assert not look(sealed, state)
        path.rmdir()
        path.symlink_to(path)
        assert not look(sealed, state)
        path.unlink()
        path.write_bytes(kept)
    assert look(sealed, state)


def test_no_file_in_the_place_of_a_folder_ends_who_reads_it(sealed: DayNames, state: StateNames) -> None:
    """Neither one of the generation nor that of all of them."""
    generation = sealed.generation(1)
    folders: tuple[Path, ...] = (
        sealed.sealed_folder,
        generation.folder,
        generation.chunk,
        generation.index("attack"),
    )
    for folder in folders:
        aside = folder.with_name("aside")
        folder.rename(aside)
        folder.write_bytes(b"x")
        assert not look(sealed, state)
        folder.unlink()
        aside.rename(folder)
    assert look(sealed, state)
