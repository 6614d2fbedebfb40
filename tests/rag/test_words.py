"""Sentences are found by their words, by BM25 over all of them, whatever a question holds."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rag.words import MOST_TERMS, WordIndex, spread, terms_of

SENTENCES = (
    "Inbound HTTP traffic over TCP: a few packets, cut off by RST; judged malicious as PortScan.",
    "Internal DNS traffic over UDP: two packets; judged benign.",
    "Outbound HTTPS traffic over TCP: hundreds of packets; judged malicious as Exfiltration.",
    "Internal SSH traffic over TCP: a dozen packets; judged malicious as BruteForce.",
    "Inbound NTP traffic over UDP: scanning pauses; judged benign.",
)


@pytest.fixture(scope="module")
def index() -> WordIndex:
    return WordIndex(SENTENCES)


def best(index: WordIndex, text: str) -> list[int]:
    """The numbers of the sentences that have some word of a text, best first."""
    scores = index.search(text).scores
    return [number for number in np.argsort(-scores, kind="stable").tolist() if scores[number] > 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("exfiltration", [2]),
        ("EXFILTRATION", [2]),
        ("brute force", [3]),
        ("bruteforce", [3]),
        ("port scans", [0, 4]),
        ("scanned", [4, 0]),
        ("pausing", [4]),
        ("the", []),
        ("volcano", []),
    ],
)
def test_words_find_their_sentences(index: WordIndex, text: str, found: list[int]) -> None:
    """Case, grammatical endings and words written as one do not matter."""
    assert sorted(best(index, text)) == sorted(found)


def test_rare_words_count_more(index: WordIndex) -> None:
    """A word that one sentence has goes before a word that several have."""
    assert best(index, "malicious exfiltration")[0] == 2
    assert best(index, "benign dns")[0] == 1


def test_words_that_nearly_all_have_decide_only_alone(index: WordIndex) -> None:
    """What most sentences say tells nothing beside a rarer word, and finds them all where there is no other."""
    assert best(index, "traffic ssh") == [3]
    assert len(best(index, "traffic")) == len(SENTENCES)


def test_shares_say_how_much_of_a_question_is_there(index: WordIndex) -> None:
    """All words make 1, none 0; a word that no sentence has is missed, and rare words weigh more."""
    assert index.search("internal ssh").shares[3] == pytest.approx(1.0)
    partly = index.search("internal ssh volcano").shares
    assert 0 < partly[1] < partly[3] < 1
    assert index.search("volcano").shares.tolist() == [0.0] * len(SENTENCES)


@pytest.mark.parametrize(
    "text",
    [
        '"',
        "scan AND",
        "NEAR(a b)",
        "words:scan",
        "scan*",
        "-scan",
        "^scan",
        "a OR b)",
        "{x}",
        "'; DROP TABLE",
        "\x00",
    ],
)
def test_nothing_of_a_question_is_syntax(index: WordIndex, text: str) -> None:
    """Operators of FTS5 and SQL are only words, or nothing."""
    assert best(index, text) == best(index, "".join(c if c.isalnum() else " " for c in text.lower()))


@given(st.text(max_size=1000))
def test_any_text_is_answered(text: str) -> None:
    """No text makes an error."""
    hits = WordIndex(SENTENCES).search(text)
    assert (hits.scores >= 0).all()
    assert ((hits.shares >= 0) & (hits.shares <= 1 + 1e-9)).all()


@given(st.permutations(range(len(SENTENCES))), st.integers(0, len(SENTENCES)))
def test_scores_depend_on_the_sentences_alone(order: list[int], first: int) -> None:
    """Another order, or an index that has grown, gives every sentence the same score to the last bit."""
    shuffled = [SENTENCES[number] for number in order]
    grown = WordIndex(shuffled[:first]).grown(shuffled[first:])
    plain = WordIndex(SENTENCES).search("inbound port scan over TCP")
    other = grown.search("inbound port scan over TCP")
    assert grown.sentences == tuple(shuffled)
    assert other.scores.tolist() == plain.scores[order].tolist()
    assert other.shares.tolist() == plain.shares[order].tolist()


def test_growing_leaves_the_first_as_it_is() -> None:
    """Questions that began with fewer sentences end with these."""
    first = WordIndex(SENTENCES[:2])
    before = first.search("dns traffic").scores.tolist()
    grown = first.grown(SENTENCES[2:])
    assert (len(first), len(grown)) == (2, 5)
    assert first.search("dns traffic").scores.tolist() == before


def test_an_empty_index_finds_nothing() -> None:
    """No sentences, no hits."""
    hits = WordIndex(()).search("port scan")
    assert (len(hits.scores), len(hits.shares)) == (0, 0)


def test_several_threads_ask_at_once(index: WordIndex) -> None:
    """Every thread has the answer that one alone has."""
    wanted = index.search("inbound scan").scores.tolist()
    wrong: list[list[float]] = []

    def ask() -> None:
        for _ in range(50):
            found = index.search("inbound scan").scores.tolist()
            if found != wanted:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_terms_leave_out_what_says_nothing() -> None:
    """Small words go, unless there are no others; each word once; a very long text is cut."""
    assert terms_of("show me the port scans from the outside, the SCANS") == ["port", "scans", "outside"]
    assert terms_of("who is it") == ["who", "is", "it"]
    assert len(terms_of(" ".join(f"w{number}" for number in range(500)))) == MOST_TERMS


def test_names_are_spread() -> None:
    """Words written as one are also there apart, once."""
    assert (
        spread("a PortScan, FTPPatator and PortScan")
        == "a PortScan, FTPPatator and PortScan Port Scan FTP Patator"
    )
    assert spread("DNS over UDP") == "DNS over UDP"
