"""The audit of an index says how much of what is near it finds, and whether it can tell rows apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from services.common.access.rights import Days, Principal, Rights
from services.common.days.open_writer import VectorSpec
from services.common.days.vector_lists import make_lists
from services.common.days.vectors import NO_VECTOR, VectorIndex
from services.common.errors import UsageError
from services.common.rpc import Deadline, NotFound, RequestError
from services.rag.operations import Operations, Replica
from services.rag.protocol import OPERATIONS
from services.rag.quality import K, measure, sample_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DIM, ITEMS = 8, 20_000
SEALED, OTHER, OPEN = "2026-01-20", "2026-01-21", "2026-01-22"
SOON = Deadline(1e12)
METRICS: tuple[Literal["l2", "cosine"], ...] = ("l2", "cosine")


def never() -> None:
    """Do not end the audit."""


def vectors(count: int, metric: str, seed: int = 1) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if metric == "cosine" else found


def index_of(found: NDArray[np.float32], metric: Literal["l2", "cosine"] = "l2") -> VectorIndex:
    return VectorIndex(VectorSpec("attack", "attack@0", DIM, metric), len(found), found)


def by_hand(found: NDArray[np.float32], asked: NDArray[np.int64], metric: str) -> NDArray[np.float64]:
    """Distances to the ten nearest others, in double precision."""
    rows = []
    exact = found.astype(np.float64)
    for number in asked.tolist():
        others = np.delete(exact, number, axis=0)
        cosine = metric == "cosine"
        far = 1 - others @ exact[number] if cosine else np.linalg.norm(others - exact[number], axis=1)
        rows.append(np.sort(far)[:K])
    return np.array(rows)


@pytest.mark.parametrize("metric", METRICS)
def test_without_lists_everything_is_found(metric: Literal["l2", "cosine"]) -> None:
    """Recall is 1, and the variation is that of the distances computed by hand."""
    found = vectors(ITEMS, metric)
    asked = np.arange(0, ITEMS, 500)
    recall, cv = measure(index_of(found, metric), asked, never)
    wanted = by_hand(found, asked, metric)
    assert recall == 1.0
    assert cv == pytest.approx(wanted.std() / wanted.mean(), rel=1e-3)


def test_what_lists_do_not_find_lowers_recall() -> None:
    """The share is that of the neighbours that a search names, counted one by one; all lists together find all."""
    lists, order = make_lists(vectors(ITEMS, "l2"))
    found = vectors(ITEMS, "l2")[order]
    narrow = replace(index_of(found), accelerator=replace(lists, nprobe=1))
    asked = np.arange(0, ITEMS, 400)
    recall, _ = measure(narrow, asked, never)
    farthest = by_hand(found, asked, "l2")[:, -1] + 1e-6
    named = 0
    for place, number in enumerate(asked.tolist()):
        ids, distances = narrow.distinct(found[number], K + 1)
        named += int((distances[ids != number][:K] <= farthest[place]).sum())
    assert recall == pytest.approx(named / (K * len(asked)))
    assert 0.2 < recall < 0.95
    wide = replace(narrow, accelerator=replace(lists, nprobe=len(lists.centers)))
    assert measure(wide, asked, never)[0] == 1.0


def test_a_collapsed_index_varies_little() -> None:
    """Vectors that are all about as far from each other have a variation near 0, clouds of them a high one."""
    corners = np.eye(DIM, dtype=np.float32)
    assert measure(index_of(corners), np.arange(DIM), never)[1] == pytest.approx(0.0, abs=1e-6)
    clouds = np.concatenate([vectors(6, "l2") * 1e-3 + 100 * corner for corner in corners])
    cv = measure(index_of(clouds), np.arange(len(clouds)), never)[1]
    assert cv is not None
    assert cv > 0.9


def test_what_has_no_neighbours_has_no_recall() -> None:
    """One row alone says nothing; many rows of one vector cannot be told apart."""
    alone = index_of(vectors(1, "l2"))
    assert measure(alone, np.array([0]), never) == (None, None)
    alike = replace(alone, rows=9, codes=np.zeros(9, np.uint32))
    assert measure(alike, np.zeros(9, np.int64), never) == (None, 0.0)
    assert measure(alone, np.empty(0, np.int64), never) == (None, None)
    assert measure(index_of(vectors(3, "l2")), np.array([1]), never)[0] == 1.0


def test_the_sample_is_seeded_and_leaves_rows_without_a_vector_out() -> None:
    """The same seed asks about the same rows; a row counts as often as its vector stands for events."""
    codes = np.full(1000, NO_VECTOR, np.uint32)
    codes[::2] = np.arange(500) % 7
    index = replace(index_of(vectors(7, "l2")), rows=1000, codes=codes)
    first = sample_rows(index, 100, np.random.default_rng(5))
    assert np.array_equal(first, sample_rows(index, 100, np.random.default_rng(5)))
    assert not np.array_equal(first, sample_rows(index, 100, np.random.default_rng(6)))
    assert (len(first), set(first.tolist()) <= set(range(7))) == (100, True)
    assert len(sample_rows(index, 1000, np.random.default_rng(5))) == 500


@pytest.fixture
def days(world: Any) -> Any:
    """Two sealed days and an open one."""
    world.fill(SEALED, 60, sealed=True)
    world.fill(OTHER, 40, sealed=True)
    world.fill(OPEN, 10, sealed=False)
    return world


def test_a_replica_audits_its_sealed_days(days: Any, replica: Callable[..., Any]) -> None:
    """Every index of every sealed day, or those that are named; each time the same."""
    quality = replica(days)["quality"]
    found = quality({}, SOON)["indices"]
    assert [(one["day"], one["index"]) for one in found] == [
        (day, index) for day in (SEALED, OTHER) for index in ("attack", "semantic", "temporal", "entity")
    ]
    assert {one["recall"] for one in found} == {1.0}
    assert all(one["distance_cv"] > 0 and one["asked"] > 0 for one in found)
    (one,) = quality({"day": OTHER, "index": "attack", "sample": 7}, SOON)["indices"]
    assert (one["asked"], one["rows"], one["version"], one["model"]) == (7, 40, 1, "attack@000000000001")
    again = quality({"day": OTHER, "index": "attack", "sample": 7}, SOON)["indices"][0]
    assert {**again, "took_ms": 0} == {**one, "took_ms": 0}


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"day": "yesterday!"}, UsageError),
        ({"day": OPEN}, NotFound),
        ({"index": "fused"}, UsageError),
        ({"sample": 0}, UsageError),
        ({"rows": 3}, UsageError),
    ],
)
def test_wrong_arguments_are_refused(
    days: Any, replica: Callable[..., Any], args: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        replica(days)["quality"](args, SOON)


def test_an_audit_ends_with_its_deadline(days: Any, replica: Callable[..., Any]) -> None:
    with pytest.raises(RequestError):
        replica(days)["quality"]({}, Deadline(0.0))


def test_it_shows_no_more_than_the_key_may_see(days: Any, follow: Any) -> None:
    """Days and indices without a right are as if they were not there."""
    rights = Rights(frozenset({"quality"}), frozenset({"attack"}), (Days((((SEALED, SEALED)),)),))
    nobody: Any = None
    operations = Operations(follow(days), dict.fromkeys(OPERATIONS, nobody), Replica("rag-7", 42, "0.0", 0.0))
    handlers = operations.handlers(Principal("health", rights))
    found = handlers["quality"]({}, SOON)["indices"]
    assert [(one["day"], one["index"]) for one in found] == [(SEALED, "attack")]
    with pytest.raises(RequestError, match="no right to the index"):
        handlers["quality"]({"index": "semantic"}, SOON)
