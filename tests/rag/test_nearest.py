"""The nearest rows over many days are those that a comparison with every row finds: filters, ties and equal vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from services.common.days.fusion import quantized
from services.common.days.open_writer import VectorSpec
from services.common.days.selection import Postings
from services.common.days.vectors import NO_VECTOR, VectorIndex
from services.common.days.view import EventStore, SegmentView
from services.rag.catalog import Snapshot
from services.rag.events import Place
from services.rag.filters import Filters
from services.rag.nearest import Wanted, nearest
from services.rag.scope import Bounds, Scope
from services.rag.segments import Segment, Tally

DIM, MODEL = 6, "attack@1"


def _segment(rng: np.random.Generator, number: int, *, sealed: bool, crowds: Any) -> Segment:
    """A day of which a tenth of the rows have no vector, half of the vectors are those of other days, times repeat."""
    rows, items = int(rng.integers(20, 500)), int(rng.integers(1, 60))
    apart = (rng.random((items, 1)) < 0.5) * rng.normal(0, 0.1, (items, DIM))
    vectors = np.unique(crowds[rng.integers(0, len(crowds), items)] + apart.astype(np.float32), axis=0)
    vectors = (
        vectors[:rows] if sealed else vectors
    )  # of an open day some may be of rows that are not visible yet
    codes = rng.integers(0, len(vectors), rows).astype(np.uint32)
    codes[: len(vectors)] = np.arange(len(vectors))[:rows]
    codes[len(vectors) :][rng.random(max(rows - len(vectors), 0)) < 0.1] = NO_VECTOR
    postings = None
    if sealed:
        order = np.argsort(codes, kind="stable").astype(np.uint32)
        postings = Postings(
            order, np.searchsorted(codes[order], np.arange(len(vectors) + 1)).astype(np.uint32)
        )
    index = VectorIndex(VectorSpec("attack", MODEL, DIM, "l2"), rows, vectors, codes, postings)
    index = replace(index, hidden=max(len(vectors) - rows, 0))
    times = rng.integers(0, 300, rows) + 200 * number
    columns: dict[str, Any] = {
        "time_ns": np.sort(times) if sealed else times,
        "protocol": rng.integers(0, 4, rows).astype(np.uint8),
    }
    view = SegmentView(
        day=f"2026-01-{number + 1:02}",
        name="sealed-000001" if sealed else "open-000001",
        sealed=sealed,
        generation=int(sealed),
        rows=rows,
        columns=columns,
        addresses=np.empty((0, 16), np.uint8),
        texts=(),
        indices={"attack": index},
        events=cast("EventStore", None),
    )
    return Segment(view, Tally(rows, int(times.min()), int(times.max())))


def _brute(scope: Scope, query: Any, wanted: Wanted) -> list[tuple[float, int]]:
    """The step of the distance and the gap in time of each of the k rows, by looking at all."""
    found: list[tuple[float, int]] = []
    for part in scope.parts:
        index = part.view.indices["attack"]
        rows = np.arange(part.view.rows) if part.rows is None else part.rows
        assert index.codes is not None
        rows = rows[index.codes[rows] != NO_VECTOR]
        if wanted.apart_from is not None and wanted.apart_from.view is part.view:
            rows = rows[rows != wanted.apart_from.row]
        steps = quantized(index.distances(query, rows)).tolist()
        gaps = np.abs(part.view.columns["time_ns"][rows].astype(np.int64) - wanted.moment_ns).tolist()
        shown: dict[int, int] = {}
        for step, gap, code in sorted(zip(steps, gaps, index.codes[rows].tolist(), strict=True)):
            shown[code] = shown.get(code, 0) + 1
            if wanted.alike is None or shown[code] <= wanted.alike:
                found.append((step, gap))
    return sorted(found)[: wanted.k]


@pytest.mark.parametrize("seed", range(30))
def test_the_nearest_of_many_days_are_those_of_brute_force(seed: int) -> None:
    """As many as are there, up to k, at the same distances and as near in time; none twice."""
    rng = np.random.default_rng(seed)
    crowds = rng.normal(0, rng.choice([0.3, 3.0]), (int(rng.integers(2, 30)), DIM)).astype(np.float32)
    days = int(rng.integers(1, 12))
    segments = tuple(
        _segment(rng, number, sealed=number < days - 1 or bool(rng.random() < 0.5), crowds=crowds)
        for number in range(days)
    )
    snapshot = Snapshot(segments=segments)
    for _ in range(15):
        filters = (Filters(), Filters(protocol=(1,)), Filters(since_ns=150, until_ns=900))[
            int(rng.integers(3))
        ]
        scope = Scope(snapshot, Bounds(10, filters), ("attack",))
        view = segments[int(rng.integers(days))].view
        row = int(rng.integers(min(view.rows, len(view.indices["attack"].vectors))))
        query = view.indices["attack"].vector(row)
        alike = (None, 1, 3)[int(rng.integers(3))]
        apart = Place(view, row) if rng.random() < 0.7 else None
        wanted = Wanted(int(rng.choice([1, 10, 60])), int(rng.integers(0, 3000)), apart, alike)
        hits = nearest(scope, "attack", {MODEL: query}, wanted)
        found = list(zip(quantized(hits.distances).tolist(), hits.gaps.tolist(), strict=True))
        assert found == _brute(scope, query, wanted)
        assert len(set(zip(hits.parts.tolist(), hits.rows.tolist(), strict=True))) == len(found)
