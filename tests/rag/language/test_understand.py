"""Understanding a question: it never fails, depends on its arguments alone, and says what it did with each phrase."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.questions import read_question_set
from services.rag.arguments import parse_filters
from services.rag.language import names
from services.rag.language.understand import MAX_CHARACTERS, understand
from services.rag.language.understanding import Facts

SET = read_question_set()
NOW = SET.questions[0].now_ns
FACTS = SET.facts
YESTERDAY = {"since": "2026-11-19T00:00:00Z", "until": "2026-11-20T00:00:00Z"}
# Every word of the set, and what stands at the borders of the rules.
WORDS = (
    " ".join(question.text for question in SET.questions)
    + " a the of in on at from to and between since until after before last next not except ago of"
    " 1 2 12 24 25:61 99999 2026 0.5 0,5 80% 100000 1e9 -1 70000 10.0.0.1/8 ::1 fe80:: a.b.c.d /33 ::::"
    " monday may january lunes mayo hace una hours weeks years meses ports score ML class node tag"
    " \x00 \u202e \u0301 \u00df \ufb01 \u0130 \u0663 \u00b2 ( ) , ; - ' \" \\ % * ?"
).split(" ")


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join), st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=400, deadline=None)
def test_filters_of_any_words_are_accepted(text: str, now_ns: int) -> None:
    """Whatever the words and the moment, nothing is raised and a replica accepts the filters."""
    understood = understand(text, now_ns, FACTS)
    parse_filters(understood.filters)
    json.dumps(understood.describe())


@given(st.text(max_size=1200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read(text: str) -> None:
    """Whatever the characters, nothing is raised, and what is left is made of the text's own."""
    understood = understand(text, NOW, FACTS)
    assert set(understood.rest.replace(" ", "")) <= set(text)


HOSTILE = (
    "a", "1", "1.", "1:", "::", "ab:", "from ", "the ", "score between 1 and ", "1,", "1 - ", "ports 1 and 2 or ",
    "between 2 and ", "10.0.0.1 ", "and ", "not ", "de la ", "hace una ", "1 hour ", "class ", "class dos ",
    "detectors ", "the two both ", "no se ", "2026-01-01 ", "jan 1 ", "on the ", "(", "mitre ", "\u0301",
    "9" * 50 + " ",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_hardest_texts_come_to_an_end(piece: str) -> None:
    """Repetitions that make patterns try again: a pattern whose ways to match double with each would never end."""
    text = (piece * MAX_CHARACTERS)[: MAX_CHARACTERS - 1] + "!"
    assert understand(text, NOW, FACTS) == understand(text, NOW, FACTS)


def test_ten_megabytes_are_cut() -> None:
    """Only the first thousand characters are read."""
    understood = understand("port scan yesterday " + "x" * 10_000_000, NOW, FACTS)
    assert {"since", "until"} == set(understood.filters)
    assert len(understood.rest) <= MAX_CHARACTERS


# dateparser puts the year of the clock before days that it then reads without a year: a wrong clock must not matter.
_ELSEWHERE = """
import datetime, json, sys, warnings
warnings.simplefilter("error")
from services.rag.language.understand import understand
from services.rag.language.understanding import Facts

class Alike(type(datetime.datetime)):
    def __instancecheck__(cls, value, real=datetime.datetime): return isinstance(value, real)

class Wrong(datetime.datetime, metaclass=Alike):
    @classmethod
    def now(cls, tz=None, real=datetime.datetime): return real(2031, 3, 1, 4, 5, tzinfo=tz)
    utcnow = today = now

facts, questions = json.load(sys.stdin)
facts = Facts(**{name: tuple(names) if isinstance(names, list) else names for name, names in facts.items()})
understand("on May 3", 0, facts)
for name, module in list(sys.modules.items()):
    if name.startswith(("dateparser", "services")) and getattr(module, "datetime", None) is datetime.datetime:
        module.datetime = Wrong
print(json.dumps([understand(text, now_ns, facts).describe() for text, now_ns in questions]))
"""


def test_neither_clock_nor_place_matter() -> None:
    """The same by another clock, in another time zone, language and hash seed, and with warnings as errors."""
    questions = [(question.text, question.now_ns) for question in SET.questions]
    here = [understand(text, now_ns, FACTS).describe() for text, now_ns in questions]
    elsewhere = {"TZ": "Asia/Tokyo", "LC_ALL": "es_ES.UTF-8", "LANG": "es_ES.UTF-8", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        input=json.dumps([vars(FACTS), questions]),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env=os.environ | elsewhere,
    )
    assert not done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(here))


def test_several_threads_understand_the_same() -> None:
    """Questions with written dates, asked by several threads at once, are understood as one by one."""
    texts = [f"scans on {day} {month} 2026" for day in range(1, 29) for month in ("March", "July", "de mayo")]
    alone = [understand(text, NOW, FACTS) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: understand(text, NOW, FACTS), texts * 3)) == alone * 3


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("show me the port scans of yesterday, please", "port scans"),
        ("who scanned us from outside?", "scanned"),
        ("denial of service on 2017-07-05", "denial of service"),
        ("slow attack on the web server last Wednesday", "slow attack"),
        ("What happened since Monday?", ""),
        ("¿qué pasó ayer?", ""),
        ("muéstrame todo lo de ayer", ""),
        ("   ", ""),
        ("?!", ""),
        ("scans (nmap) of 10.0.0.5, slow", "scans (nmap), slow"),
    ],
)
def test_what_is_left(text: str, rest: str) -> None:
    """Phrases that became filters are gone with the words that joined them, and so are words that only ask."""
    assert understand(text, NOW, FACTS).rest == rest


