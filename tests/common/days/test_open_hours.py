"""The hours of an open segment become those of the sealed day, whatever the order of events and whatever fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.counts import read_counts
from services.common.days.embedders import spec_of
from services.common.days.names import read_pointer
from services.common.days.open_hours import AT_ONCE, HourWriter
from services.common.days.open_writer import ColumnWriter, SegmentLog, VectorWriter
from services.common.days.traffic import TableTraffic
from services.common.errors import AppiaError
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.events.windows import day_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from services.common.days.embedders import Embedders
    from services.common.days.names import OpenNames, StateNames
    from services.common.days.open_reader import OpenSegmentReader
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.sealing import Sealer
    from services.common.days.view import SegmentView
    from services.common.durable import Disk
    from services.common.events.table import EventTable

DAY = "2026-01-22"
DAY_SECONDS = 1_769_040_000


def table_of(payloads: Sequence[bytes]) -> EventTable:
    return tabulate([parse_event(payload) for payload in payloads], list(payloads))


class Counting:
    """An embedder that counts its windows, and fails while it is told to."""

    def __init__(self, inner: Any) -> None:
        self.name, self.dim, self.metric, self.model_id = inner.name, inner.dim, inner.metric, inner.model_id
        self.inner = inner
        self.windows = 0
        self.broken = False

    def embed(self, windows: NDArray[np.float32], /) -> NDArray[np.float32]:
        if self.broken:
            raise RuntimeError("the model is broken")
        self.windows += len(windows)
        return np.asarray(self.inner.embed(windows))


class Segment:
    """The log, the columns and the hours of one open segment."""

    def __init__(self, disk: Disk, names: OpenNames, model: Counting) -> None:
        self.disk, self.names, self.model = disk, names, model
        self.payloads: list[bytes] = []
        self.decode = self.tables
        self.log = SegmentLog(disk, names, 0)
        self.columns = ColumnWriter(disk, names)
        self.open()

    def open(self) -> None:
        self.hours = HourWriter(self.disk, self.names, self.model)
        self.hours.prime(self.decode)

    def tables(self, first: int, end: int) -> Iterable[EventTable]:
        if first < end:
            yield table_of(self.payloads[first:end])

    def feed(self, payloads: Sequence[bytes], batch: int = 50, *, columns: bool = True) -> None:
        for first in range(0, len(payloads), batch):
            part = list(payloads[first : first + batch])
            positions = self.log.append(part)
            self.log.sync()
            self.payloads += part
            if columns:
                self.columns.append(table_of(part), ["words"] * len(part), positions)
            self.hours.append(table_of(part))

    def write_columns(self) -> None:
        """Let the columns catch up with the log."""
        rest = self.payloads[self.columns.rows :]
        self.columns.append(table_of(rest), ["words"] * len(rest), np.arange(len(rest)))

    def settle(self) -> None:
        self.hours.settle(lambda: False)
        assert self.hours.due == 0

    def crash(self) -> None:
        """Begin again with the files as they lie there: nothing is noted, as when the process was killed."""
        self.hours._files.close()
        self.open()

    def close(self) -> None:
        self.hours.close()
        self.columns.close()
        self.log.close()


@pytest.fixture
def model(embedders: Embedders) -> Counting:
    return Counting(embedders.temporal)


@pytest.fixture
def open_segment(disk: Disk, state: StateNames, model: Counting) -> Callable[..., Segment]:
    """`open_segment(number)`: an open segment of the day, with nothing in it yet."""
    return lambda number=1: Segment(disk, state.day(DAY).segment(number), model)


def hours_of(view: SegmentView) -> dict[int, NDArray[np.float32]]:
    """The vector of each event, by its time, which no other event has."""
    index = view.indices["temporal"]
    times = view.columns["time_ns"].tolist()
    assert index.rows == len(times) == len(set(times))
    return {time: index.vector(row) for row, time in enumerate(times)}


@pytest.fixture
def seal(
    state: StateNames, sealer: Sealer, read_sealed: Callable[..., SealedReader]
) -> Callable[[int], dict[int, NDArray[np.float32]]]:
    """`seal(through)`: seal the day up to that segment, and give the hours that its events have then."""

    def make(through: int) -> dict[int, NDArray[np.float32]]:
        day = state.day(DAY)
        assert sealer.seal(day, through).failed == {}
        return hours_of(read_sealed(day.generation(read_pointer(day.current) or 0)).view())

    return make


def assert_same(found: dict[int, NDArray[np.float32]], wanted: dict[int, NDArray[np.float32]]) -> None:
    assert found
    assert set(found) <= set(wanted)
    for time, vector in found.items():
        np.testing.assert_allclose(vector, wanted[time], rtol=0, atol=1e-4)


def made_at_once(payloads: Sequence[bytes], model: Counting) -> dict[int, NDArray[np.float32]]:
    """The hours that these events have as a whole day."""
    traffic = TableTraffic().of(table_of(payloads))
    windows = day_windows(traffic)
    vectors = np.concatenate([model.inner.embed(block) for block in windows.blocks()])
    return dict(zip(traffic.time_ns.tolist(), vectors[windows.codes], strict=True))


@pytest.mark.parametrize(("seed", "batch"), [(1, 1), (2, 7), (3, 64), (4, 300)])
def test_a_shuffled_day_has_the_hours_of_the_sealed_day(  # noqa: PLR0917 - fixtures
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    read_open: Callable[..., OpenSegmentReader],
    seal: Callable[[int], dict[int, NDArray[np.float32]]],
    seed: int,
    batch: int,
) -> None:
    """Events of all of a day in any order and batches: each has the vector that it has after sealing."""
    segment = open_segment()
    segment.feed(make_payloads(300, seed), batch)
    before = hours_of(read_open(segment.names).view())
    segment.settle()
    reader = read_open(segment.names)
    view, found = reader.view(), hours_of(reader.view())
    steps = {(t // 56_250_000_000, h) for t, h in zip(found, view.columns["src_ip"].tolist(), strict=True)}
    assert len(view.indices["temporal"].vectors) == len(steps), "one vector a host and step"
    segment.close()
    wanted = seal(1)
    assert len(wanted) == len(found)
    assert_same(found, wanted)
    if batch < 300:
        with pytest.raises(AssertionError):
            assert_same(before, wanted)


def test_a_view_of_before_shows_what_was_corrected(
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """A correction is written in place: a replica needs no new view of the rows that it has."""
    segment = open_segment()
    segment.feed(make_payloads(200))
    reader = read_open(segment.names)
    view = reader.view()
    before = hours_of(view)
    assert segment.hours.due > 0
    segment.settle()
    assert reader.view() is view
    assert any((before[time] != vector).any() for time, vector in hours_of(view).items())
    segment.close()


def test_after_a_crash_only_what_is_in_doubt_is_made_again(
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    model: Counting,
    read_open: Callable[..., OpenSegmentReader],
    seal: Callable[[int], dict[int, NDArray[np.float32]]],
) -> None:
    """What was right at a good end stays so; hours of later rows are made again, and are right in the end."""
    payloads = make_payloads(400)
    segment = open_segment()
    segment.feed(payloads[:300])
    segment.settle()
    segment.hours.close()
    assert read_counts(segment.names.settled) == (300, 0)
    segment.open()
    assert segment.hours.due == 0, "nothing is in doubt after a good end"
    segment.feed(payloads[300:310])
    segment.crash()
    doubtful = segment.hours.due
    assert 0 < doubtful < 250
    model.windows = 0
    segment.settle()
    assert model.windows == doubtful
    segment.feed(payloads[310:])
    segment.crash()
    segment.settle()
    found = hours_of(read_open(segment.names).view())
    segment.close()
    assert len(found) == 400
    assert_same(found, seal(1))


def test_events_late_for_a_sealed_day_see_its_hours(
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    read_open: Callable[..., OpenSegmentReader],
    seal: Callable[[int], dict[int, NDArray[np.float32]]],
) -> None:
    """A segment beside a generation, and one beside a segment that waits to be sealed too, count what these hold."""
    payloads = make_payloads(400)
    first = open_segment(1)
    first.feed(payloads[:250])
    first.close()
    assert len(seal(1)) == 250
    second = open_segment(2)
    second.feed(payloads[250:350])
    second.settle()
    beside_sealed = hours_of(read_open(second.names).view())
    second.close()
    assert len(beside_sealed) == 100
    assert_same(beside_sealed, made_at_once(payloads[:350], second.model))
    third = open_segment(3)
    third.feed(payloads[350:])
    third.settle()
    beside_both = hours_of(read_open(third.names).view())
    third.close()
    assert len(beside_both) == 50
    assert_same(beside_both, seal(3))


def test_another_day_before_the_segment_puts_all_of_it_in_doubt(
    open_segment: Callable[..., Segment], make_payloads: Callable[..., list[bytes]]
) -> None:
    """Where the rows before the segment are not those that its hours were made with, all are made again."""
    payloads = make_payloads(200)
    late = open_segment(2)
    late.feed(payloads[100:])
    late.settle()
    late.hours.close()
    assert read_counts(late.names.settled) == (100, 0)
    early = open_segment(1)
    early.feed(payloads[:100])
    early.close()
    late.open()
    assert late.hours.due == read_counts(late.names.counts("temporal"))[1]
    late.settle()
    late.close()
    assert read_counts(late.names.settled) == (100, 100)


def test_rows_without_columns_are_counted_from_the_log(
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """While the columns are behind, a start counts the rest from the events themselves."""
    payloads = make_payloads(200)
    segment = open_segment()
    segment.feed(payloads[:80])
    segment.feed(payloads[80:150], columns=False)
    asked: list[tuple[int, int]] = []

    def decode(first: int, end: int) -> Iterable[EventTable]:
        asked.append((first, end))
        return segment.tables(first, end)

    segment.decode = decode
    segment.crash()
    assert asked == [(80, 150)]
    segment.feed(payloads[150:], columns=False)
    segment.settle()
    segment.write_columns()
    assert_same(hours_of(read_open(segment.names).view()), made_at_once(payloads, segment.model))
    segment.close()


def test_an_index_of_the_layout_before_is_written_anew(
    disk: Disk,
    state: StateNames,
    model: Counting,
    embedders: Embedders,
    make_payloads: Callable[..., list[bytes]],
) -> None:
    """It had several vectors a host and step; the segment begins again from its log, and nothing of it is left."""
    names = state.day(DAY).segment(1)
    disk.make_folder(names.folder)
    old = VectorWriter(disk, names, spec_of("temporal", embedders.temporal))
    old.append(np.ones((2, 12), np.float32), np.array([0, 1, 1], np.uint32))
    old.close()
    segment = Segment(disk, names, model)
    assert segment.hours.rows == 0
    segment.feed(make_payloads(3))
    segment.close()
    assert names.vectors("temporal").stat().st_size == read_counts(names.counts("temporal"))[1] * 12 * 4
    again = HourWriter(disk, names, model)
    assert again.rows == 3
    again.close()


def test_a_little_at_a_time_is_enough_and_each_has_its_turn(
    open_segment: Callable[..., Segment], make_payloads: Callable[..., list[bytes]], model: Counting
) -> None:
    """However short the time, some are made again; one that becomes due at once again does not come before others."""
    segment = open_segment()
    segment.feed(make_payloads(600))
    segment.settle()
    everything = segment.hours._writer.items
    segment.hours._due[:everything] = True
    model.windows = 0
    for _ in range(everything // AT_ONCE + 2):
        segment.hours.settle(lambda: True)
        segment.hours._due[:10] = True
    assert everything > 2 * AT_ONCE
    assert everything <= model.windows <= everything + 20
    assert segment.hours.due == 10
    segment.close()


def test_codes_that_do_not_fit_are_a_sentence(
    open_segment: Callable[..., Segment], make_payloads: Callable[..., list[bytes]]
) -> None:
    """An index whose codes were cut off says what to do, and does so again at the next start."""
    segment = open_segment()
    segment.feed(make_payloads(20))
    segment.hours.close()
    path = segment.names.codes("temporal")
    path.write_bytes(path.read_bytes()[:40])
    for _ in range(2):
        with pytest.raises(AppiaError, match=r"delete temporal\.json beside it"):
            segment.open()
        segment.hours.close()
    segment.names.model("temporal").unlink()
    segment.open()
    assert segment.hours.rows == 0
    segment.close()


def test_a_start_that_failed_does_not_say_that_all_is_right(
    open_segment: Callable[..., Segment], make_payloads: Callable[..., list[bytes]]
) -> None:
    """Where the rows could not be counted, closing keeps the doubt that there was."""
    segment = open_segment()
    segment.feed(make_payloads(100))
    doubtful = segment.hours.due
    assert doubtful > 0

    def fail(_first: int, _end: int) -> Iterable[EventTable]:
        raise OSError("the disk is gone")

    segment.decode = fail
    with pytest.raises(OSError, match="the disk is gone"):
        segment.crash()
    segment.hours.close()
    segment.decode = segment.tables
    segment.open()
    assert segment.hours.due == read_counts(segment.names.counts("temporal"))[1] >= doubtful
    segment.close()


def test_a_model_that_fails_leaves_nothing_wrong(
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    model: Counting,
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """Neither a batch nor a correction that broke off is lost: after the next opening the hours are right."""
    payloads = make_payloads(200)
    segment = open_segment()
    segment.feed(payloads[:100])
    model.broken = True
    for work in (lambda: segment.hours.append(table_of(payloads[100:150])), segment.settle):
        with pytest.raises(RuntimeError, match="the model is broken"):
            work()
    segment.hours.close()
    assert segment.hours.rows == 100
    model.broken = False
    segment.open()
    segment.feed(payloads[100:])
    segment.settle()
    assert_same(hours_of(read_open(segment.names).view()), made_at_once(payloads, model))
    segment.close()


def test_what_is_right_is_noted_now_and_then(
    open_segment: Callable[..., Segment],
    make_payloads: Callable[..., list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not only a good end spares the next start work."""
    monkeypatch.setattr("services.common.days.open_hours.NOTE_AFTER", 100)
    segment = open_segment()
    segment.feed(make_payloads(99))
    segment.settle()
    assert read_counts(segment.names.settled) == (0, 0)
    segment.feed(make_payloads(1, 7))
    segment.settle()
    assert read_counts(segment.names.settled) == (100, 0)
    segment.close()


def test_a_note_that_a_power_cut_tore_is_as_none(
    open_segment: Callable[..., Segment], make_payloads: Callable[..., list[bytes]]
) -> None:
    """It only spares work, so nobody has to delete it by hand."""
    segment = open_segment()
    segment.feed(make_payloads(100))
    segment.settle()
    segment.hours.close()
    segment.names.settled.write_bytes(bytes(20))
    segment.open()
    assert segment.hours.due > 0
    segment.settle()
    assert segment.hours.due == 0
    segment.close()
