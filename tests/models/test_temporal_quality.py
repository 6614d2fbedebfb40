"""The shipped temporal model tells behaviours of foreign networks apart at least as well as its linear baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.making import PROJECT
from services.common.days.traffic import TableTraffic
from services.common.embedding.manifest import windows_schema_hash
from services.common.embedding.onnx import OnnxArrays, OnnxSettings
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.table import tabulate
from services.common.events.windows import CHANNELS, STEP_NS, STEPS, day_windows
from services.feed.readers import reader_of
from services.feed.readers.port import LabelMode, ReadOptions
from services.training.scoring import Rows, Searches, Space, score
from services.training.split import split_by_time

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.embedding.store import ModelStore
    from services.common.events.table import EventTable
    from services.training.scoring import Scores

CAPTURES = PROJECT.parent / "shared" / "data"


def table_of(path: Path, form: str) -> EventTable:
    events = [
        event
        for event in reader_of(form).read(str(path), ReadOptions(labels=LabelMode.METADATA))
        if isinstance(event, NetworkSecurityEvent)
    ]
    events.sort(key=lambda event: event.event_timestamp.ToNanoseconds())
    return tabulate(events, [event.SerializeToString(deterministic=True) for event in events])


def quality(store: ModelStore, name: str, table: EventTable) -> Scores:
    """Of the model's vectors alone, on all of a capture as one day."""
    schema_hash = windows_schema_hash(CHANNELS, STEPS, STEP_NS)
    model = OnnxArrays(store.load(name), "windows", schema_hash, OnnxSettings())
    windows = day_windows(TableTraffic().of(table))
    vectors = np.concatenate([model.embed(block) for block in windows.blocks()])
    labels = np.array(table.label)
    split = split_by_time(labels, table.time_ns)
    queries = np.flatnonzero(split.queries)
    space = Space(model.metric, vectors, windows.codes.astype(np.int64))
    found = Searches(Rows.of_one_day(labels, table.time_ns), split.base).nearest(space, queries)
    return score(labels, queries, found)


@pytest.mark.parametrize(
    ("path", "form", "gain"),
    [
        ("cicids2017/cicids2017-week.csv.gz", "cicflowmeter", 0.3),
        ("zeek-ctu/008-conn.log.labeled.gz", "zeek-conn", -0.005),
        ("zeek-ctu/011-conn.log.labeled.gz", "zeek-conn", 0.01),
    ],
)
def test_the_encoder_beats_linear_components(built: ModelStore, path: str, form: str, gain: float) -> None:
    """On captures that it was not taught by; on one of them both have nearly all that there is to have."""
    if not (CAPTURES / path).exists():
        pytest.skip(f"{CAPTURES / path} is not there")
    table = table_of(CAPTURES / path, form)
    linear, taught = (quality(built, name, table) for name in ("temporal-pca", "temporal"))
    assert taught.overall > linear.overall + gain
    assert taught.macro > linear.macro
