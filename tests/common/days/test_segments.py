"""An open segment shows what is committed, and sealing changes where events lie but not what they say."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
import pytest

from services.common.counts import read_counts
from services.common.days.columns import ROW, unpack_texts
from services.common.days.expansion import Nearness
from services.common.days.manifest import MANIFEST, read_manifest
from services.common.days.names import EVENT_INDICES, read_pointer
from services.common.days.open_writer import VectorSpec, VectorWriter
from services.common.days.verify import verify_day
from services.common.errors import AppiaError
from services.common.events.parse import parse_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.names import StateNames
    from services.common.days.open_reader import OpenSegmentReader
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.sealing import Sealer
    from services.common.days.view import SegmentView
    from services.common.durable import Disk

DAY = "2026-01-22"


def _ids(view: SegmentView) -> list[str]:
    return [fields["event_id"] for fields in view.events.fetch(range(view.rows))]


def _nearest(view: SegmentView, event_id: str, index: str, k: int) -> list[str]:
    (row,) = view.events.find(event_id)
    near = Nearness(view.columns["time_ns"], int(view.columns["time_ns"][row]))
    found = view.indices[index].search(view.indices[index].vector(row), k, near)
    return [fields["event_id"] for fields in view.events.fetch(found.rows.tolist())]


def test_an_open_segment_is_read_while_it_is_written(
    state: StateNames,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """Rows, fields, bytes and vectors of every committed event are there; equal rows of all indices are one event."""
    payloads = make_payloads(300)
    names = state.day(DAY).segment(1)
    write_segment(names, payloads)
    reader = read_open(names)
    view = reader.view()
    assert view.rows == 300
    assert view.missing == {}
    assert _ids(view) == [parse_event(payload).event_id for payload in payloads]
    assert [view.events.payload(p) for p in view.columns["position"].tolist()] == payloads
    assert all(view.indices[name].rows == 300 for name in EVENT_INDICES)
    assert reader.view() is view


def test_a_log_that_many_ask_for_at_once_is_opened_once(
    state: StateNames,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """Workers that answer side by side read by one file, which is closed with the segment: none stays open."""
    payloads = make_payloads(8)
    names = state.day(DAY).segment(1)
    write_segment(names, payloads)
    for _ in range(20):
        reader, together = read_open(names), Barrier(8)
        view = reader.view()

        def read(row: int, view: SegmentView = view, together: Barrier = together) -> bytes:
            together.wait(10)
            return view.events.payload(int(view.columns["position"][row]))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(read, range(8))) == payloads
        reader.close()
        assert not [path for path in Path("/proc/self/fd").iterdir() if _leads_to(path, names.log(1))]


def _leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path.resolve()
    except FileNotFoundError:
        return False


def test_an_index_that_is_ahead_of_the_metadata_shows_no_more_than_these(
    state: StateNames,
    disk: Disk,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """Each writer commits by itself; an event is there when its metadata is, in every index and every answer."""
    names = state.day(DAY).segment(1)
    write_segment(names, make_payloads(300))
    counts = names.counts("metadata")
    rows, items = read_counts(counts)
    whole = read_open(names).view()
    behind = disk.counts(counts)
    behind.write(rows - 100, items)
    behind.close()
    view = read_open(names).view()
    assert view.rows == 200
    for name in EVENT_INDICES:
        index = view.indices[name]
        assert index.rows == 200
        near = Nearness(view.columns["time_ns"], 0)
        for row in (0, 250):  # one that is there, and one whose metadata is not
            found = index.search(whole.indices[name].vector(row), 200, near)
            assert sorted(found.rows.tolist()) == list(range(200))


def test_what_was_not_committed_is_cut_off_when_a_segment_is_opened_again(
    state: StateNames,
    disk: Disk,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """Bytes behind the committed counters, as a crash leaves them, are gone after the next opening and never shown."""
    names = state.day(DAY).segment(1)
    write_segment(names, make_payloads(50))
    for path in (names.columns, names.vectors("attack"), names.codes("semantic"), names.symbols):
        with path.open("ab") as file:
            file.write(b"torn")
    before = read_open(names).view()
    assert before.rows == 50
    write_segment(state.day(DAY).segment(2), make_payloads(1, seed=9))
    spec = before.indices["attack"].spec
    writer = VectorWriter(disk, names, spec)
    assert writer.rows == 50
    writer.close()
    assert names.vectors("attack").stat().st_size == 50 * spec.dim * 4
    assert unpack_texts(names.symbols.read_bytes())[1] == names.symbols.stat().st_size - 4


def test_vectors_of_another_model_are_not_continued(
    state: StateNames,
    disk: Disk,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> None:
    """When the model changes, an open index begins again from nothing instead of mixing vectors."""
    names = state.day(DAY).segment(1)
    write_segment(names, make_payloads(20))
    writer = VectorWriter(disk, names, VectorSpec("attack", "attack@another", 4, "l2"))
    assert (writer.rows, writer.items) == (0, 0)
    writer.append(np.ones((3, 4), np.float32))
    writer.close()
    assert read_counts(names.counts("attack")) == (3, 3)
    assert json.loads(names.model("attack").read_text())["model"] == "attack@another"


def test_vectors_that_are_replaced_are_noted_for_those_who_copy_the_files(
    state: StateNames,
    disk: Disk,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> None:
    """Each number after its vector, over a restart too; half a number of a crash is cut off; another model has none."""
    names = state.day(DAY).segment(1)
    write_segment(names, make_payloads(20))
    model = json.loads(names.model("attack").read_text())
    spec = VectorSpec("attack", model["model"], model["dim"], model["metric"])
    for items in ([3, 4], [4]):
        writer = VectorWriter(disk, names, spec)
        assert items == [3, 4] or names.rewritten("attack").read_bytes()[-2:] == b"xx"
        writer.rewrite(np.array(items), np.full((len(items), spec.dim), 7.0, np.float32))
        writer.sync()
        writer.close()
        with names.rewritten("attack").open("ab") as file:
            file.write(b"xx")
    assert names.rewritten("attack").read_bytes() == np.array([3, 4, 4], "<u4").tobytes() + b"xx"
    VectorWriter(disk, names, VectorSpec("attack", "attack@another", 4, "l2")).close()
    assert not names.rewritten("attack").exists()


def test_a_damaged_counter_is_noticed(
    state: StateNames, make_payloads: Callable[..., list[bytes]], write_segment: Callable[..., None]
) -> None:
    """A counter with a wrong checksum is an error, not a number of rows."""
    names = state.day(DAY).segment(1)
    write_segment(names, make_payloads(5))
    raw = bytearray(names.counts("attack").read_bytes())
    raw[0] ^= 1
    names.counts("attack").write_bytes(raw)
    with pytest.raises(AppiaError, match="damaged"):
        read_counts(names.counts("attack"))


@pytest.mark.parametrize("compression", ["fast", "balanced", "maximum"])
def test_sealing_keeps_every_event_sorted_by_time(  # noqa: PLR0917 - fixtures
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    compression: str,
    read_sealed: Callable[..., SealedReader],
) -> None:
    """A sealed day holds exactly the events of its segments, in time order, with the same bytes."""
    payloads = make_payloads(400)
    day = state.day(DAY)
    write_segment(day.segment(1), payloads[:250])
    write_segment(day.segment(2), payloads[250:])
    report = type(sealer)(**{**vars(sealer), "compression": compression}).seal(day, 2)
    assert (report.rows, report.failed, report.generation) == (400, {}, 1)
    view = read_sealed(day.generation(1)).view()
    times = view.columns["time_ns"]
    assert (np.diff(times) >= 0).all()
    assert sorted(view.events.payload(p) for p in view.columns["position"].tolist()) == sorted(payloads)
    assert day.segments() == []
    assert verify_day(day).faults == ()


def test_neighbours_are_the_same_before_and_after_sealing(  # noqa: PLR0917 - fixtures
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_sealed: Callable[..., SealedReader],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """The attack and semantic indices answer alike from the open and from the sealed day."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(300))
    opened = read_open(day.segment(1)).view()
    wanted = {index: _nearest(opened, "event-1-7", index, 10) for index in ("attack", "semantic")}
    sealer.seal(day, 1)
    sealed = read_sealed(day.generation(1)).view()
    assert {index: _nearest(sealed, "event-1-7", index, 10) for index in ("attack", "semantic")} == wanted


