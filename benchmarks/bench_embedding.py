"""How fast events become vectors, and what the models take: the ingester's own writers of the three event indices.

Events are decoded beforehand and given to the writers in the ingester's batches, first to each alone, then to all
three side by side, as its indexer does. Writing and syncing the vectors is part of it. The narrative cache begins
empty: each distinct sentence is embedded when it first comes, at the rate at which real traffic brings new ones.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import BenchError, Report, options, traffic_file
from benchmarks.processes import shares
from benchmarks.stack import Wanted
from services.cli.store_folder import model_store_folder
from services.common.days.chosen_models import ChosenModels
from services.common.days.layout import claim_layout
from services.common.days.names import EVENT_INDICES, StateNames, day_of
from services.common.durable import Disk
from services.common.embedding.store import ModelStore, copy_active
from services.common.errors import AppiaError
from services.common.events.features import FEATURES, extract
from services.common.events.narrative import Narrator
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary
from services.common.events.windows import CHANNELS, STEPS
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions
from services.ingester.guarded_sink import SINKS
from services.ingester.indexer import Pace
from services.ingester.models import ingester_embedders
from services.ingester.sinks import Decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.days.embedders import Embedders
    from services.ingester.sinks import Sink

TO_REACH = 12_000
"""Events a second of all three indices on two cores."""
MEMORY_TO_REACH = 250.0
"""MiB that the models may take."""
MODELS = (*EVENT_INDICES, "entity")
WARM_ROWS = 20_000
BATCH_ROWS = Pace().batch_rows


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a day."""

    day: str
    decoded: Decoded


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("embedding", __doc__ or "", 200_000)
    parser.add_argument("--vary", type=float, default=0.05, help="how much a round differs from the records")
    given = parser.parse_args(argv)
    wanted = Wanted(traffic_file(given.input), given.events, given.vary, given.work)
    report = Report("embedding", wanted.facts())
    batches = list(_decode(wanted))
    models = given.work / "embedding-models"
    _copy_models(models)
    _tell_narratives(report, batches)
    for index in EVENT_INDICES:
        _measure(report, given.work, batches, (index,))
    together = _measure(report, given.work, batches, EVENT_INDICES)
    reached = "reached" if together >= TO_REACH else "not reached"
    report.note(f"{TO_REACH:,} events a second in all three indices to reach: {reached}")
    _tell_memory(report, models)
    report.write(given.out)


def _copy_models(folder: Path) -> None:
    """The user's models as a state directory has them."""
    given = os.environ.get("APPIA_MODELS")
    store = ModelStore(model_store_folder(None if given is None else Path(given), os.environ))
    shutil.rmtree(folder, ignore_errors=True)
    copy_active(store, ModelStore(StateNames(folder).models), MODELS)


def _decode(wanted: Wanted) -> Iterator[Batch]:
    """The events of the file in the order of their days, decoded in batches as the indexer does."""
    narrator = Narrator(load_vocabulary())
    waiting: dict[str, list[NetworkSecurityEvent]] = {}
    rows: dict[str, int] = {}
    for event in reader_of("cicflowmeter").read(str(wanted.traffic()), ReadOptions()):
        if isinstance(event, NetworkSecurityEvent):
            day = day_of(event.event_timestamp.ToNanoseconds())
            events = waiting.setdefault(day, [])
            events.append(event)
            if len(events) == BATCH_ROWS:
                yield _batch(narrator, day, events, rows)
                events.clear()
    for day, events in waiting.items():
        if events:
            yield _batch(narrator, day, events, rows)


def _batch(
    narrator: Narrator, day: str, events: Sequence[NetworkSecurityEvent], rows: dict[str, int]
) -> Batch:
    payloads = [event.SerializeToString(deterministic=True) for event in events]
    table, features = tabulate(events, payloads), extract(payloads)
    first = rows.get(day, 0)
    rows[day] = first + len(events)
    # What a position is does not matter here: only the metadata, which is no index, has it.
    positions = np.arange(len(events), dtype=np.int64)
    return Batch(day, Decoded(first, table, features, narrator.narrate(table, features), positions))


