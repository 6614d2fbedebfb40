"""Whether a question is in English or in Spanish."""

from __future__ import annotations

import re

from services.rag.language.understanding import ENGLISH, SPANISH

_WORD = re.compile(r"[^\W\d_]+")
_SPANISH_WORDS = """
    al ante anteayer anoche ayer como con contra cual cuales cuando cuanto de del desde donde durante el en ella entre
    equipo equipos es esa ese esta este estos fue fuera ha hace hacia han hasta hay hoy la las lo los manana mas mucho
    muchos muy nuestra nuestro o para pasada pasado pero por porque que quien quienes se semana ser sin sobre su sus
    trafico tras ultima ultimas ultimo ultimos un una unas unos y ataque ataques puerto puertos servidor conexiones
    muestrame busca dame alta alto baja bajo ambos
    detectores protocolo nodo clase evento eventos escaneo escaneos tecnica contrasena contrasenas fuerza
    bruta robo datos barrido malicioso maliciosos maliciosa maliciosas correo busqueda todo todos todas
"""
_ENGLISH_WORDS = """
    a about after against all an and any are at before between but by did do does find for from had has have how in is
    it its last list me my not of on only or our out over show since that the their then there these they this through
    to today until up us was we were what when where which who why with yesterday
"""
_SPANISH, _ENGLISH = frozenset(_SPANISH_WORDS.split()), frozenset(_ENGLISH_WORDS.split())
_SPANISH_LETTERS = frozenset("ñáéíóú¿¡ü")
_SPANISH_ENDING = re.compile(r"[a-z]{3,}(?:cion|ciones|miento|mientos|idad|idades)")


def language_of(text: str, plain_text: str) -> str:
    """The language that more of its words belong to; English where none does. `plain_text` is `plain(text)`."""
    words = _WORD.findall(plain_text)
    spanish = sum(word in _SPANISH or _SPANISH_ENDING.fullmatch(word) is not None for word in words)
    spanish += any(char in _SPANISH_LETTERS for char in text.casefold())
    english = sum(word in _ENGLISH for word in words)
    return SPANISH if spanish > english else ENGLISH
