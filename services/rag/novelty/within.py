"""How far each vector of a day was, when it came, from everything before it on the same day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.common.days.batch_nearest import BLOCK, distances_of, nearest_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.rag.novelty.spaces import Space

TAIL = 0.1
"""Share of a day's events whose distance is made exact: the farthest by the bound that the others keep."""
_LEAF = 16


def distances_within(
    space: Space, times: NDArray[np.int64], check: Callable[[], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For each item the distance of the nearest that came before it, and which of these distances are exact.

    Of all items a bound is found first, by comparison with those of the same stretch of 4,096: their distance is not
    larger. Then those that may be among the farthest tenth of the day's events are compared with all before them. One
    that nothing came before has the distance 0: there is nothing to be far from.

    Args:
        space: the day.
        times: when each item came first, int64 (items,).
        check: called between pieces of at most some ten milliseconds; what it raises ends the search.

    Returns:
        float32 (items,), and the items whose distance is exact, int64 ascending.
    """
    order = np.argsort(times, kind="stable")
    bounds = np.full(space.items, np.inf, np.float32)
    for start in range(0, len(order), BLOCK):
        check()
        block = order[start : start + BLOCK]
        nearest = np.full(len(block), np.inf, np.float32)
        _halve(space.metric, space.take(block), nearest)
        bounds[block] = nearest
    exact = farthest(bounds, space.rows)
    _refine(space, order, (bounds, exact), check)
    bounds[~np.isfinite(bounds)] = 0
    return bounds, exact


def farthest(distances: NDArray[np.float32], rows: int) -> NDArray[np.int64]:
    """The items that may be among the farthest tenth of `rows` events, int64 ascending."""
    count = min(int(TAIL * rows) + 1, len(distances))
    return np.sort(np.argsort(-distances, kind="stable")[:count])


def _halve(metric: str, vectors: NDArray[np.float32], nearest: NDArray[np.float32]) -> None:
    """Compare each vector with all before it: the second half with the first, and so on in each half."""
    count = len(vectors)
    if count <= _LEAF:
        for number in range(1, count):
            found = distances_of(metric, vectors[number : number + 1], vectors[:number])
            nearest[number] = min(nearest[number], found.min())
        return
    middle = count // 2
    ids, _ = nearest_in(metric, vectors[middle:], vectors[:middle])
    found = distances_of(metric, vectors[middle:], vectors[ids])
    nearest[middle:] = np.minimum(nearest[middle:], found)
    _halve(metric, vectors[:middle], nearest[:middle])
    _halve(metric, vectors[middle:], nearest[middle:])


def _refine(
    space: Space,
    order: NDArray[np.int64],
    what: tuple[NDArray[np.float32], NDArray[np.int64]],
    check: Callable[[], None],
) -> None:
    """Compare the exact ones with every whole stretch before theirs too."""
    bounds, exact = what
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    stretches = places[exact] // BLOCK
    for number in range(int(stretches.max(initial=0))):
        vectors = space.take(order[number * BLOCK : (number + 1) * BLOCK])
        later = exact[stretches > number]
        for start in range(0, len(later), BLOCK):
            check()
            who = later[start : start + BLOCK]
            queries = space.take(who)
            ids, _ = nearest_in(space.metric, queries, vectors)
            bounds[who] = np.minimum(bounds[who], distances_of(space.metric, queries, vectors[ids]))