def test_late_events_make_a_new_generation_and_nothing_published_changes(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_sealed: Callable[..., SealedReader],
) -> None:
    """The old generation's files stay byte for byte as they were; the new one has all events once."""
    day = state.day(DAY)
    first, late = make_payloads(100), make_payloads(30, seed=2)
    write_segment(day.segment(1), first)
    sealer.seal(day, 1)
    before = {path: path.read_bytes() for path in day.generation(1).folder.rglob("*") if path.is_file()}
    write_segment(day.segment(2), [*late, first[5]])
    report = sealer.seal(day, 2)
    assert (report.generation, report.rows) == (2, 130)
    assert read_pointer(day.current) == 2
    assert {path: path.read_bytes() for path in before} == before
    view = read_sealed(day.generation(2)).view()
    assert sorted(_ids(view)) == sorted(parse_event(payload).event_id for payload in [*first, *late])


def test_old_generations_go_but_the_one_before_stays(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> None:
    """Two generations are kept, so that a replica can finish what it reads."""
    day = state.day(DAY)
    for number in (1, 2, 3):
        write_segment(day.segment(number), make_payloads(10, seed=number))
        sealer.seal(day, number)
    assert day.generations() == [2, 3]


class _Broken:
    """An embedder that fails a number of times, as a model file that cannot be loaded does."""

    def __init__(self, embedder: object, failures: int) -> None:
        self.embedder, self.failures = embedder, failures

    def __getattr__(self, name: str) -> object:
        return getattr(self.embedder, name)

    def embed(self, values: object, /) -> object:
        self.failures -= 1
        if self.failures >= 0:
            raise RuntimeError("no model")
        return self.embedder.embed(values)  # type: ignore[attr-defined]


def test_a_day_serves_with_the_indices_that_could_be_built(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_sealed: Callable[..., SealedReader],
) -> None:
    """One failing index is named and left out; it is added later without touching the rest."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(60))
    broken = replace(sealer.embedders, attack=_Broken(sealer.embedders.attack, 99))
    report = type(sealer)(**{**vars(sealer), "embedders": broken}).seal(day, 1)
    assert set(report.failed) == {"attack"}
    assert "no model" in report.failed["attack"]
    reader = read_sealed(day.generation(1))
    assert set(reader.view().indices) == {"semantic", "temporal"}
    assert set(reader.view().missing) == {"attack"}
    assert any("no index attack" in fault for fault in verify_day(day).faults)
    again = sealer.build_missing(day)
    assert again is not None
    assert again.failed == {}
    assert set(reader.view().indices) == set(EVENT_INDICES)
    assert sealer.build_missing(day) is None


def test_an_index_is_tried_again_before_it_is_given_up(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> None:
    """A failure that passes costs nothing but time."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(60))
    shaky = replace(sealer.embedders, temporal=_Broken(sealer.embedders.temporal, 1))
    assert type(sealer)(**{**vars(sealer), "embedders": shaky}).seal(day, 1).failed == {}


def test_equal_vectors_are_stored_once_and_all_their_rows_found(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_sealed: Callable[..., SealedReader],
) -> None:
    """Events that differ in name only share a vector; a search still returns each of them."""
    day = state.day(DAY)
    (payload,) = make_payloads(1)
    event = parse_event(payload)
    copies = []
    for i in range(40):
        event.event_id = f"copy-{i}"
        copies.append(event.SerializeToString(deterministic=True))
    write_segment(day.segment(1), copies)
    sealer.seal(day, 1)
    view = read_sealed(day.generation(1)).view()
    assert {name: len(index.vectors) for name, index in view.indices.items()} == dict.fromkeys(
        EVENT_INDICES, 1
    )
    assert len(set(_nearest(view, "copy-3", "attack", 40))) == 40


@pytest.mark.parametrize(
    "victim",
    [
        "chunk/columns.bin",
        "chunk/events.log",
        "chunk/metadata.db",
        "attack/000001/vectors.faiss",
        "temporal/000001/rows.bin",
    ],
)
def test_a_changed_byte_of_any_sealed_file_is_found_before_it_is_used(  # noqa: PLR0917 - fixtures
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    victim: str,
    read_sealed: Callable[..., SealedReader],
) -> None:
    """`verify` names the file; an index with a changed byte is not mapped, the others serve."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(60))
    sealer.seal(day, 1)
    path = day.generation(1).folder / victim
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(raw)
    assert any(str(path) in fault for fault in verify_day(day).faults)
    if victim.startswith("chunk"):
        with pytest.raises(AppiaError, match="was changed"):
            read_sealed(day.generation(1))
    else:
        view = read_sealed(day.generation(1)).view()
        index = victim.partition("/")[0]
        assert set(view.indices) == set(EVENT_INDICES) - {index}
        assert "was changed" in view.missing[index]


def test_a_manifest_of_a_newer_format_is_refused(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> None:
    """Readers are upgraded before writers: an unknown format is said, not guessed."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(5))
    sealer.seal(day, 1)
    path = day.generation(1).chunk / MANIFEST
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"min_reader": 1', '"min_reader": 9'))
    with pytest.raises(AppiaError, match="install a newer appia"):
        read_manifest(day.generation(1).chunk)


def test_an_empty_day_can_be_sealed(
    state: StateNames,
    sealer: Sealer,
    disk: Disk,
    read_sealed: Callable[..., SealedReader],
) -> None:
    """A segment whose log holds no event gives a generation of no rows instead of an error."""
    day = state.day(DAY)
    disk.make_folder(day.segment(1).folder)
    report = sealer.seal(day, 1)
    assert report.rows == 0
    assert read_sealed(day.generation(1)).view().rows == 0


def test_rows_are_as_wide_as_documented() -> None:
    """The width of a row is part of the format."""
    assert ROW.itemsize == 76
