"""Names in the data that a question speaks of in other words: weak evidence, which ranks and never hides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.language.names import name_words
from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from services.rag.language.text import Draft

MOST_HINTS = 16
_SHORTEST = 3
_WORD = re.compile(r"[a-z]+")
# Words of many names, and of services: alone they say nothing about a class.
_COMMON_WORDS = "attack attempted based data flood force ftp http https port scan server ssh tcp the udp web"
_COMMON = frozenset(_COMMON_WORDS.split())
_TECHNIQUE = re.compile(
    r"(?<![\w.-])(?:(?:att&ck|mitre|technique|tecnica) ){0,2}\(?(t\d{4}(?:\.\d{3})?)\)?(?![\w-])"
)

_ENGLISH_GUESSING = r"brute|bruteforce|guess\w*|passwords?|credential\w*|failed log ?ins"
_ENGLISH_BOTS = (
    r"bots?|botnets?|beacon\w*|c2|c&c|command and control|(?:call|phon)(?:e|s|ing)? home|infected|compromised"
)
# How people speak of a kind of behaviour, and what sensors and data sets call it. Both are plain patterns of words.
_TOPICS = (
    (
        r"scan\w*|sweep\w*|prob(?:e|es|ing)|recon\w*|nmap|escane\w*|barrid\w*|reconocimiento|explora\w*",
        r"\w*scan\w*|probe|recon\w*|discovery|sweep",
    ),
    (
        rf"{_ENGLISH_GUESSING}|fuerza bruta|adivin\w*|contrasenas?|claves|credencial\w*|inicios? de sesion",
        r"brute\w*|patator|guess\w*|credential\w*|password\w*",
    ),
    (
        r"denial|d?dos|flood\w*|exhaust\w*|overload\w*|overwhelm\w*|saturat\w*|denegacion|inunda\w*|saturad\w*",
        r"d?dos|flood\w*|denial",
    ),
    (r"slow(?:ly)?|holding connections|connections open|lent[oa]s?|lentamente", r"slow\w*"),
    (
        r"inject\w*|xss|cross[- ]site|web attacks?|traversal|web ?shells?|exploit\w*|inyec\w*|explota\w*|ataques? web",
        r"web|webattack|injection|xss|exploit\w*|heartbleed",
    ),
    (
        r"exfil\w*|steal\w*|stole\w*|theft|leak\w*|smuggl\w*|tunnel\w*|rob[oa]s?|robar|robad\w*|fugas?|tunel\w*",
        r"exfil\w*|theft|leak\w*|tunnel\w*",
    ),
    (
        rf"{_ENGLISH_BOTS}|infectad\w*|comprometid\w*|(?:co)?mando y control|balizas?",
        r"bots?|botnet|beacon\w*|c2|trojan|infiltration",
    ),
    (r"lateral\w*|admin\w* shares?|pivot\w*|pass the hash|worms?|gusanos?", r"lateral\w*|worm"),
    (r"ransom\w*|extor\w*|secuestro\w*", r"ransom\w*"),
    (r"normal\w*|ordinary|harmless|benign\w*|legit\w*|inofensiv\w*|sin peligro", r"benign|normal"),
    (r"malicious|hostile|malicios\w*|attack\w*|ataque\w*|ataca\w*|ataco", r"malicious"),
)
_COMPILED = tuple((re.compile(rf"\b(?:{asked})\b"), re.compile(named)) for asked, named in _TOPICS)


def read_techniques(draft: Draft) -> Iterator[Reading]:
    """ATT&CK techniques by their number."""
    for match in _TECHNIQUE.finditer(draft.plain):
        technique = match[1].upper()
        yield Reading(*match.span(), {"technique": [technique]}, f"ATT&CK technique {technique}")


def names_a_kind(plain_text: str) -> bool:
    """Whether a text speaks of a kind of behaviour, such as scans."""
    return any(asked.search(plain_text) for asked, _ in _COMPILED)


def hints_of(plain_text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that a text speaks of most: by their words, and by what people call their topics.

    Of "slow denial of service" that is "DoS-SlowHTTP" and not "DoS-SynFlood", which meets one topic of two.
    """
    words = {_stem(word) for word in _WORD.findall(plain_text) if len(word) >= _SHORTEST}
    topics = [named for asked, named in _COMPILED if asked.search(plain_text)]
    met = {name: _is_spoken_of(words, name) + sum(map(_meets(name), topics)) for name in names}
    most = max(met.values(), default=0)
    return tuple(name for name, count in met.items() if count and count == most)[:MOST_HINTS]


def _meets(name: str) -> Callable[[re.Pattern[str]], bool]:
    words = name_words(name)
    return lambda named: any(named.fullmatch(word) for word in words)


def _is_spoken_of(words: set[str], name: str) -> bool:
    """Whether all the words of a name occur, or one that few names have."""
    parts = {_stem(part) for part in name_words(name) if len(part) >= _SHORTEST}
    said = {part for part in parts if any(_alike(part, word) for word in words)}
    return bool(parts) and (said == parts or bool(said - _COMMON))


def _alike(one: str, other: str) -> bool:
    """Whether one is the beginning of the other and not much shorter: "bot" and "botnet", "slow" and "slowly"."""
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and len(long) - len(short) <= len(short)


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > _SHORTEST + 1 else word
