"""Looks through an opened index: whether its numbers lead where there is something, and a search comes back.

Files that were written by this project pass always. What is looked for would else fail a question, or take memory
beyond all bounds, long after the index was opened.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.expansion import Nearness
from services.common.days.vector_lists import FaissLists, Lists
from services.common.days.vectors import NO_VECTOR
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.day_hosts import DayHosts
    from services.common.days.vectors import VectorIndex

_NEIGHBOURS = 10
_LOOKED_AT = 1024


def refuse_unsound(index: VectorIndex, hosts: DayHosts | None = None) -> None:
    """Return when nothing is found in an index, or in the hosts that its rows are.

    Blocks for some milliseconds per hundred thousand rows.

    Raises:
        AppiaError: what was found, in words without the name of the folder.
    """
    if hosts is not None:
        _refuse_hosts(hosts)
    if index.codes is not None:
        _refuse_rows(index)
    if isinstance(index.accelerator, Lists):
        _refuse_lists(index.accelerator, len(index.vectors))
    if isinstance(index.accelerator, FaissLists):
        _refuse_faiss_lists(index.accelerator, index)
    _refuse_searches(index)


def _refuse_hosts(hosts: DayHosts) -> None:
    addresses = [address.tobytes() for address in hosts.facts["address"]]
    if any(after <= before for before, after in pairwise(addresses)):
        raise AppiaError("its hosts are not in the order of their addresses")
    if not np.isfinite(hosts.profiles).all():
        raise AppiaError("a profile has numbers that are not finite")


def _refuse_rows(index: VectorIndex) -> None:
    """The three parts of `rows.bin` say the same: see `vector_files`."""
    codes, items = np.asarray(index.codes), len(index.vectors)
    if np.any((codes >= items) & (codes != NO_VECTOR)):
        raise AppiaError(f"a row has a vector beyond the {items} there are")
    if index.postings is None:
        return
    order, starts = index.postings.order, index.postings.starts
    listed = np.zeros(len(codes) + 1, bool)  # the last for numbers of no row
    listed[np.minimum(order, len(codes))] = True
    if not listed[:-1].all():
        raise AppiaError("the rows ordered by vector are not all the rows")
    counts = np.bincount(np.minimum(codes, items), minlength=items + 1)[:items]
    if np.any(np.cumsum(counts) != starts[1:]) or starts[0] != 0 or _falls(codes[order]):
        raise AppiaError("the rows ordered by vector are not in that order")


def _refuse_lists(lists: Lists, items: int) -> None:
    if lists.starts[0] != 0 or lists.starts[-1] != items or _falls(lists.starts):
        raise AppiaError(f"its lists do not hold each of the {items} vectors once")
    if not np.isfinite(lists.centers).all():
        raise AppiaError("the centre of a list has numbers that are not finite")
    if lists.nprobe < 1:
        raise AppiaError(f"{lists.nprobe} lists are to be looked into")


def _refuse_faiss_lists(lists: FaissLists, index: VectorIndex) -> None:
    ivf, items = lists.index, len(index.vectors)
    if (ivf.ntotal, ivf.d) != (items, index.spec.dim):
        raise AppiaError(
            f"its lists hold {ivf.ntotal} x {ivf.d} numbers instead of {items} x {index.spec.dim}"
        )
    stored: Any = ivf.invlists
    sizes = [stored.list_size(number) for number in range(ivf.nlist)]
    ids = [faiss.rev_swig_ptr(stored.get_ids(n), size) for n, size in enumerate(sizes) if size]
    if not np.array_equal(np.sort(np.concatenate([np.empty(0, np.int64), *ids])), np.arange(items)):
        raise AppiaError(f"its lists do not hold each of the {items} vectors once")


def _refuse_searches(index: VectorIndex) -> None:
    """Some vectors are finite, and each search for one of them comes back, with and without a filter."""
    rows = np.arange(index.rows) if index.codes is None else np.flatnonzero(index.codes != NO_VECTOR)
    if not len(rows):
        return
    looked_at: NDArray[Any] = np.unique(np.linspace(0, len(index.vectors) - 1, _LOOKED_AT).astype(np.int64))
    if not np.isfinite(index.vectors[looked_at]).all():
        raise AppiaError("a vector has numbers that are not finite")
    near = Nearness(np.zeros(index.rows, np.int64), 0)
    for row in {int(rows[0]), int(rows[len(rows) // 2]), int(rows[-1])}:
        query = index.vector(row)
        index.search(query, _NEIGHBOURS, near)
        index.search(query, _NEIGHBOURS, near, rows[: len(rows) // 2 + 1])


def _falls(numbers: NDArray[np.uint32]) -> bool:
    return bool(np.any(numbers[1:] < numbers[:-1]))
