"""The indexer brings every logged event into all four indices, whatever fails in between."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.names import EVENT_INDICES
from services.common.days.open_hours import AT_ONCE
from services.common.days.open_reader import OpenSegmentReader
from services.common.days.traffic import TableTraffic
from services.common.errors import AppiaError
from services.common.events.narrative import Narrator
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary
from services.common.events.windows import day_windows
from services.ingester.guarded_sink import SINKS
from services.ingester.indexer import Finish, Indexer, IndexerTools, Pace
from services.ingester.intake import SegmentKey
from services.ingester.queue import ByteQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames
    from services.common.days.view import SegmentView
    from services.common.durable import Disk

DAY = "2026-01-22"
NOON = 1_769_040_000 + 43_200


class Running:
    """An indexer in its thread behind an intake."""

    def __init__(self, opened: Any, make: Callable[..., Indexer]) -> None:
        self.intake = opened.intake
        self.queue = ByteQueue(1 << 20)
        self.indexer = make(opened.recovered, self.queue)
        self.failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.indexer.run()
        except AppiaError as error:
            self.failure.append(error)

    def feed(self, events: Sequence[bytes]) -> None:
        """Commit events and hand them to the indexer."""
        self.intake.add(events, backfill=True, origin="")
        for item in self.intake.commit():
            self.queue.put(item, item.size)

    def stop(self) -> None:
        """Let it finish what it has, as a stop of the service does."""
        self.queue.close()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def make_indexer(state: StateNames, disk: Disk, embedders: Embedders, reports: Any) -> Callable[..., Indexer]:
    def make(
        recovered: list[Any], queue: ByteQueue, monotonic: Callable[[], float] = time.monotonic
    ) -> Indexer:
        tools = IndexerTools(disk, Narrator(load_vocabulary()), embedders, monotonic, reports)
        return Indexer(state, recovered, queue, tools)

    return make


@pytest.fixture
def run(start: Callable[[], Any], make_indexer: Callable[..., Indexer]) -> Iterator[Callable[[], Running]]:
    """Recover, open an intake, and run an indexer behind it."""
    running: list[Running] = []

    def make() -> Running:
        running.append(Running(start(), make_indexer))
        return running[-1]

    yield make
    for one in running:
        one.stop()


@pytest.fixture
def view(state: StateNames) -> Iterator[Callable[..., SegmentView]]:
    """What a replica sees of an open segment."""
    readers: list[OpenSegmentReader] = []

    def look(day: str = DAY, number: int = 1) -> SegmentView:
        readers.append(OpenSegmentReader(day, state.day(day).segment(number)))
        return readers[-1].view()

    yield look
    for reader in readers:
        reader.close()


def _check(view: SegmentView, events: Sequence[bytes]) -> None:
    """All of a segment says the same events in the same rows."""
    assert view.missing == {}
    assert (view.rows, {view.indices[name].rows for name in EVENT_INDICES}) == (len(events), {len(events)})
    assert [view.events.payload(position) for position in view.columns["position"].tolist()] == list(events)
    ids = [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
    assert ids == [parse_event(event).event_id for event in events]


def _vectors(view: SegmentView, name: str) -> np.ndarray:
    return np.stack([view.indices[name].vector(row) for row in range(view.rows)])


def test_every_event_comes_into_all_four_indices(
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """Groups of any size become the same rows everywhere, visible while the indexer runs."""
    running, events = run(), make_events(50)
    for start, end in ((0, 1), (1, 7), (7, 50)):
        running.feed(events[start:end])
    eventually("all is indexed", lambda: set(running.indexer.lag().values()) == {0} and view().rows == 50)
    _check(view(), events)
    assert running.indexer.faults() == {}


def test_a_commit_interval_gathers_small_groups(
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """Groups that come within the interval are committed together, and a full batch waits for nothing more."""
    running, events = run(), make_events(12)
    taken: list[int] = []
    take = running.indexer._take
    running.indexer._take = lambda logged: (taken.append(len(logged)), take(logged))[1]  # type: ignore[method-assign]
    running.indexer.pace = Pace(batch_rows=12, commit_interval_s=60.0)
    for start in (0, 4, 8):
        running.feed(events[start : start + 4])
    eventually("all is indexed", lambda: set(running.indexer.lag().values()) == {0} and view().rows == 12)
    assert taken == [3]
    _check(view(), events)


@pytest.mark.parametrize("broken", EVENT_INDICES)
def test_an_index_that_fails_catches_up_and_the_others_do_not_wait(  # noqa: PLR0917 - fixtures
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_events: Callable[..., list[bytes]],
    embedders: Embedders,
    eventually: Callable[..., None],
    reports: Any,
    broken: str,
) -> None:
    """While a model fails the other indices go on; afterwards its vectors are those of an undisturbed run."""
    running, events = run(), make_events(60)
    running.feed(events[:20])
    eventually("the first are indexed", lambda: view().rows == 20 and view().missing == {})
    model: Any = embedders.named(broken)
    model.broken = True
    running.feed(make_events(60)[20:40])
    eventually("it failed", lambda: running.indexer.faults().get(broken))
    others = set(SINKS) - {broken}
    eventually("the others are done", lambda: {running.indexer.lag()[name] for name in others} == {0})
    assert running.indexer.lag()[broken] == 20
    assert list(view().missing) == [broken]
    model.broken = False
    running.feed(events[40:])
    eventually("it caught up", lambda: running.indexer.lag()[broken] == 0)
    running.stop()
    _check(view(), events)
    assert running.indexer.faults() == {}
    assert {facts["index"] for facts in reports.named("index_failed")} == {broken}
    assert "the model is broken" in reports.named("index_failed")[0]["error"]
    other_day = make_events(60, seconds=NOON - 86_400)
    again = run()
    again.feed(other_day[:20])
    again.feed(other_day[20:40])
    again.feed(other_day[40:])
    again.stop()
    assert np.allclose(_vectors(view(), broken), _vectors(view("2026-01-21"), broken), atol=1e-5)


def test_late_events_correct_the_hours_when_nothing_comes(
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_event: Callable[..., bytes],
    embedders: Embedders,
    eventually: Callable[..., None],
) -> None:
    """Fed backwards over two days, every hour is in the end as if the events had come in order."""
    names = [f"n{i}" for i in range(120)]
    days = {DAY: NOON, "2026-01-21": NOON - 86_400}
    backwards = {
        day: [make_event(name, seconds - 30 * i) for i, name in enumerate(names)]
        for day, seconds in days.items()
    }
    running = run()
    for first in range(0, 120, 10):
        for events in backwards.values():
            running.feed(events[first : first + 10])
    eventually(
        "all is indexed", lambda: all((view(day).rows, view(day).missing) == (120, {}) for day in days)
    )
    eventually("all is corrected", lambda: running.indexer.due() == 0)
    for day, events in backwards.items():
        traffic = TableTraffic().of(tabulate([parse_event(event) for event in events], events))
        windows = day_windows(traffic)
        wanted = np.concatenate([embedders.temporal.embed(block) for block in windows.blocks()])[
            windows.codes
        ]
        np.testing.assert_allclose(_vectors(view(day), "temporal"), wanted, rtol=0, atol=1e-4)
    running.stop()


@pytest.mark.parametrize(("pause_s", "slices"), [(0.0, 1), (0.2, 2), (100.0, 4)])
def test_corrections_take_a_share_of_the_time_while_events_come(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any],
    make_indexer: Callable[..., Indexer],
    make_events: Callable[..., list[bytes]],
    embedders: Embedders,
    clock: Any,
    pause_s: float,
    slices: int,
) -> None:
    """They end with a quarter of the time since the last ones, or a tenth of a second; some are always made."""
    opened = start()
    indexer = make_indexer(opened.recovered, ByteQueue(1 << 20), clock.monotonic)
    model: Any = embedders.temporal
    embed, sizes = model.embed, []

    def slow(windows: Any) -> Any:
        clock.seconds += 0.00025 * len(windows)
        sizes.append(len(windows))
        return embed(windows)

    def take(events: list[bytes]) -> None:
        opened.intake.add(events, backfill=True, origin="")
        for item in opened.intake.commit():
            indexer._take([item])

    take([event for i in range(800) for event in make_events(1, f"n{i}", NOON - 50 * i)])
    (segment,) = indexer._segments.values()
    (writer,) = [sink._sink._writer for sink in segment.sinks if sink.name == "temporal"]  # type: ignore[union-attr]
    writer._due[: writer._writer.items] = True
    model.embed = slow
    clock.seconds += pause_s
    take(make_events(1, "late", NOON - 41_000))
    assert sizes == [1] + slices * [AT_ONCE]
    indexer._pool.shutdown()
    segment.close()


def test_the_pauses_between_tries_grow(  # noqa: PLR0917 - fixtures
    start: Callable[[], Any],
    make_indexer: Callable[..., Indexer],
    make_events: Callable[..., list[bytes]],
    embedders: Embedders,
    reports: Any,
    clock: Any,
) -> None:
    """A sink that opens but cannot apply is tried after 0.5 s, then 1 s, 2 s, ... and not twice a second for ever."""
    opened = start()
    opened.add(make_events(3))
    model: Any = embedders.attack
    model.broken = True
    indexer = make_indexer(start().recovered, ByteQueue(1 << 20), clock.monotonic)
    tries = []
    for _ in range(64):
        before = len(reports.told)
        indexer._catch_up()
        tries += [clock.seconds - NOON] * (len(reports.told) - before)
        clock.seconds += 0.5
    assert tries == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    indexer._pool.shutdown()
    for segment in indexer._segments.values():
        segment.close()


def test_a_restart_goes_on_where_each_index_was(
    run: Callable[[], Running],
    start: Callable[[], Any],
    view: Callable[..., SegmentView],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """Events that were logged but not indexed when the process died are indexed by the next one, each once."""
    events = make_events(40)
    running = run()
    running.feed(events[:15])
    running.stop()
    start().add(events[15:30])
    again = run()
    eventually("the rest is indexed", lambda: view().rows == 30 and view().missing == {})
    again.feed(events[30:])
    again.stop()
    _check(view(), events)


def test_an_index_of_another_model_is_written_anew(
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_events: Callable[..., list[bytes]],
    embedders: Embedders,
) -> None:
    events = make_events(10)
    running = run()
    running.feed(events)
    running.stop()
    model: Any = embedders.attack
    model.dim, model.model_id = 5, "attack@111111111111"
    run().stop()
    _check(view(), events)
    assert (view().indices["attack"].spec.model_id, view().indices["attack"].spec.dim) == (model.model_id, 5)


def test_finish_lets_go_of_a_segment_before_it_is_sealed(
    run: Callable[[], Running],
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
    view: Callable[..., SegmentView],
    state: StateNames,
) -> None:
    """Its files are closed and events of the next segment go on; what came before is indexed first."""
    running = run()
    running.feed(make_events(5))
    running.intake.rotate(DAY)
    done = threading.Event()
    running.queue.put(Finish(SegmentKey(DAY, 1), done), 0)
    running.feed(make_events(3, "late"))
    eventually("finished", done.is_set)
    eventually("the next segment is indexed", lambda: view(number=2).rows == 3)
    folder = str(state.day(DAY).segment(1).folder)
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208 - /proc
    writers = [path for path in links if path.startswith(folder) and ".log" not in path]
    assert writers == []
    running.stop()


def test_an_indexer_that_dies_does_not_hold_the_intake(
    make_indexer: Callable[..., Indexer],
    start: Callable[[], Any],
    state: StateNames,
    make_events: Callable[..., list[bytes]],
    eventually: Callable[..., None],
) -> None:
    """A log that turns bad under it ends the indexer with a sentence, and who puts into its queue goes on."""
    events = make_events(5)
    start().add(events)
    recovered = start()
    path = state.day(DAY).segment(1).log(1)
    raw = bytearray(path.read_bytes())
    raw[raw.index(events[2]) + 10] ^= 0xFF
    path.write_bytes(raw)
    running = Running(recovered, make_indexer)
    eventually("the indexer ended", lambda: not running.alive)
    assert "restart the ingester" in str(running.failure[0])
    running.queue.put(b"large", 1 << 20)
    running.queue.put(b"large", 1 << 20)


def test_a_start_with_very_many_open_days_keeps_few_files_open(
    start: Callable[[], Any],
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_event: Callable[..., bytes],
    eventually: Callable[..., None],
) -> None:
    """60 days to catch up with: files are closed again as it goes, and all is indexed."""
    start().add([make_event(f"d{d}", NOON - d * 86_400) for d in range(60)], backfill=True)
    most = 0
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count of names
    running = run()

    def done() -> bool:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - as above
        return set(running.indexer.lag().values()) == {0}

    eventually("all is indexed", done)
    running.stop()
    assert most - before <= 350
    assert view().missing == {}
    assert view("2025-11-24").rows == 1


def test_the_same_id_with_other_content_keeps_both_and_alerts(
    run: Callable[[], Running],
    view: Callable[..., SegmentView],
    make_event: Callable[..., bytes],
    reports: Any,
    eventually: Callable[..., None],
) -> None:
    """In one batch, in a later one and after a restart; the same id from another sensor is none of it."""
    first, second, third = (make_event("a", overall_threat_score=score) for score in (0.1, 0.2, 0.3))
    other = make_event("a", originating_node_id="node-b")
    running = run()
    running.feed([first, second, other])
    eventually("one is found", lambda: running.indexer.reused_ids == 1)
    running.stop()
    again = run()
    again.feed([third, make_event("b")])
    eventually("one more is found", lambda: again.indexer.reused_ids == 1)
    again.stop()
    told = reports.named("event_id_reused")
    assert told == [{"node": "node-a", "event_id": "event-a", "times": 1}] * 2
    assert view().rows == 5
