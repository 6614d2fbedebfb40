"""Whether a firewall stopped it; read only where firewalls reported at all, for the words mean other things too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.language.text import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.rag.language.text import Draft

_FIREWALL = r"(?:(?:the|a|any|our|el|un|ningun|nuestro) )?(?:firewalls?|cortafuegos)"
_BY = rf"(?: (?:by|por) {_FIREWALL})?"
_WERE = r"(?:(?:that |which )?(?:were|was|are|is|got|have been|has been|had been) )?"
_NOT = r"(?:(?:were|was|are|is|have been|has been|had been) ?n['o]?t|not|never)(?: yet)?(?: been| be)?"
_STOPPED = r"(?:blocked|blocks?|stopped|stops?|dropped|drops?|bloqueo|bloquea|detuvo|paro|corto)"
_NO = (
    rf"\b(?:that |which )?{_NOT} blocked{_BY}\b|\b{_WERE}unblocked\b|\b(?:were |was )?let through{_BY}\b"
    rf"|\b{_FIREWALL} (?:did ?n['o]?t|did not|never|does not|no) (?:{_STOPPED}|stop|drop|block)\b"
    rf"|\b{_FIREWALL} (?:let through|missed|dejo pasar|deja pasar)\b"
    rf"|\b(?:que )?(?:no|nunca|sin)(?: se| fue(?:ron)?| ha(?:n)? sido| esta(?:n|ba|ban)?| ser)? "
    rf"(?:bloquead[oa]s?|bloquear(?:on)?|bloqueo){_BY}\b"
)
_YES = (
    rf"\b{_WERE}blocked{_BY}\b|\b{_WERE}(?:stopped|dropped|denied) by {_FIREWALL}(?!\w)"
    rf"|\b{_FIREWALL} {_STOPPED}\b"
    rf"|\b(?:que )?(?:(?:se|fue(?:ron)?|ha(?:n)? sido|esta(?:n|ba|ban)?) )?(?:bloquead[oa]s?|bloquearon){_BY}\b"
)
_COMPILED = ((False, re.compile(_NO)), (True, re.compile(_YES)))
_SAYS = {True: "a firewall stopped it", False: "no firewall stopped it, though one reported around that time"}


def read_firewalls(draft: Draft) -> Iterator[Reading]:
    """What the text says about firewalls, what they did not do first."""
    left = draft
    for blocked, pattern in _COMPILED if draft.facts.firewalls else ():
        found = [
            Reading(*match.span(), {"blocked": blocked}, _SAYS[blocked])
            for match in pattern.finditer(left.plain)
        ]
        yield from found
        left = left.without(found)