def _tell_narratives(report: Report, batches: Sequence[Batch]) -> None:
    told = [text for batch in batches for text in batch.decoded.narratives]
    distinct = len(set(told))
    report.add(
        "narratives",
        {"events": len(told), "distinct": distinct},
        f"{len(told):,} events on {len({batch.day for batch in batches})} days, {distinct:,} distinct narratives",
    )


def _measure(report: Report, work: Path, batches: Sequence[Batch], indices: Sequence[str]) -> float:
    """Write some indices, side by side where they are several; gives events a second."""
    state = StateNames(work / "embedding-state")
    disk = Disk()
    shutil.rmtree(state.root, ignore_errors=True)
    claim_layout(state, disk)
    shutil.copytree(work / "embedding-models" / "models", state.models)
    embedders, cache = ingester_embedders(state, ChosenModels(), threads=1)
    with closing(cache):
        sinks = _open(state, disk, embedders, (indices, sorted({batch.day for batch in batches})))
        started = time.perf_counter()
        with ThreadPoolExecutor(len(indices)) as pool:
            for batch in batches:
                list(pool.map(lambda sink, batch=batch: sink.apply(batch.decoded), sinks[batch.day]))
        seconds = time.perf_counter() - started
        for sink in (sink for some in sinks.values() for sink in some):
            sink.close()
    events = sum(len(batch.decoded.narratives) for batch in batches)
    name = " + ".join(indices)
    report.add(
        name,
        {"events_per_second": round(events / seconds), "seconds": round(seconds, 2)},
        f"{name}: {events / seconds:,.0f} events a second",
    )
    return events / seconds


def _open(
    state: StateNames, disk: Disk, embedders: Embedders, wanted: tuple[Sequence[str], Sequence[str]]
) -> dict[str, list[Sink]]:
    """The writers of some indices for some days, each day in a segment of its own."""
    indices, days = wanted
    opened: dict[str, list[Sink]] = {}
    for day in days:
        names = state.day(day).segment(1)
        disk.make_folder(names.folder)
        opened[day] = [SINKS[index](disk, names, embedders) for index in indices]
        for sink in opened[day]:
            sink.prime(lambda _first, _end: ())
    return opened


def _tell_memory(report: Report, models: Path) -> None:
    """What the models take in a process of its own, beyond the modules that it has imported."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(memory_of_models, models).result()
    reached = "reached" if found["models"] <= MEMORY_TO_REACH else "not reached"
    report.add(
        "memory",
        found,
        f"all models loaded and used take {found['models']:.0f} MiB beyond {found['imports']:.0f} MiB of imports; at "
        f"most {MEMORY_TO_REACH:.0f} MiB to reach: {reached}",
    )


def memory_of_models(folder: Path) -> dict[str, Any]:
    """Resident memory in MiB before the models are loaded, after, and after use; for a fresh process."""
    before = shares(os.getpid())
    embedders, cache = ingester_embedders(StateNames(folder), ChosenModels(), threads=1)
    loaded = shares(os.getpid())
    random = np.random.default_rng(1)
    with closing(cache):
        width = len(FEATURES)
        for _ in range(WARM_ROWS // BATCH_ROWS):
            embedders.attack.embed(random.exponential(1e3, (BATCH_ROWS, width)).astype(np.float32))
            windows = random.exponential(10.0, (BATCH_ROWS, STEPS, len(CHANNELS))).astype(np.float32)
            embedders.temporal.embed(windows)
        embedders.semantic.embed([f"a narrative with the number {number}" for number in range(512)])
    used = shares(os.getpid())
    return {
        "imports": before["rss"],
        "loaded": round(loaded["rss"] - before["rss"], 1),
        "models": round(used["rss"] - before["rss"], 1),
    }


if __name__ == "__main__":
    try:
        main()
    except (BenchError, AppiaError) as failed:
        sys.exit(f"bench_embedding: {failed}")
