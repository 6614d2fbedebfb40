"""Scores: "divergence above 0.7", "low ML score", "puntuación mayor que 0,8"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

DISAGREE, DISAGREE_STRONGLY = 0.3, 0.6
"""Divergences from which on narratives say that the detectors disagree, and strongly (vocabulary.toml)."""
SCORE_NAMES = {
    "overall": "overall threat score",
    "fast": "score of the fast detector",
    "ml": "score of the ML detector",
    "divergence": "divergence of the detectors",
}

# At least, at most. The words are those of the narratives: a "high threat score" is one that they call so.
_THREAT_LEVELS = {
    "very low": (None, 0.2), "low": (None, 0.4), "medium": (0.4, 0.7), "high": (0.7, None), "very high": (0.9, None),
}  # fmt: skip
_DIVERGENCE_LEVELS = {
    "very low": (None, 0.1), "low": (None, DISAGREE), "medium": (DISAGREE, DISAGREE_STRONGLY), "high": (0.5, None),
    "very high": (DISAGREE_STRONGLY, None),
}  # fmt: skip
_LEVEL_WORDS = {
    "very low": r"very (?:low|small)|muy (?:baj|pequen)[oa]s?",
    "very high": r"very (?:high|large|strong)|extreme|strong|critical|severe|"
    r"muy (?:alt[oa]s?|fuertes?|elevad[oa]s?)|fuertes?|critic[oa]s?",
    "low": r"low|small|baj[oa]s?|pequen[oa]s?",
    "medium": r"medium|moderate|medi[oa]s?|moderad[oa]s?",
    "high": r"high|large|big|elevated|alt[oa]s?|elevad[oa]s?|grandes?",
}
_LEVEL = "|".join(f"(?P<l{number}>{words})" for number, words in enumerate(_LEVEL_WORDS.values()))
_LEVEL_NAMES = tuple(_LEVEL_WORDS)

_ML = r"(?:ml|model|machine[- ]learning)(?:[ _]detector| model)?(?:'s)?"
_NOUNS = {
    "divergence": r"(?:score[ _])?(?:divergences?|discrepanc(?:y|ies)|divergencias?|discrepancias?)",
    "ml": rf"{_ML}[ _](?:scores?|confidence)|scores? (?:of|by|from) (?:the )?{_ML}"
    r"|puntuacion(?:es)? (?:de|del)(?: el)?(?: detector| modelo)?(?: de)? ml|puntuacion(?:es)? ml",
    "fast": r"fast(?:[ _]detector)?(?:'s)?[ _]scores?|scores? (?:of|by|from) (?:the )?fast detector"
    r"|puntuacion(?:es)? del? (?:detector )?rapido",
    "overall": r"(?:(?:overall|total|final|risk)[ _])?(?:threat[ _])?scores?"
    r"|puntuacion(?:es)?(?: de amenaza| total| global)?",
}
_NOUN = "|".join(f"(?P<{name}>{words})" for name, words in _NOUNS.items())
_THREAT_NOUN = r"(?P<overall>threats?(?: level)?|risks?|severity|amenazas?|riesgos?)(?! scores?)"

_NUMBER = r"\d{1,4}(?:[.,]\d{1,9})?(?: ?%| percent| por ciento)?"
_IS = r"(?: (?:is|are|was|were|of|with|being|es|son|era|sea|de))?"
_AT_LEAST = (
    r">=?|\u2265|above|over|greater than|more than|higher than|at least|exceeding|exceeds|from|"
    r"mayor(?:es)? (?:que|de|a)|superior(?:es)? a|por encima de|mas de|al menos|como minimo|de al menos|desde"
)
_AT_MOST = (
    r"<=?|\u2264|below|under|less than|lower than|smaller than|at most|up to|"
    r"menor(?:es)? (?:que|de|a)|inferior(?:es)? a|por debajo de|menos de|como maximo|a lo sumo|hasta"
)
_BETWEEN = rf"(?:between|from|entre|de) (?P<low>{_NUMBER}) ?(?:and|to|y|a|-) ?(?P<high>{_NUMBER})"
_COMPARED = re.compile(
    rf"\b(?:{_NOUN}){_IS} ?"
    rf"(?:{_BETWEEN}|(?P<reached>{_NUMBER}) (?:or|o) (?:more|higher|above|over|mas|mayor)|"
    rf"(?P<kept>{_NUMBER}) (?:or|o) (?:less|lower|below|under|menos|menor)|"
    rf"(?:(?P<least>{_AT_LEAST})|(?P<most>{_AT_MOST})) ?(?P<number>{_NUMBER}))(?![\w.])"
)
_LEVELLED = (
    re.compile(rf"\b(?:{_LEVEL}) (?:{_NOUN})\b"),
    re.compile(rf"\b(?:{_LEVEL}) (?:{_THREAT_NOUN})\b"),
    re.compile(rf"\b(?:{_NOUN}){_IS} (?:{_LEVEL})\b"),
    re.compile(rf"\b(?:{_THREAT_NOUN}){_IS} (?:{_LEVEL})\b"),
)
# "puntuación baja de ML": the level in the middle of the noun.
_SPLIT = re.compile(
    rf"\bpuntuacion(?:es)? (?:{_LEVEL}) del?(?: el)?(?: detector| modelo)?(?: de)? (?:(?P<ml>ml)|(?P<fast>rapido))\b"
)


def read_thresholds(draft: Draft) -> Iterator[Reading]:
    """The scores that the text bounds; in `min_*` and `max_*`, both included, 0 to 1."""
    taken = draft
    for pattern in (_COMPARED, _SPLIT, *_LEVELLED):
        found = [
            reading
            for match in pattern.finditer(taken.plain)
            if (reading := _compared(match) if pattern is _COMPARED else _levelled(match))
        ]
        yield from found
        taken = taken.without(found)


def _compared(match: re.Match[str]) -> Reading | None:
    score = _score_of(match)
    if match["low"]:
        low, high = _value(match["low"]), _value(match["high"])
        if low is None or high is None or low > high:
            return None
        return bounded(match.span(), score, low, high)
    value = _value(match["number"] or match["reached"] or match["kept"])
    if value is None:
        return None
    at_least = match["least"] or match["reached"]
    return bounded(match.span(), score, *((value, None) if at_least else (None, value)))


def _levelled(match: re.Match[str]) -> Reading:
    score = _score_of(match)
    level = next(name for number, name in enumerate(_LEVEL_NAMES) if match[f"l{number}"])
    levels = _DIVERGENCE_LEVELS if score == "divergence" else _THREAT_LEVELS
    return bounded(match.span(), score, *levels[level])


def _score_of(match: re.Match[str]) -> str:
    groups = match.groupdict()
    return next(name for name in SCORE_NAMES if groups.get(name))


def _value(text: str) -> float | None:
    """A score from 0 to 1: "0.8", "0,8", "80%" and "80" are the same."""
    digits = re.match(r"[\d.,]+", text)
    number = float(digits[0].replace(",", ".")) if digits else 0.0
    if text != (digits and digits[0]) or number > 1:
        number /= 100
    return round(number, 9) if number <= 1 else None


def bounded(place: tuple[int, int], score: str, low: float | None, high: float | None = None) -> Reading:
    """The reading of a score between two bounds, both included; None for none."""
    filters = {f"min_{score}": low, f"max_{score}": high}
    name = SCORE_NAMES[score]
    if low is not None and high is not None:
        sentence = f"{name} from {low:g} to {high:g}"
    else:
        sentence = f"{name} at least {low:g}" if low is not None else f"{name} at most {high:g}"
    return Reading(*place, {key: value for key, value in filters.items() if value is not None}, sentence)
