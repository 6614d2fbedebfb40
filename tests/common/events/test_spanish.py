"""Questions in Spanish become the English of the narratives; all others stay as they are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import AppiaError
from services.common.events.spanish import Glossary, load_glossary, plain_word

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parents[3]
QUESTIONS = tomllib.loads((PROJECT / "tests/data/questions/spanish.toml").read_text("utf-8"))
GLOSSARY = load_glossary()


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Glossary]:
    """A glossary of the file that a text is."""

    def glossary(text: str) -> Glossary:
        (tmp_path / "own.toml").write_text(text, "utf-8")
        return load_glossary(tmp_path / "own.toml")

    return glossary


@pytest.mark.parametrize(
    ("spanish", "english"),
    [
        ("escaneo de puertos desde fuera", "port scan inbound from outside"),
        ("¿Escaneos de puertos?", "port scan"),
        ("FUERZA BRUTA contra SSH", "brute force against SSH"),
        ("denegacion de servicio", "denial of service"),
        ("conexiones rechazadas", "connection refused with RST"),
        ("carpetas compartidas", "SMB file share"),
        ("archivos compartidos", "SMB file share"),
        ("túnel DNS hacia 203.0.113.9", "tunnel DNS to 203.0.113.9"),
        ("correos de fulanito-7", "mail fulanito-7"),
        ("¿quién nos escaneó desde fuera hoy?", "who scan inbound from outside"),
        ("¿Quién atacó la máquina?", "who attacked host"),
        (
            "equipo interno hablando con muchos destinos nuevos",
            "host internal talking with many destination new",
        ),
    ],
)
def test_spanish_is_understood(spanish: str, english: str) -> None:
    """Accents, capitals, plurals and genders do not matter; the longest entry wins; what is unknown stays."""
    assert GLOSSARY.english(spanish) == english


def test_what_is_known_to_be_spanish_needs_no_proof() -> None:
    """The rest of a longer question is put into English though the glossary lacks most of its words."""
    rest = "charlando con muchos vecinos raros"
    assert GLOSSARY.english(rest) == rest
    assert GLOSSARY.english(rest, is_spanish=True) == "charlando with many vecinos raros"
    assert GLOSSARY.english("", is_spanish=True) == ""


@pytest.mark.parametrize(
    "text",
    [
        *(entry["en"] for part in QUESTIONS.values() for entry in part),
        *(line for line in (PROJECT / "models/sentences.txt").read_text("utf-8").splitlines()[:40]),
        "red team",
        "no answer",
        "a web server",
        "DoS",
        "local data",
        "",
        "10.0.0.1:443",
        "el servicio of something that is quite another language",
    ],
)
def test_what_is_not_spanish_stays_as_it_is(text: str) -> None:
    """English questions and sentences, names, and texts with a stray Spanish word come back unchanged."""
    assert GLOSSARY.english(text) == text


def test_every_spanish_question_is_recognised() -> None:
    for part in QUESTIONS.values():
        for entry in part:
            assert GLOSSARY.english(entry["es"]) != entry["es"]


def test_no_word_of_the_vocabulary_is_lost() -> None:
    """English made of Spanish is not taken for Spanish again: a second time changes nothing."""
    for english in GLOSSARY.entries.values():
        assert GLOSSARY.english(english) == english


@given(st.text(max_size=80))
def test_any_text_has_an_answer(text: str) -> None:
    """No text fails, and one with something in it does not become empty."""
    assert bool(GLOSSARY.english(text)) == bool(text)


@pytest.mark.parametrize(
    ("word", "plain"), [("Contraseña", "contrasena"), ("TÚNEL", "tunel"), ("Straße", "strasse")]
)
def test_words_are_compared_plain(word: str, plain: str) -> None:
    assert plain_word(word) == plain


def test_a_file_of_ones_own(make: Callable[[str], Glossary]) -> None:
    """Entries of several words are found in all their forms, also where their words have entries of their own."""
    glossary = make(
        'small = ["de"]\nenglish_too = ["red"]\n[words]\ndato = "data"\nred = "net"\n"base de datos" = "database"\n'
    )
    assert glossary.english("las bases de datos de la red") == "las database la net"
    assert glossary.english("red") == "red"
    assert glossary.english("datos") == "data"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[words", "cannot be read"),
        ("[words]\nuno = 1\n", "is wrong: the entry 'uno' needs a word, and a text"),
        ('[words]\n"¡!" = "x"\n', "is wrong: the entry '' needs a word"),
        ('small = "el"\n', "is wrong: small must be a list of texts"),
        ("small = [1]\n", "is wrong: small must be a list of texts"),
    ],
)
def test_a_wrong_file_names_its_entry(make: Callable[[str], Glossary], text: str, sentence: str) -> None:
    with pytest.raises(AppiaError, match=sentence):
        make(text)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match="cannot be read"):
        load_glossary(tmp_path / "none.toml")
