"""How far two versions of an index answer alike: the report to look at before another model is served.

Some rows are asked about in both versions. Overlap is the share of the ten nearest rows that both name. Where rows
have classes, it is also told how many of the neighbours have the class of the row asked about: two models may name
different rows and still find the same behaviour, or name worse ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.days.expansion import Nearness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex

OVERLAP = "overlap.json"
"""Name of the report beside the files of the version that it is about."""
K = 10


@dataclass(frozen=True)
class RowFacts:
    """What is known of the n rows of an index, whatever model made it."""

    time_ns: NDArray[np.int64]  # (n,) decides among equally near rows
    classes: NDArray[np.integer]  # (n,) numbers in `texts`
    texts: Sequence[str]  # an empty text is no class
    names: Callable[[Sequence[int]], list[str]]  # what a user knows rows by


@dataclass(frozen=True)
class Sampling:
    """Which rows are asked about: so many of all, and so many of each class that has as many."""

    rows: int = 200
    a_class: int = 20
    most_classes: int = 30
    examples: int = 5
    seed: int = 20


@dataclass(frozen=True)
class ClassOverlap:
    """The rows of one class: how many were asked about, how far answers agree, neighbours of the class in each."""

    name: str
    asked: int
    overlap: float
    same_class_before: float
    same_class_after: float


@dataclass(frozen=True)
class Example:
    """A row whose neighbours differ much: names of rows, each with its class."""

    row: str
    overlap: float
    before: Sequence[str]
    after: Sequence[str]


@dataclass(frozen=True)
class Overlap:
    """The report. Shares are from 0 to 1; those of classes are None where no row has one."""

    before: str  # model ids
    after: str
    asked: int
    mean: float
    p10: float
    p50: float
    p90: float
    same_class_before: float | None
    same_class_after: float | None
    classes: Sequence[ClassOverlap] = field(default_factory=tuple)
    examples: Sequence[Example] = field(default_factory=tuple)

    def to_json(self) -> bytes:
        """The report as it lies on disk."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def read_overlap(folder: Path) -> dict[str, Any] | None:
    """The report beside a version, as plain values; None where there is none that can be read."""
    try:
        return dict(json.loads((folder / OVERLAP).read_bytes()))
    except (OSError, ValueError):
        return None


def compare(
    before: VectorIndex, after: VectorIndex, facts: RowFacts, sampling: Sampling | None = None
) -> Overlap:
    """Ask both indices, which are over the same rows, about some of them. Blocks for two searches a row."""
    sampling = sampling or Sampling()
    chosen, general = _sample(before, after, facts, sampling)
    pairs = [(_nearest(before, row, facts), _nearest(after, row, facts)) for row in chosen.tolist()]
    shares = np.array([_share(*pair) for pair in pairs])
    # (rows asked, 2): of the neighbours in each version, the share that has the row's class
    same = np.array(
        [[_same(facts, row, found) for found in pair] for row, pair in zip(chosen, pairs, strict=True)]
    )
    same = same.reshape(-1, 2)
    labelled = np.array([bool(facts.texts[code]) for code in facts.classes[chosen].tolist()], bool)
    told = same[general & labelled]
    p10, p50, p90 = np.percentile(shares[general], (10, 50, 90)) if general.any() else (1.0, 1.0, 1.0)
    return Overlap(
        before=before.spec.model_id,
        after=after.spec.model_id,
        asked=int(general.sum()),
        mean=_round(shares[general].mean() if general.any() else 1.0),
        p10=_round(p10),
        p50=_round(p50),
        p90=_round(p90),
        same_class_before=_round(told[:, 0].mean()) if len(told) else None,
        same_class_after=_round(told[:, 1].mean()) if len(told) else None,
        classes=_by_class(facts, chosen[labelled], shares[labelled], same[labelled]),
        examples=_examples(facts, chosen, shares, pairs)[: sampling.examples],
    )


def _sample(
    before: VectorIndex, after: VectorIndex, facts: RowFacts, sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows to ask about, and which of them are the sample of all rows; the others fill up their classes."""
    random = np.random.default_rng(sampling.seed)
    order = random.permutation(len(facts.time_ns))
    order = order[[before.has(row) and after.has(row) for row in order.tolist()]]
    chosen, rest = order[: sampling.rows], order[sampling.rows :]
    more = [chosen[:0]]
    classes, counts = np.unique(facts.classes, return_counts=True)
    for code in classes[np.argsort(-counts, kind="stable")][: sampling.most_classes].tolist():
        if facts.texts[code]:
            have = int(np.count_nonzero(facts.classes[chosen] == code))
            more.append(rest[facts.classes[rest] == code][: max(sampling.a_class - have, 0)])
    everything = np.concatenate([chosen, *more]).astype(np.int64)
    return everything, np.arange(len(everything)) < len(chosen)


def _nearest(index: VectorIndex, row: int, facts: RowFacts) -> NDArray[np.int64]:
    """The `K` rows nearest to a row, itself left out."""
    found = index.search(index.vector(row), K + 1, Nearness(facts.time_ns, int(facts.time_ns[row]))).rows
    return np.asarray(found[found != row][:K], np.int64)


def _share(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """The share of neighbours that both name; 1 where there are none."""
    most = max(len(before), len(after))
    return len(np.intersect1d(before, after)) / most if most else 1.0


def _same(facts: RowFacts, row: int, found: NDArray[np.int64]) -> float:
    """The share of some rows that has the class of `row`; 1 where there are none."""
    return float(np.mean(facts.classes[found] == facts.classes[row])) if len(found) else 1.0


def _by_class(
    facts: RowFacts, chosen: NDArray[np.int64], shares: NDArray[np.float64], same: NDArray[np.float64]
) -> list[ClassOverlap]:
    found = []
    for code in np.unique(facts.classes[chosen]).tolist():
        here = facts.classes[chosen] == code
        before, after = same[here].mean(axis=0).tolist()
        name, count = facts.texts[code], int(here.sum())
        found.append(ClassOverlap(name, count, _round(shares[here].mean()), _round(before), _round(after)))
    return sorted(found, key=lambda one: (one.overlap, one.name))


def _examples(
    facts: RowFacts,
    chosen: NDArray[np.int64],
    shares: NDArray[np.float64],
    pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> list[Example]:
    """The rows asked about whose neighbours differ, those that differ most first."""
    most = [place for place in np.argsort(shares, kind="stable").tolist() if shares[place] < 1.0]
    return [
        Example(
            _name(facts, chosen[place : place + 1])[0],
            _round(shares[place]),
            _name(facts, pairs[place][0][:3]),
            _name(facts, pairs[place][1][:3]),
        )
        for place in most[:10]
    ]


def _name(facts: RowFacts, rows: NDArray[np.int64]) -> list[str]:
    names = facts.names(rows.tolist())
    classes = [facts.texts[code] for code in facts.classes[rows].tolist()]
    return [f"{name} ({label})" if label else name for name, label in zip(names, classes, strict=True)]


def _round(value: float | np.floating) -> float:
    return round(float(value), 4)
