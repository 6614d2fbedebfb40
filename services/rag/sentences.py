"""The different narratives of a snapshot, as a question in words is compared with them: by meaning and by words.

The same behaviour gives the same sentence on every day, so they are few. A question is compared with each of them once,
however many days and events there are, and what it finds depends on the snapshot alone, not on earlier questions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.vectors import NO_VECTOR
from services.rag.words import WordIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from services.common.days.vectors import VectorIndex
    from services.common.days.view import SegmentView
    from services.rag.catalog import Snapshot
    from services.rag.segments import Segment

SEMANTIC = "semantic"
MOST_SEALED, MOST_SENTENCES = 24_576, 32_768
"""Sentences known at most: of sealed days, the newest days first, and in all; 1.6 KB of memory each."""
MOST_KEPT = 4
"""Snapshots whose sentences are kept, those of the sealed days alone among them."""


@dataclass(frozen=True)
class Meanings:
    """Sentences as one model sees them: their numbers, int64 (m,), and unit vectors, float32 (m, dim)."""

    numbers: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def distances(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """1 - cosine of each sentence and `query` (dim,), float32 (m,)."""
        # Not `@`: BLAS would wake threads of its own for so small a product.
        cosines = np.einsum("ij,j->i", self.vectors, query)
        return np.asarray(np.maximum(1.0 - cosines, 0.0), np.float32)


@dataclass(frozen=True)
class Sentences:
    """n sentences, numbered from 0. Immutable; safe for several threads."""

    words: WordIndex
    numbers: Mapping[str, int] = field(default_factory=dict)  # text -> its number, ascending
    meanings: Mapping[str, tuple[Meanings, ...]] = field(default_factory=dict)  # by model id
    places: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """For each view, by `id`: the number of each text; -1 for what is no event's sentence, or was left out."""
    items: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """As `places`: the number of the one semantic vector that events with a text have; -1 where there may be more."""
    left_out: Mapping[str, int] = field(default_factory=dict)  # day -> how many were too many

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.numbers)

    def distances(self, queries: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """How far each sentence is from a question by each model, float32 (n,); infinite where it has no vector."""
        found: dict[str, NDArray[np.float32]] = {}
        for model_id, query in queries.items():
            found[model_id] = np.full(len(self), np.inf, np.float32)
            for block in self.meanings.get(model_id, ()):
                found[model_id][block.numbers] = block.distances(query)
        return found


class SentenceBook:
    """Knows the sentences of snapshots. Safe for several threads."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, ...], tuple[Sequence[Segment], Sentences]] = OrderedDict()

    def of(self, snapshot: Snapshot) -> Sentences:
        """The sentences of all events of a snapshot: of the newest sealed day first, those of open ones last.

        Blocks where segments are new, for some milliseconds for each hundred thousand of their rows.
        """
        sealed = [segment for segment in reversed(snapshot.segments) if segment.view.sealed]
        still_open = [segment for segment in snapshot.segments if not segment.view.sealed]
        with self._lock:
            lasting = self._find(sealed, lambda: self._made(Sentences(WordIndex(())), sealed, MOST_SEALED))
            if not still_open:
                return lasting
            return self._find([*sealed, *still_open], lambda: self._made(lasting, still_open, MOST_SENTENCES))

    def _find(self, segments: Sequence[Segment], make: Callable[[], Sentences]) -> Sentences:
        """The sentences of `segments`, made where they are not kept."""
        key = tuple(map(id, segments))
        if key not in self._kept:
            # The segments are kept too: while they are, no other one can have their identity.
            self._kept[key] = (segments, make())
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key][1]

    def _made(self, below: Sentences, segments: Sequence[Segment], most: int) -> Sentences:
        """The sentences of `below` and of `segments`."""
        growing = _Growing(below, most)
        for segment in segments:
            growing.take(segment.view)
        return growing.finish([kept.words for _, kept in self._kept.values()])


class _Growing:
    """Sentences to which those of more segments are added; for one thread."""

    def __init__(self, below: Sentences, most: int) -> None:
        self._below = below
        self._most = most
        self._numbers = dict(below.numbers)
        self._places = dict(below.places)
        self._items = dict(below.items)
        self._left_out = dict(below.left_out)
        self._seen = {model_id: set[int]() for model_id in below.meanings}
        for model_id, blocks in below.meanings.items():
            self._seen[model_id].update(number for block in blocks for number in block.numbers.tolist())
        self._blocks: dict[str, list[Meanings]] = {}

    def take(self, view: SegmentView) -> None:
        """Add the sentences of a segment's events, and their vectors."""
        codes, rows = _first_rows(view)
        numbers = np.array([self._number(view.texts[code]) for code in codes.tolist()], np.int64)
        places = np.full(len(view.texts), -1, np.int64)
        places[codes] = numbers
        self._places[id(view)] = places
        too_many = int((numbers < 0).sum())
        if too_many:
            self._left_out[view.day] = self._left_out.get(view.day, 0) + too_many
        items = _vectors_of(view.indices.get(SEMANTIC), rows)
        self._items[id(view)] = _only_vectors(view, codes, items)
        self._take_meanings(view, numbers, items)

    def _number(self, text: str) -> int:
        """The number of a sentence; -1 where there are too many already."""
        if text not in self._numbers and len(self._numbers) >= self._most:
            return -1
        return self._numbers.setdefault(text, len(self._numbers))

    def _take_meanings(self, view: SegmentView, numbers: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        """The vector of each sentence that has none of this model yet, at the first row that says it."""
        index = view.indices.get(SEMANTIC)
        if index is None:
            return
        seen = self._seen.setdefault(index.spec.model_id, set())
        new = np.array([number >= 0 and number not in seen for number in numbers.tolist()], bool)
        new &= items >= 0
        taken = numbers[new]
        if len(taken):
            vectors = np.asarray(index.vectors[items[new]], np.float32)
            self._blocks.setdefault(index.spec.model_id, []).append(Meanings(taken, vectors))
            seen.update(taken.tolist())

    def finish(self, indices: Sequence[WordIndex]) -> Sentences:
        """All of it; the words are added to that of `indices` which holds most of them already."""
        meanings = dict(self._below.meanings)
        for model_id, blocks in self._blocks.items():
            numbers = np.concatenate([block.numbers for block in blocks])
            vectors = np.concatenate([block.vectors for block in blocks])
            meanings[model_id] = (*meanings.get(model_id, ()), Meanings(numbers, vectors))
        texts = tuple(self._numbers)
        known = [index for index in indices if texts[: len(index)] == index.sentences]
        nearest = max(known, key=len, default=self._below.words)
        words = nearest if len(nearest) == len(texts) else nearest.grown(texts[len(nearest) :])
        return Sentences(words, self._numbers, meanings, self._places, self._items, self._left_out)


def _vectors_of(index: VectorIndex | None, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the vector of each of some rows; -1 for those that have none."""
    found = np.full(len(rows), -1, np.int64)
    if index is not None:
        there = rows < index.rows
        found[there] = rows[there] if index.codes is None else index.codes[rows[there]]
        found[found == NO_VECTOR] = -1
    return found


def _only_vectors(view: SegmentView, codes: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each text the vector that its events have; -1 where one has another than the first (`items` for `codes`)."""
    found = np.full(len(view.texts), -1, np.int64)
    index = view.indices.get(SEMANTIC)
    if index is not None and index.codes is not None:
        found[codes] = items
        told = view.columns["narrative"][: index.rows]
        found[told[(index.codes != found[told]) & (index.codes != NO_VECTOR)]] = -1
    return found


def _first_rows(view: SegmentView) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the texts that are narratives of events, ascending, and the first row that has each."""
    codes = view.columns["narrative"]
    first = np.full(len(view.texts), -1, np.int64)
    # Of several values for one place numpy keeps the last, which is the first row here.
    first[codes[::-1]] = np.arange(view.rows - 1, -1, -1)
    used = np.flatnonzero(first >= 0)
    return used, first[used]
