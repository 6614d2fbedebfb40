"""An open segment is shown again as it was: what a reader saw at a moment is cut from what it sees later."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.days.names import EVENT_INDICES, StateNames
from services.common.days.open_reader import cut_back, written_rows
from services.common.days.open_writer import SegmentLog
from services.common.events.features import extract
from services.common.events.narrative import Narrator
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary
from services.ingester.sinks import AttackSink, Decoded, MetadataSink, SemanticSink, TemporalSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.common.days.embedders import Embedders
    from services.common.days.names import OpenNames
    from services.common.days.open_reader import OpenSegmentReader
    from services.common.days.view import SegmentView
    from services.common.durable import Disk

DAY = "2026-01-22"
SINKS = (MetadataSink, AttackSink, SemanticSink, TemporalSink)


class Writers:
    """The four writers of a segment, each of which commits the next batch when it is told to."""

    def __init__(
        self, disk: Disk, names: OpenNames, embedders: Embedders, batches: Sequence[Decoded]
    ) -> None:
        self.sinks = [cls(disk, names, embedders) for cls in SINKS]
        self._batches = batches
        self._next = [0] * len(SINKS)

    def go(self, number: int) -> None:
        """One writer takes its next batch, where there is one."""
        if self._next[number] < len(self._batches):
            self.sinks[number].apply(self._batches[self._next[number]])
            self._next[number] += 1

    def finish(self) -> None:
        for number in range(len(SINKS)):
            while self._next[number] < len(self._batches):
                self.go(number)

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()


def _batches(disk: Disk, names: OpenNames, payloads: list[bytes], size: int) -> list[Decoded]:
    log, narrator, found = SegmentLog(disk, names, 0), Narrator(load_vocabulary()), []
    for start in range(0, len(payloads), size):
        part = payloads[start : start + size]
        table, features = tabulate([parse_event(payload) for payload in part], part), extract(part)
        narratives = narrator.narrate(table, features)
        found.append(Decoded(start, table, features, narratives, log.append(part)))
    log.close()
    return found


def _seen(view: SegmentView) -> dict[str, Any]:
    """All that a view shows, copied; of hours only which row has which, as late events change their vectors."""
    shown: dict[str, Any] = {name: column.copy() for name, column in view.columns.items()}
    for name, index in view.indices.items():
        shown[f"{name}.shape"] = (index.rows, index.hidden, *np.asarray(index.vectors).shape)
        shown[f"{name}.codes"] = None if index.codes is None else index.codes.copy()
        if name != "temporal":
            shown[f"{name}.vectors"] = np.array(index.vectors)
    return {**shown, "rows": view.rows, "missing": dict(view.missing), "identity": view.identity}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, len(SINKS) - 1), max_size=24), data=st.data())
def test_every_view_that_was_is_cut_from_the_last(  # noqa: PLR0917 - fixtures
    tmp_path_factory: pytest.TempPathFactory,
    disk: Disk,
    embedders: Embedders,
    make_payloads: Callable[..., list[bytes]],
    read_open: Callable[..., OpenSegmentReader],
    order: list[int],
    data: st.DataObject,
) -> None:
    """However far the writers were apart from each other, all rows, vectors and counts of then come back."""
    names = StateNames(tmp_path_factory.mktemp("state")).day(DAY).segment(1)
    batches = _batches(disk, names, make_payloads(120, data.draw(st.integers(0, 9))), 20)
    views, reader = [], read_open(names)
    with closing(Writers(disk, names, embedders, batches)) as writers:
        for number in order:
            writers.go(number)
            view = reader.view()
            views.append((view.rows, written_rows(view), _seen(view)))
        writers.finish()
    last = reader.view()
    for rows, written, seen in views:
        again = _seen(cut_back(last, rows, written))
        assert again.keys() == seen.keys()
        for key, value in seen.items():
            np.testing.assert_array_equal(again[key], value, key)


def test_rows_that_are_not_there_yet_are_no_view(
    state: StateNames,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
    read_open: Callable[..., OpenSegmentReader],
) -> None:
    """More rows than there are, of the events or of an index, are refused instead of read beyond the end."""
    names = state.day(DAY).segment(1)
    write_segment(names, make_payloads(50))
    view = read_open(names).view()
    assert cut_back(view, 50, dict.fromkeys(EVENT_INDICES, 50)) is view
    with pytest.raises(ValueError, match="50 rows and not 51"):
        cut_back(view, 51, written_rows(view))
    with pytest.raises(ValueError, match="50 rows of semantic and not 60"):
        cut_back(view, 50, {**written_rows(view), "semantic": 60})
