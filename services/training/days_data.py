"""Reads sealed days for training and evaluation: labels, features, windows, and the vectors that are served."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from services.common.days.chunk_builder import iterate_blocks
from services.common.days.layout import check_layout
from services.common.days.names import read_pointer
from services.common.days.sealed_reader import SealedReader
from services.common.days.traffic import column_traffic
from services.common.days.vectors import NO_VECTOR
from services.common.errors import AppiaError
from services.common.events.features import extract
from services.common.events.windows import day_windows
from services.training.judged import Judged, judge
from services.training.port import HostWindowRows, LabelledRows
from services.training.scoring import Rows, Space
from services.training.split import spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from services.common.days.names import StateNames
    from services.common.days.vectors import VectorIndex
    from services.common.days.view import SegmentView
    from services.training.judged import Verdicts


@dataclass(frozen=True)
class ChosenRows:
    """The labelled events of some days that are looked at: for each day its rows, int64, ascending; classes, times.

    `totals` counts all events of each class, `unlabelled` those without a class, which are left out;
    `judged` those whose class analysts had a say in.
    """

    days: tuple[str, ...]
    by_day: tuple[NDArray[np.int64], ...]
    rows: Rows
    totals: dict[str, int]
    unlabelled: int
    judged: Judged = field(default_factory=Judged)

    def __len__(self) -> int:
        return len(self.rows.labels)


@contextmanager
def sealed_days(state: StateNames, days: Sequence[str] | None = None) -> Iterator[list[SealedReader]]:
    """Readers of the served generations of some days (None: of all that are sealed), ascending, closed at the end.

    Raises:
        AppiaError: a day is not there or not sealed, or none is.
    """
    check_layout(state)
    wanted = state.days() if days is None else sorted(set(days))
    with ExitStack() as opened:
        readers = []
        for day in wanted:
            names = state.day(day)
            number = read_pointer(names.current)
            if number is not None:
                readers.append(opened.enter_context(closing(SealedReader(day, names.generation(number)))))
            elif days is not None:
                raise AppiaError(
                    f"{state.root} has no sealed day {day}: `appia seal {day}` seals one that is open"
                )
        if not readers:
            raise AppiaError(f"{state.root} has no sealed day: `appia seal DAY` seals one")
        yield readers


def labels_of(view: SegmentView) -> NDArray[np.str_]:
    """The class of each event of a day: its own label where it has one, else its final classification; text (n,)."""
    texts = np.array([*view.texts, ""], np.str_)
    own, final = (cast("NDArray[np.uint32]", view.columns[name]) for name in ("label", "class"))
    return np.where(texts[own] == "", texts[final], texts[own])


def choose_rows(readers: Sequence[SealedReader], most: int, verdicts: Verdicts | None = None) -> ChosenRows:
    """The labelled events of some days; of more than `most`, rare classes whole and others evenly over time.

    `verdicts` of analysts change labels, see `judge`.

    Raises:
        AppiaError: no event has a class.
    """
    views = [reader.view() for reader in readers]
    labels, judged = judge(np.concatenate([labels_of(view) for view in views]), views, verdicts or {})
    times = np.concatenate([cast("NDArray[np.int64]", view.columns["time_ns"]) for view in views])
    numbers = np.repeat(np.arange(len(views)), [view.rows for view in views])
    rows = np.concatenate([np.arange(view.rows) for view in views])
    labelled = np.flatnonzero(labels != "")
    if not len(labelled):
        names = ", ".join(view.day for view in views)
        raise AppiaError(
            f"No event of {names} has a class, neither `custom_metadata.label` nor a final classification: nothing "
            "can be scored"
        )
    chosen = labelled[spread(labels[labelled], times[labelled], most)]
    classes, counts = np.unique(labels[labelled], return_counts=True)
    return ChosenRows(
        tuple(view.day for view in views),
        tuple(rows[chosen[numbers[chosen] == number]] for number in range(len(views))),
        Rows(labels[chosen], times[chosen], numbers[chosen]),
        {str(name): int(count) for name, count in zip(classes, counts, strict=True)},
        len(labels) - len(labelled),
        judged,
    )


def read_features(
    readers: Sequence[SealedReader], chosen: ChosenRows
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values and presence (n, len(FEATURES)) of the chosen events. Blocks for about 10 us an event of the days."""
    values, present = [], []
    for reader, rows in zip(readers, chosen.by_day, strict=True):
        first = 0
        for events in iterate_blocks(reader.chunk):
            here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(events))] - first
            first += len(events)
            if len(here):
                matrix = extract([events[row] for row in here.tolist()])
                values.append(matrix.values)
                present.append(matrix.present)
    return np.concatenate(values), np.concatenate(present)


