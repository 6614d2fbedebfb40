"""How well the indices of sealed days find what is near: an audit of the files that serve, for the health service.

Recall@10 is the share of the ten nearest vectors that a search through the index finds, against comparing with every
vector. A vector as near as the tenth counts as found, because among equally near ones no search is wrong (Aumüller,
Bernhardsson, Faithfull: ANN-Benchmarks, 2018, 3.6). The coefficient of variation of the distances to these ten, over
all rows that are asked about, is their standard deviation divided by their mean: where it goes to 0 everything is
about as far from everything else, and to be nearest means little (Beyer et al.: When Is "Nearest Neighbor" Meaningful?,
1999).
"""

from __future__ import annotations

import time
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.fusion import RESOLUTION
from services.common.days.names import ENTITY, INDICES, parse_day
from services.common.days.vectors import NO_VECTOR
from services.common.rpc import NotFound
from services.rag.protocol import Argument, Kind, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex
    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot

K = 10
BLOCK = 8192
"""Vectors that are compared in one piece; between two pieces the caller may end the audit."""

QUALITY = Operation(
    "quality",
    "How well the indices of sealed days find what is near.",
    (
        Argument("day", Kind.TEXT, "one day; all sealed ones where it is left out", None, high=10),
        Argument("index", Kind.CHOICE, "one index; all where it is left out", None, choices=INDICES),
        Argument("sample", Kind.WHOLE, "how many rows of each index are asked about", 100, 1, 10_000),
        Argument("seed", Kind.WHOLE, "another number asks about other rows", 0, 0, 1 << 31),
    ),
    shows_events=False,
    slow=True,
)
"""Not among the questions of `protocol.py`: it is about the files and not about events."""


@dataclass(frozen=True)
class Audit:
    """One index of a sealed day.

    Attributes:
        recall: recall@10, 0 to 1; None where there is no second vector to find.
        distance_cv: 0 where all rows are alike; None where there is one row at most.
        asked: rows that were asked about.
        vectors: distinct ones.
    """

    day: str
    index: str
    version: int
    model: str
    rows: int
    vectors: int
    asked: int
    recall: float | None
    distance_cv: float | None
    took_ms: float


def audit_days(snapshot: Snapshot, values: Mapping[str, Any], check: Callable[[], None]) -> dict[str, Any]:
    """The answer to a `quality` request: {"indices": [...]}, one `Audit` for each index, by day.

    Blocks for the exact search: a second for a hundred rows of a million vectors of 128 numbers. `check` is called in
    between; what it raises ends the audit.

    Raises:
        UsageError: the day is none.
        NotFound: it is not sealed.
    """
    day, index = values["day"], values["index"]
    wanted = None if day is None else parse_day(day)
    views = [one.view for one in snapshot.segments if one.view.sealed and wanted in {None, one.view.day}]
    if wanted is not None and not views:
        raise NotFound(f"Day {wanted} is not sealed, or not open here yet.")
    found = [
        _audited(view, name, served, values, check)
        for view in views
        for name, served in _indices(view)
        if index in {None, name}
    ]
    return {"indices": [asdict(one) for one in found]}


def _indices(view: SegmentView) -> Iterator[tuple[str, VectorIndex]]:
    yield from sorted(view.indices.items())
    if view.hosts is not None:
        yield ENTITY, view.hosts.vectors


def _audited(
    view: SegmentView, name: str, index: VectorIndex, values: Mapping[str, Any], check: Callable[[], None]
) -> Audit:
    started = time.perf_counter()
    seed = [values["seed"], zlib.crc32(f"{view.day} {name}".encode())]
    asked = sample_rows(index, values["sample"], np.random.default_rng(seed))
    recall, cv = measure(index, asked, check)
    return Audit(
        day=view.day,
        index=name,
        version=view.versions.get(name, 0),
        model=index.spec.model_id,
        rows=index.rows,
        vectors=len(index.vectors),
        asked=len(asked),
        recall=recall,
        distance_cv=cv,
        took_ms=round((time.perf_counter() - started) * 1000, 3),
    )


def sample_rows(index: VectorIndex, count: int, luck: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of the vectors of at most `count` rows, int64; rows that have none are not asked about."""
    codes = np.arange(index.rows) if index.codes is None else index.codes[index.codes != NO_VECTOR]
    chosen = luck.choice(len(codes), min(count, len(codes)), replace=False)
    return np.asarray(codes[chosen], np.int64)


def measure(
    index: VectorIndex, asked: NDArray[np.int64], check: Callable[[], None]
) -> tuple[float | None, float | None]:
    """Recall@10 and the coefficient of variation of the distances, asking about the vectors of these numbers.

    A vector is not its own neighbour. With fewer than eleven vectors all others are the nearest.
    """
    if not len(asked):
        return None, None
    if len(index.vectors) < 2:
        return None, 0.0 if index.rows > 1 else None
    exact = _exact(index, asked, check)
    farthest = exact[:, -1] + RESOLUTION
    found = 0
    for place, number in enumerate(asked.tolist()):
        check()
        query = np.array(index.vectors[number], np.float32)
        ids, distances = index.distinct(query, exact.shape[1] + 1)
        near = distances[ids != number][: exact.shape[1]]
        found += int(np.count_nonzero(near <= farthest[place]))
    mean = float(exact.mean())
    return found / exact.size, float(exact.std()) / mean if mean else 0.0


def _exact(index: VectorIndex, asked: NDArray[np.int64], check: Callable[[], None]) -> NDArray[np.float32]:
    """The distances to the nearest others of each vector, by comparing with all of them, float32 (n, k), ascending."""
    items = len(index.vectors)
    wanted = min(K, items - 1)
    queries = np.ascontiguousarray(index.vectors[asked], np.float32)
    numbers = np.empty((len(asked), 0), np.int64)
    values = np.empty((len(asked), 0), np.float32)
    for start in range(0, items, BLOCK):
        check()
        block = np.ascontiguousarray(index.vectors[start : min(start + BLOCK, items)], np.float32)
        near, ids = _nearest(index.spec.metric, queries, block, min(wanted + 1, len(block)))
        numbers, values = np.hstack([numbers, ids + start]), np.hstack([values, near])
        best = np.argsort(values, axis=1, kind="stable")[:, : wanted + 1]
        numbers, values = np.take_along_axis(numbers, best, 1), np.take_along_axis(values, best, 1)
    return np.array(
        [
            _others(index, query, number, row)[:wanted]
            for query, number, row in zip(queries, asked.tolist(), numbers, strict=True)
        ]
    )


def _nearest(
    metric: str, queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k nearest of `vectors` to each query: how near, the less the nearer, and their numbers."""
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    values, ids = faiss.knn(queries, vectors, k, metric=kind)
    return (-values if metric == "cosine" else values), ids


def _others(
    index: VectorIndex, query: NDArray[np.float32], number: int, numbers: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The exact distances of these vectors but the query's own, ascending, measured as a search measures them."""
    others = numbers[numbers != number]
    return np.sort(index.measure(query, np.asarray(index.vectors[np.sort(others)], np.float32)))
