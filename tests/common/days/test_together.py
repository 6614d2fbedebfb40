"""Days that are searched together give what a comparison with every row of every day gives, ties and all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.encodings import EncodedVectors, train_encoding
from services.common.days.fusion import quantized
from services.common.days.open_writer import VectorSpec
from services.common.days.selection import Postings
from services.common.days.together import Depth, Near, Together, TogetherBook
from services.common.days.vector_lists import make_lists
from services.common.days.vectors import VectorIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIM = 12
METRICS = ("l2", "cosine")
FORMS = ("plain", "lists", "own", "fp16")


def _day(rng: np.random.Generator, metric: str, form: str, crowds: NDArray[np.float32]) -> VectorIndex:
    """Vectors about the same crowds as on other days, some of them exactly those of other days; rows share them."""
    items = int(rng.integers(1, 700))
    apart = (rng.random((items, 1)) < 0.7) * rng.normal(0, 0.05, (items, DIM))
    vectors = np.unique(crowds[rng.integers(0, len(crowds), items)] + apart.astype(np.float32), axis=0)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spec = VectorSpec("attack", "attack@0", DIM, metric)
    if form == "own":
        return VectorIndex(spec, len(vectors), vectors)
    index = VectorIndex(spec, 0, vectors)
    if form != "plain":
        lists, order = make_lists(vectors)
        index = replace(index, vectors=vectors[order], accelerator=lists)
        if form == "fp16":
            differences = vectors[order] - lists.centers[lists.of(np.arange(len(order)))]
            encoding = train_encoding("fp16", differences)
            assert encoding is not None
            encoded = EncodedVectors(encoding.encode(differences), encoding, lists, metric == "cosine")
            index = replace(index, vectors=encoded)
    return _with_rows(index, rng)


def _with_rows(index: VectorIndex, rng: np.random.Generator) -> VectorIndex:
    items = len(index.vectors)
    # Squares: a few vectors have most of the rows.
    codes = np.concatenate([np.arange(items), (rng.random(3 * items) ** 2 * items).astype(np.int64)])
    codes = rng.permutation(codes).astype(np.uint32)
    order = np.argsort(codes, kind="stable").astype(np.uint32)
    starts = np.searchsorted(codes[order], np.arange(items + 1)).astype(np.uint32)
    return replace(index, rows=len(codes), codes=codes, postings=Postings(order, starts))


def _days(seed: int, metric: str) -> tuple[np.random.Generator, list[VectorIndex]]:
    rng = np.random.default_rng(seed)
    crowds = rng.normal(0, rng.choice([0.2, 1.0, 30.0]), (int(rng.integers(2, 40)), DIM)).astype(np.float32)
    forms = rng.choice(FORMS, int(rng.integers(1, 9)))
    return rng, [_day(rng, metric, form, crowds) for form in forms.tolist()]


def _query(rng: np.random.Generator, days: list[VectorIndex], metric: str) -> NDArray[np.float32]:
    """A vector of a day, one near it, or one far from all."""
    day = days[int(rng.integers(len(days)))]
    query = np.array(day.vectors[int(rng.integers(len(day.vectors)))])
    query = query + np.float32(rng.choice([0.0, 0.05, 5.0])) * rng.normal(size=DIM).astype(np.float32)
    return np.asarray(query / np.linalg.norm(query) if metric == "cosine" else query, np.float32)


def _brute(query: NDArray[np.float32], days: list[VectorIndex], depth: Depth) -> set[tuple[int, int]]:
    """Every vector that is no farther than that of the k-th nearest row, of which each vector has `alike` at most."""
    found: list[tuple[float, int, int, int]] = []
    for number, day in enumerate(days):
        distances = day.measure(query, np.asarray(day.vectors))
        rows = np.ones(len(distances), int) if day.codes is None else np.bincount(day.codes)
        steps = quantized(distances).tolist()
        found += [(steps[i], number, i, min(int(rows[i]), depth.alike)) for i in range(len(steps))]
    found.sort()
    held = np.cumsum([rows for *_, rows in found])
    last = min(int(np.searchsorted(held, depth.k)), len(found) - 1)
    return {(number, item) for step, number, item, _ in found if step <= found[last][0]}


def _pairs(near: Near) -> list[tuple[int, int]]:
    return list(zip(near.indices.tolist(), near.numbers.tolist(), strict=True))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(40))
def test_nothing_near_is_left_out(seed: int, metric: str) -> None:
    """Each vector that brute force finds is named once, with its exact distance and rows, and few others are."""
    rng, days = _days(seed, metric)
    together = Together(days)
    for _ in range(12):
        query, k = _query(rng, days, metric), int(rng.choice([1, 3, 10, 51, 5_000]))
        depth = Depth(k, min(k, int(rng.choice([1, 3, 5_000]))))
        among = rng.random(len(days)) < rng.choice([0.5, 1.0])
        near = together.near(query, depth, among)
        chosen = np.flatnonzero(among).tolist()
        wanted = _brute(query, [days[number] for number in chosen], depth) if chosen else set()
        found = _pairs(near)
        assert {(chosen[number], item) for number, item in wanted} <= set(found)
        assert len(set(found)) == len(found)
        assert set(near.indices.tolist()) <= set(chosen)
        for number, item, distance, rows in zip(
            near.indices.tolist(),
            near.numbers.tolist(),
            near.distances.tolist(),
            near.rows.tolist(),
            strict=True,
        ):
            day = days[number]
            assert distance == day.measure(query, np.asarray(day.vectors[np.array([item])]))[0]
            assert rows == (1 if day.codes is None else np.count_nonzero(day.codes == item))


class _Watched:
    """Vectors that count how many were read."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self.read = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, which: Any) -> Any:
        self.read += len(self._vectors[which])
        return self._vectors[which]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:  # noqa: FBT001 - numpy's
        self.read += len(self._vectors)
        return np.array(self._vectors)