def read_windows(
    readers: Sequence[SealedReader], chosen: ChosenRows
) -> tuple[HostWindowRows, NDArray[np.int64]]:
    """The windows of the chosen events, made from all events of their days, and the window of each, int64 (n,)."""
    parts, codes, known = [], [np.empty(0, np.int64)], 0
    for reader, rows in zip(readers, chosen.by_day, strict=True):
        windows = day_windows(column_traffic(reader.chunk.columns, reader.chunk.addresses))
        used, here = np.unique(windows.codes[rows], return_inverse=True)
        values = windows.cells.windows(windows.order[used])
        parts.append((values, windows.hosts[used].astype(np.int64), windows.steps[used]))
        codes.append(here + known)
        known += len(used)
    values_of_all, hosts, steps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return HostWindowRows(values_of_all, hosts, steps), np.concatenate(codes)


def read_labelled(readers: Sequence[SealedReader], chosen: ChosenRows) -> LabelledRows:
    """All that a trainer may be given of the chosen events. Blocks; memory is about 2 KiB an event."""
    values, present = read_features(readers, chosen)
    windows, window_of = read_windows(readers, chosen)
    return LabelledRows(values, present, chosen.rows.labels, chosen.rows.time_ns, windows, window_of)


@dataclass(frozen=True)
class ServedSpace:
    """The vectors of one index as they are served, and the model that made them."""

    space: Space
    model_id: str


def served_space(readers: Sequence[SealedReader], chosen: ChosenRows, index: str) -> ServedSpace:
    """The served vectors of the chosen events in an index.

    Raises:
        AppiaError: a day lacks the index, or two days have it by different models, whose vectors are not comparable.
    """
    vectors, codes, known, metric = [], [], 0, ""
    models: dict[str, str] = {}
    for reader, rows in zip(readers, chosen.by_day, strict=True):
        view = reader.view()
        found = view.indices.get(index)
        if found is None:
            raise AppiaError(
                f"day {view.day} has no index {index}: {view.missing.get(index, 'it is not there')}"
            )
        models.setdefault(found.spec.model_id, view.day)
        metric = found.spec.metric
        used, here = _vectors(found, rows)
        vectors.append(used)
        codes.append(np.where(here < 0, -1, here + known))
        known += len(used)
    if len(models) > 1:
        told = ", ".join(f"{model} (as {day})" for model, day in models.items())
        raise AppiaError(
            f"The index {index} is by several models: {told}. Vectors of different models are not compared: choose "
            f"days of one model with --days, or run `appia reindex --index {index}`"
        )
    return ServedSpace(Space(metric, np.concatenate(vectors), np.concatenate(codes)), next(iter(models)))


def _vectors(index: VectorIndex, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The distinct vectors of some rows, float32 (m, dim), and the number of each row's, int64, -1 where none."""
    codes = rows if index.codes is None else index.codes[rows].astype(np.int64)
    there = codes != NO_VECTOR
    used, numbers = np.unique(codes[there], return_inverse=True)
    found = np.full(len(rows), -1, np.int64)
    found[there] = numbers
    return np.array(index.vectors[used], np.float32), found