@pytest.mark.parametrize(
    ("text", "filters", "notes"),
    [
        (
            "today in May",
            {"since", "until"},
            ("'in May' contradicts what is said before it, so it is no filter.",),
        ),
        ("score above 0.8, score below 0.2", {"min_overall"}, 1),
        ("the fast detector fired, the fast detector did not fire", {"fast_triggered"}, 1),
        (
            "ssh without rdp",
            {"dst_port"},
            ("'without rdp' is no filter: filters choose, and exclude nothing.",),
        ),
        ("scans except from 10.0.0.5", set(), 1),
        ("todo salvo dns", set(), 1),
    ],
)
def test_what_cannot_be_a_filter_is_said(text: str, filters: set[str], notes: tuple[str, ...] | int) -> None:
    """What contradicts an earlier phrase, or excludes, is told in a sentence and no filter is made of it."""
    understood = understand(text, NOW, FACTS)
    assert set(understood.filters) == filters
    assert understood.notes == notes or len(understood.notes) == notes


@pytest.mark.parametrize(
    ("text", "filters", "rest", "phrase"),
    [
        ("udp traffic that isn't dns", {"protocol": ["udp"]}, "", "that isn't dns"),
        ("tráfico udp que no sea dns", {"protocol": ["udp"]}, "", "que no sea dns"),
        ("udp except dns and ntp", {"protocol": ["udp"]}, "", "except dns"),
        ("non-tcp traffic", {}, "", "non-tcp traffic"),
        ("malicious traffic except port scans", {}, "malicious", "except port scans"),
        ("ataques que no sean escaneos, ayer", YESTERDAY, "ataques", "que no sean escaneos"),
        ("attacks that are not port scans", {}, "attacks", "that are not port scans"),
        ("ataques que no son escaneos", {}, "ataques", "que no son escaneos"),
        ("malicious, not from 10.0.0.5", {}, "malicious", "not from 10.0.0.5"),
    ],
)
def test_what_is_excluded_is_neither_a_filter_nor_looked_for(
    text: str, filters: dict[str, Any], rest: str, phrase: str
) -> None:
    """To look for what somebody does not want would rank it first."""
    understood = understand(text, NOW, FACTS)
    assert (dict(understood.filters), understood.rest) == (filters, rest)
    assert understood.notes[0] == f"'{phrase}' is no filter: filters choose, and exclude nothing."
    assert not any("scan" in hint.casefold() for hint in understood.hints)


@pytest.mark.parametrize(
    "text", ["connected without sending data", "SYN no answer", "sin respuesta", "no data not answered"]
)
def test_what_did_not_happen_is_looked_for(text: str) -> None:
    """Narratives tell what was left out, so such words are no exclusion."""
    understood = understand(text, NOW, FACTS)
    assert understood.rest == text
    assert not understood.notes


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("qué hizo 10.0.0.5 ayer", ""),
        ("how many attacks were there yesterday?", "attacks"),
        ("¿cuántos ataques hubo ayer?", "ataques"),
    ],
)
def test_asking_words_are_not_looked_for(text: str, rest: str) -> None:
    """Verbs and numbers that only ask meet no sentence by chance."""
    assert understand(text, NOW, FACTS).rest == rest


def test_two_phrases_of_one_filter_are_joined() -> None:
    """Of lists any value may hold, and of two bounds the narrower one holds."""
    assert understand("over ssh and rdp", NOW, FACTS).filters == {"dst_port": [22, 3389]}
    assert understand("score above 0.5, score above 0.8", NOW, FACTS).filters == {"min_overall": 0.8}
    assert understand("this month, since Monday", NOW, FACTS).filters["since"] == "2026-11-16T00:00:00Z"


def test_what_was_understood_is_plain() -> None:
    """An answer carries the language, the filters, each phrase with its meaning, the rest and the notes."""
    assert understand("port scans yesterday", NOW, Facts()).describe() == {
        "language": "en",
        "filters": {"since": "2026-11-19T00:00:00Z", "until": "2026-11-20T00:00:00Z"},
        "parts": [
            {
                "phrase": "yesterday",
                "filters": {"since": "2026-11-19T00:00:00Z", "until": "2026-11-20T00:00:00Z"},
                "means": "since 2026-11-19, before 2026-11-20",
            }
        ],
        "rest": "port scans",
        "notes": [],
    }


def test_many_names_are_read_once_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that speaks of names again and again, over thousands of them, costs no more than one look at each."""
    looked: list[str] = []
    monkeypatch.setattr(names, "name_words", lambda name: looked.append(name) or name.split("-"))
    many = tuple(f"kind-{number}" for number in range(2000))
    found = understand("class kind 7 at a time " * 40, NOW, Facts(classes=many, categories=many))
    assert found.filters == {"class": ["kind-7"]}
    assert len(looked) <= 2 * len(many)
