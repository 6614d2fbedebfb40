"""What is left of a question when its filters are taken out: without the words that ask and do not tell."""

from __future__ import annotations

import re

from services.rag.language.text import TAKEN

_WORD = re.compile(r"[^\W_]+(?:['\u2019.:/_-][^\W_]+)*")
# Words at either end that say nothing about traffic.
_ASKING_WORDS = """
    a about alert alerts all also an and any anything are as at be been but by can come comes could did display do does
    event events everything find flow flows for from get give had happened happens has have how i in is it its let list
    look me my of on only or our over please record records search see seen show some something tell that the their them
    then there these they this those to traffic us was we were what whatever what's when where which who with would you
    con cual cuales cualquier dame de del donde el en es esta estas este estos evento eventos fue fueron ha haber han
    hay hubo la las lo los me muestra muestrame mostrar nuestra nuestro o para paso pasado pero por que quiero quien se
    son su sus todas todo todos trafico un una unas unos ver y busca buscar a al alerta alertas
    hace hacen hizo hicieron haciendo cuantos cuantas
"""
_ASKING = frozenset(_ASKING_WORDS.split())
_HOW_MANY = ["how", "many"]
# Alone they ask for everything that the filters let through.
_EMPTY_WORDS = "activity actividad connection connections conexion conexiones data datos"
_EMPTY = _ASKING | frozenset(_EMPTY_WORDS.split())


def rest_of(text: str, plain_text: str) -> str:
    """The words of `text` that are not `TAKEN` in `plain_text`, a text of the same length in plain letters."""
    words = [(match.start(), match.end()) for match in _WORD.finditer(plain_text.replace(TAKEN, " "))]
    plain_words = [plain_text[start:stop] for start, stop in words]
    if all(word in _EMPTY for word in plain_words):
        return ""
    first, last = 0, len(words)
    while plain_words[first] in _ASKING or plain_words[max(first - 1, 0) : first + 1] == _HOW_MANY:
        first += 1
    while plain_words[last - 1] in _ASKING:
        last -= 1
    left = text[words[first][0] : words[last - 1][1]]
    taken = plain_text[words[first][0] : words[last - 1][1]]
    kept = "".join(" " if mark == TAKEN else char for char, mark in zip(left, taken, strict=True))
    return re.sub(r" +(?=[,.;:?!)])", "", " ".join(kept.split()))
