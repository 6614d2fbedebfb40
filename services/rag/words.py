"""Full-text search over sentences in memory: SQLite FTS5 with BM25 (Robertson and Zaragoza, 2009).

BM25 weighs a word by how many of the sentences have it, so the scores of thirty databases, one a day, could not be
compared. There is therefore one index over the distinct sentences of all days; they are few, because the same behaviour
gives the same sentence.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

MOST_TERMS = 64
"""Different words of a question that are looked for; a longer one is cut."""

_WORD = re.compile(r"[^\W_]+")
# PortScan, FTPPatator: the names of classes hide words that people write apart.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TABLE = "CREATE VIRTUAL TABLE sentences USING fts5(words, content='', tokenize='porter unicode61 remove_diacritics 2')"

# Words that say nothing about traffic: a rare "the" would else outweigh a frequent "scan".
_SMALL = """
a about all am an and any are as at be been but by can could did do does doing find for from get give had has
have having he her here his how i if in into is it its just let like list look looking looks may me might most
my need no not of on or our out please see seen shall she should show so some something such tell than that
the their them then there these they this those through to us very want was we were what when where which
while who whom whose why will with would you your
"""
SMALL = frozenset(_SMALL.split())


@dataclass(frozen=True)
class WordHits:
    """What a question's words find among n sentences."""

    scores: NDArray[
        np.float64
    ]  # (n,) BM25, higher is better; 0 where no word occurs that tells sentences apart
    shares: NDArray[
        np.float64
    ]  # (n,) which share of the question a sentence says, 0 to 1; rare words count more


class WordIndex:
    """Finds sentences by their words. Safe for several threads; the sentences never change.

    What a sentence scores depends on the set of sentences and on nothing else: neither on their order nor on how the
    index came about.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        """Index sentences, numbered from 0; blocks for about 10 microseconds each."""
        self.sentences: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(_TABLE)
        self._add(sentences)

    def grown(self, sentences: Sequence[str]) -> WordIndex:
        """An index that has more sentences, numbered on; this one stays as it is. Blocks for a copy in memory."""
        other = WordIndex(())
        with self._lock:
            self._database.backup(other._database)
        other.sentences = self.sentences
        other._add(sentences)
        return other

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.sentences)

    def __del__(self) -> None:
        """Give the memory back; a connection that nobody closes would be warned about."""
        self._database.close()

    def search(self, text: str) -> WordHits:
        """What the words of `text` find, of any content: nothing in it is syntax. Blocks for about a millisecond."""
        hits = WordHits(np.zeros(len(self)), np.zeros(len(self)))
        with self._lock:
            found = {term: self._numbers(term) for term in terms_of(text)}
            telling = self._telling(found)
            for number, score in self._scored(telling):
                hits.scores[number - 1] = score
        self._add_shares(hits.shares, found)
        return hits

    def _add(self, sentences: Sequence[str]) -> None:
        rows = ((place, spread(text)) for place, text in enumerate(sentences, len(self) + 1))
        with self._lock, self._database:
            self._database.executemany("INSERT INTO sentences(rowid, words) VALUES (?, ?)", rows)
        self.sentences = (*self.sentences, *sentences)

    def _numbers(self, term: str) -> NDArray[np.int64]:
        """The sentences that have a word, each number plus one; as one text, which is read faster than rows."""
        query = "SELECT group_concat(rowid) FROM sentences WHERE sentences MATCH ?"
        (found,) = self._database.execute(query, (_quoted(term),)).fetchone()
        return np.fromstring(found or "", np.int64, sep=",")

    def _telling(self, found: dict[str, NDArray[np.int64]]) -> list[str]:
        """The words that some sentences have and most have not; all that occur, where no other does.

        BM25 gives the others next to nothing, and to score every sentence by them takes most of the time.
        """
        there = [term for term, numbers in found.items() if len(numbers)]
        return [term for term in there if 2 * len(found[term]) <= len(self)] or there

    def _scored(self, terms: Iterable[str]) -> list[tuple[int, float]]:
        query = " OR ".join(map(_quoted, terms))
        if not query:
            return []
        return self._database.execute(
            "SELECT rowid, -bm25(sentences) FROM sentences WHERE sentences MATCH ?", (query,)
        ).fetchall()

    def _add_shares(self, shares: NDArray[np.float64], found: dict[str, NDArray[np.int64]]) -> None:
        """Weigh words by the logarithm of how few sentences have them; one that none has counts most, and is missed."""
        weights = {term: np.log((1 + len(self)) / (0.5 + len(numbers))) for term, numbers in found.items()}
        total = sum(weights.values())
        for term, numbers in found.items():
            shares[numbers - 1] += weights[term] / total


def terms_of(text: str) -> list[str]:
    """The different words to look for, in small letters, those of `SMALL` left out unless there are no others."""
    words = list(dict.fromkeys(word.casefold() for word in _WORD.findall(spread(text))))
    return ([word for word in words if word not in SMALL] or words)[:MOST_TERMS]


def spread(text: str) -> str:
    """A text, and behind it the parts of the words that are written as one: "PortScan" adds "Port Scan"."""
    parts = dict.fromkeys(apart for word in _WORD.findall(text) if (apart := _HUMP.sub(" ", word)) != word)
    return " ".join((text, *parts))


def _quoted(term: str) -> str:
    """A word as FTS5 takes it literally."""
    return f'"{term}"'
