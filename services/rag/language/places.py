"""Inside and outside: "from outside", "internal hosts", "hacia internet"."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from services.rag.language.text import TAKEN, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

_HOSTS = (
    r"(?:hosts?|machines?|computers?|clients?|servers?|devices?|ips?|address(?:es)?|users?|systems?|pcs?|workstations?|"
    r"peers?|endpoints?|equipos?|maquinas?|servidor(?:es)?|dispositivos?|ordenador(?:es)?|clientes?|"
    r"direccion(?:es)?)"
)
_OUTSIDE = (
    r"(?:the )?(?:outside(?: world)?|internet|extern(?:al)?(?: networks?| internet)?)"
    r"|(?:la |el )?(?:internet|exterior|afuera|fuera(?: de la red)?)"
)
_INSIDE = r"(?:the |our )?(?:inside|internal network|lan)|(?:la )?red (?:interna|local)|(?:el )?interior|adentro|dentro"
_INSIDE_OF = (
    r"\b(?:inside|within|in) (?:of )?(?:the|our) (?:internal |own )?(?:network|lan)\b|"
    r"\bdentro de (?:la|nuestra) red\b"
)
_FROM, _TO = r"(?:from|by|desde|de|del|por)", r"(?:to|towards?|into|at|against|a|al|hacia|contra)"
_EXTERNAL, _INTERNAL = r"(?:external|outside|foreign)", r"(?:internal|inside|local)"
# What is told of hosts to which something is done: they are the destination.
_PASSIVE = (
    r"(?:(?:that|which|que) )?(?:being|under|getting|was|were|atacad[oa]s?|bajo|siendo|fueron|fue)\b|"
    rf"(?:\w+ed|\w+d[oa]s?) {TAKEN}"  # by whom is read before
)

_SOURCE_IN, _SOURCE_OUT = {"src_internal": True}, {"src_internal": False}
_ACTS_IN, _ACTS_OUT = dict(_SOURCE_IN), dict(_SOURCE_OUT)  # named without a word for the side
_TARGET_IN, _TARGET_OUT = {"dst_internal": True}, {"dst_internal": False}
# In this order; what a pattern took is no longer there for the next one.
_PATTERNS = (
    (_SOURCE_IN | _TARGET_IN, _INSIDE_OF),
    (_SOURCE_IN | _TARGET_OUT, r"\b(?:outbound|outgoing|salientes?)\b|\bleaving (?:the|our) network\b"),
    (_SOURCE_OUT | _TARGET_IN, r"\b(?:inbound|incoming|entrantes?)\b|\bentering (?:the|our) network\b"),
    (
        _SOURCE_IN | _TARGET_OUT,
        r"\b(?:from )?(?:the )?inside to (?:the )?outside\b|\bdesde dentro hacia (?:a?fuera)\b",
    ),
    (_SOURCE_OUT, rf"\b{_FROM} (?:(?:an? |the )?{_EXTERNAL} {_HOSTS}|{_HOSTS} extern[oa]s?|{_OUTSIDE})\b"),
    (_TARGET_OUT, rf"\b{_TO} (?:(?:an? |the )?{_EXTERNAL} {_HOSTS}|{_HOSTS} extern[oa]s?|{_OUTSIDE})\b"),
    (
        _SOURCE_IN,
        rf"\b{_FROM} (?:(?:an? |the |our )?{_INTERNAL} {_HOSTS}|(?:los |un )?{_HOSTS} intern[oa]s?|{_INSIDE})\b",
    ),
    (
        _TARGET_IN,
        rf"\b{_TO} (?:(?:an? |the |our )?{_INTERNAL} {_HOSTS}|(?:los |un )?{_HOSTS} intern[oa]s?|{_INSIDE})\b",
    ),
    (_SOURCE_IN | _TARGET_IN, rf"\b(?:between|entre) (?:{_INTERNAL} {_HOSTS}|{_HOSTS} intern[oa]s?)\b"),
    (_TARGET_IN, rf"\b(?:{_INTERNAL} {_HOSTS}|{_HOSTS} intern[oa]s?)(?= (?:{_PASSIVE}))"),
    (_TARGET_OUT, rf"\b(?:{_EXTERNAL} {_HOSTS}|{_HOSTS} extern[oa]s?)(?= (?:{_PASSIVE}))"),
    (_ACTS_OUT, rf"\b{_EXTERNAL}(?: {_HOSTS}\b| (?=attackers?\b))|\b{_HOSTS} extern[oa]s?\b"),
    (_SOURCE_OUT, r"(?<=\batacantes )externos\b|(?<=\batacante )externo\b"),
    (_ACTS_IN, rf"\b{_INTERNAL}(?: {_HOSTS}\b| (?=attackers?\b))|\b{_HOSTS} intern[oa]s?\b"),
    (_SOURCE_IN, r"(?<=\batacantes )internos\b|(?<=\batacante )interno\b"),
    (_SOURCE_IN | _TARGET_IN, r"\binternal(?:ly)?\b|\ben la red (?:interna|local)\b|\bintern[oa]s?\b"),
)
_COMPILED = tuple((filters, re.compile(pattern)) for filters, pattern in _PATTERNS)
_SIDES = {"src_internal": "source", "dst_internal": "destination"}


def read_places(draft: Draft) -> Iterator[Reading]:
    """Which side of a flow is inside, as far as the text says so. Who acts is the source."""
    left, found = draft, []
    for filters, pattern in _COMPILED:
        here = [Reading(*match.span(), filters, _sentence(filters)) for match in pattern.finditer(left.plain)]
        found += here
        left = left.without(here)
    has_source = "src" in draft.keys
    for reading in sorted(found, key=lambda one: one.start):
        acts = reading.filters is _ACTS_IN or reading.filters is _ACTS_OUT
        yield _as_target(reading) if acts and has_source else reading
        has_source |= "src_internal" in reading.filters


def _as_target(reading: Reading) -> Reading:
    """What was read of a source, of the destination."""
    filters = {"dst_internal": reading.filters["src_internal"]}
    return replace(reading, filters=filters, sentence=_sentence(filters))


def _sentence(filters: dict[str, bool]) -> str:
    return ", ".join(f"{_SIDES[key]} {'inside' if inside else 'outside'}" for key, inside in filters.items())
