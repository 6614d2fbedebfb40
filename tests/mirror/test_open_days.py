"""The open day of another host is here, byte for byte, as far as it was committed there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.open_reader import OpenSegmentReader
from services.common.days.open_writer import VectorSpec, VectorWriter
from services.common.durable import Disk
from services.common.rest.storage_keys import new_storage_keys, open_log_keys

if TYPE_CHECKING:
    from pathlib import Path

DAY, NEXT = "2026-01-22", "2026-01-23"


def view_of(state: Any, day: str = DAY, number: int = 1, keys: Any = None) -> Any:
    """What a replica would see of a segment, with a few of its events."""
    reader = OpenSegmentReader(day, state.day(day).segment(number), *([] if keys is None else [keys]))
    with closing(reader):
        view = reader.view()
        rows = list(range(0, view.rows, 7))
        return {
            "rows": view.rows,
            "identity": view.identity,
            "texts": list(view.texts),
            "missing": dict(view.missing),
            "events": view.events.fetch(rows),
            "payloads": [view.events.payload(int(view.columns["position"][row])) for row in rows],
            "vectors": {name: np.array(one.vectors).tobytes() for name, one in view.indices.items()},
        }


def test_an_open_day_is_copied_as_it_grows(there: Any, make_mirror: Any, digests: Any) -> None:
    """Every byte of log, columns, tables and vectors is the same; the database, made here, gives the same events."""
    mirror = make_mirror(there.state.root)
    for count in (300, 1, 40):
        there.fill(DAY, count, sealed=False)
        mirror.turn()
        assert view_of(mirror.state) == view_of(there.state)
    there.fill(NEXT, 20, sealed=False)
    mirror.turn()
    assert digests(mirror.state.root / "days") == digests(there.state.root / "days")
    assert mirror.told == []
    assert mirror.rounds.status.behind_s == 0.0


def test_more_rows_than_are_taken_at_once_arrive_in_one_poll(
    there: Any, make_mirror: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that begins in the middle of a day takes it in parts, each of which can be seen."""
    monkeypatch.setattr("services.mirror.open_events.AT_ONCE", 64)
    monkeypatch.setattr("services.mirror.open_index.AT_ONCE", 50)
    there.fill(DAY, 500, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    assert view_of(mirror.state) == view_of(there.state)


def test_nothing_is_taken_that_is_not_committed(there: Any, make_mirror: Any) -> None:
    """What lies behind the counters of the source may still be cut off: neither files nor rows of it come here."""
    there.fill(DAY, 30, sealed=False)
    names = there.state.day(DAY).segment(1)
    sizes = {path.name: path.stat().st_size for path in names.folder.iterdir()}
    for name in (
        "columns.bin",
        "tags.bin",
        "symbols.bin",
        "addresses.bin",
        "events-000001.log",
        "attack.f32",
    ):
        with (names.folder / name).open("ab") as file:
            file.write(b"\xff" * 500)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    here = mirror.state.day(DAY).segment(1).folder
    copied = ("columns.bin", "tags.bin", "symbols.bin", "addresses.bin", "events-000001.log", "attack.f32")
    assert {name: (here / name).stat().st_size for name in copied} == {name: sizes[name] for name in copied}
    assert mirror.told == []


def test_a_mirror_that_is_killed_goes_on_where_it_was(there: Any, make_mirror: Any, digests: Any) -> None:
    """Nothing is closed in order, and what a power cut left behind the counters is cut off and pulled again."""
    there.fill(DAY, 60, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    here = mirror.state.day(DAY).segment(1).folder
    for name in ("columns.bin", "symbols.bin", "tags.bin", "events-000001.log", "semantic.f32"):
        with (here / name).open("ab") as file:
            file.write(bytes(77))
    before = mirror.filesystem.read
    mirror.restart()
    there.fill(DAY, 40, sealed=False)
    mirror.turn()
    assert view_of(mirror.state) == view_of(there.state)
    assert digests(here) == digests(there.state.day(DAY).segment(1).folder)
    assert mirror.told == []
    assert mirror.filesystem.read - before < sum(p.stat().st_size for p in here.iterdir()) / 2


def test_a_database_that_a_power_cut_took_is_made_again_from_the_log_here(
    there: Any, make_mirror: Any
) -> None:
    """The counter names rows that the database lost: they are written again, and nothing is pulled for it."""
    there.fill(DAY, 60, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    mirror.end()
    for path in mirror.state.day(DAY).segment(1).folder.glob("metadata.db*"):
        path.unlink()
    mirror.restart()
    mirror.turn()
    assert view_of(mirror.state)["events"] == view_of(there.state)["events"]


def test_vectors_that_were_replaced_are_pulled_again(there: Any, make_mirror: Any) -> None:
    """Numbers of the file `temporal.rewritten` say which; one that is not here yet comes as it is by then."""
    there.fill(DAY, 50, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    writer = there._open[DAY, 1].vectors["temporal"]
    for items in ([3, 4, 41], [4], [0, 49]):
        writer.rewrite(np.array(items), np.full((len(items), 8), items[0] + 0.5, np.float32))
        mirror.turn()
        assert view_of(mirror.state)["vectors"] == view_of(there.state)["vectors"]
    there.fill(DAY, 10, sealed=False)
    writer.rewrite(np.array([55, 2]), np.ones((2, 8), np.float32))
    mirror.restart()
    mirror.turn()
    assert view_of(mirror.state)["vectors"] == view_of(there.state)["vectors"]
    names = [state.day(DAY).segment(1).rewritten("temporal") for state in (mirror.state, there.state)]
    assert (
        names[0].read_bytes()
        == names[1].read_bytes()
        == np.array([3, 4, 41, 4, 0, 49, 55, 2], "<u4").tobytes()
    )


def test_an_index_that_another_model_makes_begins_anew(there: Any, make_mirror: Any) -> None:
    """Who maps the vectors of the model before keeps them: their file is removed, never cut."""
    there.fill(DAY, 30, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    here = mirror.state.day(DAY).segment(1)
    mapped = np.memmap(here.vectors("attack"), "<f4", "r")
    kept = np.array(mapped)
    opened = there._open[DAY, 1]
    opened.vectors["attack"].close()
    spec = VectorSpec("attack", "attack@000000000009", 4, "l2")
    opened.vectors["attack"] = VectorWriter(Disk(), opened.log.names, spec)
    mirror.turn()
    assert view_of(mirror.state)["missing"] == {"attack": "not written yet"}
    opened.vectors["attack"].append(np.arange(120, dtype=np.float32).reshape(30, 4))
    mirror.turn()
    assert view_of(mirror.state) == view_of(there.state)
    assert np.array_equal(mapped, kept)


def test_a_source_that_came_back_with_less_is_followed(there: Any, make_mirror: Any, tmp_path: Path) -> None:
    """Counters that went back, and other rows than before, begin the segment anew; readers keep what they map."""
    there.fill(DAY, 80, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    mapped = np.memmap(mirror.state.day(DAY).segment(1).columns, np.uint8, "r")
    kept = np.array(mapped)
    for count in (30, 90):
        other = type(there)(tmp_path / f"other-{count}", seed=count)
        other.fill(DAY, count, sealed=False)
        mirror.rounds._parts.source._root = str(other.state.root)
        mirror.settle()
        assert view_of(mirror.state) == view_of(other.state)
        other.close()
    assert np.array_equal(mapped, kept)
    assert any("pulled anew" in why for _, why in mirror.told)
    assert mirror.rounds.status.faults == ()


def test_a_segment_that_recovery_replaced_goes_when_the_next_is_there(there: Any, make_mirror: Any) -> None:
    """Salvaged events come in a later segment; an empty list alone takes nothing away."""
    there.fill(DAY, 20, sealed=False)
    mirror = make_mirror(there.state.root)
    mirror.turn()
    there.forget(DAY)
    there.disk.remove(there.state.day(DAY).segment(1).folder)
    mirror.turn()
    assert mirror.state.day(DAY).segments() == [1]
    there.write(DAY, there.make(DAY, 5), segment=2)
    mirror.turn(2)
    assert mirror.state.day(DAY).segments() == [2]
    assert view_of(mirror.state, number=2) == view_of(there.state, number=2)


def test_encrypted_logs_stay_encrypted(there: Any, make_mirror: Any, tmp_path: Path) -> None:
    """The log is the same sealed bytes; without the storage key the segment waits, and says why."""
    file = tmp_path / "storage.keys"
    new_storage_keys(Disk(), file)
    keys = open_log_keys(file, lambda _: None, require_encryption=True)
    from services.common.days import open_writer  # noqa: PLC0415 - the world opens plain logs by it

    names = there.state.day(DAY).segment(1)
    plain = there._opened(DAY, 1)
    there.disk.remove(names.log(1))
    plain.log = open_writer.SegmentLog(there.disk, names, 0, keys)
    there.fill(DAY, 25, sealed=False)
    without, with_key = make_mirror(there.state.root), make_mirror(there.state.root, keys=keys)
    without.turn()
    assert "encrypted" in without.rounds.status.fault
    with_key.turn()
    assert view_of(with_key.state, keys=keys) == view_of(there.state, keys=keys)
    assert with_key.state.day(DAY).segment(1).log(1).read_bytes() == names.log(1).read_bytes()


def flip(data: bytes, _start: int) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if len(data) > 9 else data


def cut(size: int) -> Any:
    return lambda data, start: data[: max(size - start, 0)]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("events-000001.log", flip, "is damaged at"),
        ("events-000001.log", cut(200), "has no record at"),
        ("columns.bin", cut(100), "and its counter needs"),
        ("columns.bin", lambda data, _: data + bytes(1 << 20), "where it was asked for"),
        (
            "symbols.bin",
            lambda data, start: b"" if start else b"\xff\xff\xff\x7f" + data[4:],
            "lacks the text",
        ),
        ("addresses.bin", cut(8), "and its counter needs"),
        ("attack.json", lambda _, __: b"[" * 2000, "does not say how"),
        ("attack.f32", cut(64), "shorter than its counter"),
        ("semantic.u32", lambda data, _: b"\xff" * len(data), "a vector that is not there"),
    ],
)
def test_bad_bytes_are_refused_told_and_tried_again(
    there: Any, make_mirror: Any, name: str, change: Any, said: str
) -> None:
    """No row is counted that does not hold together; the rest goes on, and all is here once the source is sound."""
    there.fill(DAY, 40, sealed=False)
    _share_one_vector(there)
    mirror = make_mirror(there.state.root)
    mirror.filesystem.change = lambda path, start, data: change(data, start) if path.endswith(name) else data
    mirror.turn()
    assert [said in why for _, why in mirror.told] == [True], mirror.told
    mirror.turn()
    assert len(mirror.told) == 1  # tried again, told once
    mirror.filesystem.change = lambda _path, _start, data: data
    mirror.settle()
    assert view_of(mirror.state) == view_of(there.state)
    assert mirror.rounds.status.faults == ()


def _share_one_vector(there: Any) -> None:
    """Give the semantic index of a world's open day codes, as the ingester writes it."""
    opened = there._open[DAY, 1]
    opened.vectors["semantic"].close()
    spec = replace(opened.vectors["semantic"].spec, model_id="semantic@000000000002")
    opened.vectors["semantic"] = VectorWriter(Disk(), opened.log.names, spec)
    opened.vectors["semantic"].append(np.ones((2, 8), np.float32), np.zeros(40, np.uint32))