def test_what_is_far_is_not_read() -> None:
    """Of thirty days of which one is near, only vectors of that one are read."""
    rng = np.random.default_rng(0)
    near_each_other = [rng.normal(10.0 * number, 0.1, (500, DIM)).astype(np.float32) for number in range(30)]
    watched = [_Watched(vectors) for vectors in near_each_other]
    spec = VectorSpec("attack", "attack@0", DIM, "l2")
    together = Together([VectorIndex(spec, 500, vectors) for vectors in watched])
    before = [vectors.read for vectors in watched]
    near = together.near(np.full(DIM, 70.1, np.float32), Depth(10, 10), np.ones(30, bool))
    assert set(near.indices.tolist()) == {7}
    assert [n for n, vectors in enumerate(watched) if vectors.read > before[n]] == [7]


def test_of_very_many_near_lists_the_measured_number_is_read() -> None:
    """A sealed index with lists is not searched in more of them than were measured to be enough, but for the first."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(4_000, DIM)).astype(np.float32)
    lists, order = make_lists(vectors)
    index = VectorIndex(VectorSpec("attack", "attack@0", DIM, "l2"), 4_000, vectors[order])
    few = replace(index, accelerator=replace(lists, nprobe=2))
    query = np.zeros(DIM, np.float32)
    depth = Depth(100, 1)
    every, some = (Together([one]).near(query, depth, np.ones(1, bool)) for one in (index, few))
    assert len(every.numbers) >= 100
    found = set(lists.of(some.numbers).tolist())
    assert found < set(lists.of(every.numbers).tolist())


def test_a_book_keeps_what_was_brought_together() -> None:
    """The same indices are brought together once; a few sets are kept, the one not asked for the longest goes."""
    rng, days = _days(3, "l2")
    days = [_day(rng, "l2", "plain", rng.normal(size=(4, DIM)).astype(np.float32)) for _ in range(10)]
    book = TogetherBook()
    first = book.of(days)
    assert book.of(list(days)) is first
    for day in days[:7]:
        book.of([day])
    assert book.of(days) is first
    for day in days[:8]:
        book.of([day])
    assert book.of(days) is not first
