"""The two detectors: which fired, who decided, and whether they disagree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from services.common.days.metadata import SOURCES
from services.rag.language.text import Reading
from services.rag.language.thresholds import DISAGREE, DISAGREE_STRONGLY, SCORE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

ALARM = 0.5
"""The ML score from which on narratives say that the ML detector alarmed (vocabulary.toml)."""

_THE = r"(?:the |el |la )?"
_FAST = (
    rf"{_THE}(?:fast[- ]detector|detector rapido|fast(?= (?:fired|triggered|alarmed|alerted|did|disagree)))"
)
_ML = rf"{_THE}(?:(?:ml|machine[- ]learning)(?:[- ](?:detector|model|classifier))?|(?:detector|modelo) (?:de )?ml)"
_FIRED = (
    r"(?:fired|fires|triggered|triggers|alarmed|alarms|alerted|alerts|tripped|flagged|spoke|detected|"
    r"(?:se )?(?:disparo|activo|dispara|activa)|salto|salta|alerto|aviso|alarmo|detecto|hablo)"
)
_NOT_FIRED = (
    r"(?:(?:did ?n[o']t|didn't|did not|has not|had not|never|does not|doesn't|not) "
    r"(?:fired?|trigger(?:ed)?|alarm(?:ed)?|alert(?:ed)?|trip(?:ped)?|flag(?:ged)?|sp[eo]ak?k?e?n?|detect(?:ed)?|react)"
    rf"|missed|misses|ignored|overlooked|stayed silent|was silent|saw nothing|no {_FIRED}(?: nada)?"
    r"|(?:said|says|judged|thought|dijo|dice)(?: that)?(?: it)?"
    r"(?: is| was| as)? ?(?:que es )?(?:benign[oa]?|normal|clean|harmless))"
)
_STRONGLY = r"(?P<strongly> strongly| a lot| sharply| mucho| fuertemente)?"
_DISAGREE = r"(?:disagree[sd]?|diverge[sd]?|(?:did|do|does) not agree|did ?n't agree)"
_NO_ACUERDO = (
    r"(?:discrepan?|discrepo|divergen?|divergio|no coinciden?|no coincidio|estan? en desacuerdo"
    r"|no (?:esta|estan|estaba|estaban|estuvo|estuvieron) de acuerdo)"
)
_BOTH = (
    r"(?:(?:both |the two |the |los dos |ambos |los ){0,2}detect(?:ors|ores)"
    rf"|(?:the )?fast(?: detector)? and (?:the )?{_ML}|{_ML} and (?:the )?fast(?: detector)?)"
)
_WITH = rf"(?: (?:with|from|con) (?:{_FAST}|{_ML}))?"

_ML_ALARMED: dict[str, Any] = {"min_ml": ALARM}
_SAYS = {
    "fast_only": ({"source": "FAST_ONLY"}, "only the fast detector spoke"),
    "ml_only": ({"source": "ML_ONLY"}, "only the ML detector spoke"),
    "agree": ({"source": "CONSENSUS"}, "both detectors agree"),
    "both_fired": (
        {"fast_triggered": True} | _ML_ALARMED,
        "the fast detector fired and the ML detector alarmed",
    ),
    "fast_silent": ({"fast_triggered": False}, "the fast detector did not fire"),
    "fast_fired": ({"fast_triggered": True}, "the fast detector fired"),
    "ml_silent": ({"max_ml": ALARM}, f"{SCORE_NAMES['ml']} at most {ALARM:g}"),
    "ml_fired": (_ML_ALARMED, f"{SCORE_NAMES['ml']} at least {ALARM:g}"),
}
_PATTERNS = {
    "fast_only": rf"\b(?:only|just|solo|solamente|unicamente) (?:(?:{_FIRED}) )?{_FAST}(?: {_FIRED})?\b",
    "ml_only": rf"\b(?:only|just|solo|solamente|unicamente) (?:(?:{_FIRED}) )?{_ML}(?: {_FIRED})?\b",
    "disagree": rf"\b(?:{_BOTH}|{_ML}|{_FAST}) (?:{_DISAGREE}|{_NO_ACUERDO}){_STRONGLY}{_WITH}\b"
    rf"|\b(?:disagreements?|desacuerdos?) (?:between|of|among|entre|de) {_BOTH}\b",
    "agree": rf"\b{_BOTH} (?:agreed?|coinciden|estan de acuerdo|are in agreement)\b|\b(?:consensus|consenso)\b",
    "both_fired": rf"\b{_BOTH} {_FIRED}\b",
    "fast_silent": rf"\b{_FAST} {_NOT_FIRED}\b",
    "fast_fired": rf"\b{_FAST} (?:has |was )?{_FIRED}\b|\btriggered {_FAST}\b",
    "ml_silent": rf"\b{_ML} {_NOT_FIRED}\b",
    "ml_fired": rf"\b{_ML} {_FIRED}\b",
}
_COMPILED = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
_SOURCE = re.compile(rf"\b(?:(?:source|fuente|decided by) )?({'|'.join(SOURCES[1:5]).lower()})\b")


def read_detectors(draft: Draft) -> Iterator[Reading]:
    """What the text says about the detectors."""
    left = draft
    for name, pattern in _COMPILED.items():
        found = [_reading(name, match) for match in pattern.finditer(left.plain)]
        yield from found
        left = left.without(found)
    for match in _SOURCE.finditer(left.plain):
        source = match[1].upper()
        yield Reading(*match.span(), {"source": source}, f"decided by {source}")


def _reading(name: str, match: re.Match[str]) -> Reading:
    if name == "disagree":
        least = DISAGREE_STRONGLY if match["strongly"] else DISAGREE
        sentence = f"the detectors disagree: {SCORE_NAMES['divergence']} at least {least:g}"
        return Reading(*match.span(), {"min_divergence": least}, sentence)
    filters, sentence = _SAYS[name]
    return Reading(*match.span(), filters, sentence)
