"""Times of the day: "between 2 and 5", "at 14:30", "after 6pm", "a las 3 de la tarde", "at night"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rag.language.moments import AROUND, MINUTES_OF_DAY, PARTS, Clock, late_clock
from services.rag.language.understanding import ENGLISH, SPANISH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_END = r"(?![\w:%/]|[.,]\d| ?-\d)"
# A number alone is a time only where no word follows that it could count.
_NO_NOUN = (
    r"(?= *(?:$|[,.;?!)\x00]|(?:on|in|at|from|to|by|with|over|of|and|utc|last|this|yesterday|today|every|"
    r"de|del|en|el|por|con|hacia|desde|ayer|hoy|esta|cada)\b))"
)
_BEFORE = r"(?<![\w.:/-])"
_EN_CLOCK = (
    r"(?:{lead}(?P<{n}hour>\d{{1,2}})(?::(?P<{n}minute>\d{{2}})(?::\d{{2}})?)?"
    r"(?: ?(?P<{n}half>[ap])\.?m\.?| (?P<{n}sure>o'?clock|utc|h))?|(?P<{n}word>noon|midday|midnight))"
)
_ES_CLOCK = (
    r"(?:{lead}(?P<{n}hour>\d{{1,2}})(?::(?P<{n}minute>\d{{2}})(?::\d{{2}})?)?"
    r"(?: ?(?P<{n}half>[ap])\.?m\.?| ?(?P<{n}sure>h|hs|horas?|utc))?"
    r"(?:,? (?:de|por|en) la (?P<{n}part>manana|tarde|noche|madrugada))?|(?:el |la )?(?P<{n}word>mediodia|medianoche))"
)
_WORDS = {"noon": 12, "midday": 12, "mediodia": 12, "midnight": 0, "medianoche": 0}
_LATE_PARTS = {"tarde", "noche"}


def _en(name: str, lead: str = "") -> str:
    return _EN_CLOCK.format(n=name, lead=lead)


def _es(name: str, lead: str = "(?:las? )?") -> str:
    return _ES_CLOCK.format(n=name, lead=lead)


# Of the groups those of the first time begin with "a", of the second with "b"; a `lead` says what one time begins.
_PATTERNS: Mapping[str, tuple[str, ...]] = {
    ENGLISH: (
        rf"(?:between|from) {_en('a')} ?(?:and|to|until|till|-) ?{_en('b')}",
        rf"{_en('a')} ?- ?{_en('b')}",
        rf"(?P<lead>after|since|before|until|till|by) {_en('a')}",
        rf"(?:at|around|about) {_en('a')}",
        _en("a"),
    ),
    SPANISH: (
        rf"(?:entre|de|desde) {_es('a')} ?(?:y|a|hasta|-) ?{_es('b')}",
        rf"{_es('a')} ?- ?{_es('b')}",
        rf"(?P<lead>despues de|desde|antes de|hasta|a partir de) {_es('a')}",
        rf"(?:a|sobre|hacia) (?P<sure>las? ){_es('a', '')}",
        rf"(?P<lead>al) {_es('a')}",
        _es("a"),
    ),
}
_COMPILED = {
    language: tuple(re.compile(rf"{_BEFORE}{pattern}{_END}") for pattern in patterns)
    for language, patterns in _PATTERNS.items()
}
_OFFICE = Clock(8 * 60, 18 * 60)
_NO_OFFICE = Clock(_OFFICE.stop, _OFFICE.start)
_HABITS = {
    ENGLISH: (
        (
            r"(?:outside(?: of)?|after|out of) (?:the )?(?:business|office|work(?:ing)?) hours|after hours",
            _NO_OFFICE,
        ),
        (r"(?:during|in|within) (?:the )?(?:business|office|working|work) hours", _OFFICE),
        *(
            (rf"in the {part}s?|{part}s", Clock(60 * PARTS[part][0], 60 * PARTS[part][1]))
            for part in ("morning", "afternoon", "evening")
        ),
        (r"at night|by night|during the night|at nights?", Clock(20 * 60, 6 * 60)),
    ),
    SPANISH: (
        (r"fuera (?:del horario|de horario|de las horas) (?:laboral|de oficina|de trabajo)", _NO_OFFICE),
        (r"(?:en|durante) (?:el )?horario (?:laboral|de oficina|de trabajo)", _OFFICE),
        (r"(?:por|en|durante) la manana|por las mananas", Clock(6 * 60, 12 * 60)),
        (r"(?:por|en|durante) la tarde|por las tardes", Clock(12 * 60, 20 * 60)),
        (r"(?:por|en|durante) la noche|por las noches|de noche", Clock(20 * 60, 6 * 60)),
        (r"(?:por|en|durante|de) (?:la )?madrugada", Clock(0, 6 * 60)),
    ),
}  # fmt: skip
_HABITUAL = {
    language: tuple((re.compile(rf"\b(?:{pattern})\b"), clock) for pattern, clock in habits)
    for language, habits in _HABITS.items()
}


def find_clocks(text: str, language: str) -> Iterator[tuple[int, int, Clock, str]]:
    """Times of the day: where each begins and ends, what it is, and the word before a single one ("after")."""
    taken: list[tuple[int, int]] = []
    for pattern in _COMPILED[language]:
        for match in pattern.finditer(text):
            clock = _clock(match, text)
            if clock and not any(match.start() < stop and start < match.end() for start, stop in taken):
                taken.append(match.span())
                yield *match.span(), clock, match.groupdict().get("lead") or ""
    for pattern, clock in _HABITUAL[language]:
        for match in pattern.finditer(text):
            if not any(match.start() < stop and start < match.end() for start, stop in taken):
                taken.append(match.span())
                yield *match.span(), clock, ""


def _clock(match: re.Match[str], text: str) -> Clock | None:
    first = _time(match, "a")
    if first is None:
        return None
    groups = match.groupdict()
    ranged = "bhour" in groups
    second = _time(match, "b") if ranged else None
    bare = _is_bare(match)
    if (ranged and second is None) or (
        bare and not (ranged or groups.get("lead") or match[0][:3] in {"at ", "aro"})
    ):
        return None
    if bare and not re.match(_NO_NOUN, text[match.end() :]):
        return None
    if second is not None:
        return _range(match, first, second, bare=bare)
    return _single(match, first, bare=bare)


def _range(match: re.Match[str], first: int, second: int, *, bare: bool) -> Clock | None:
    """From one time to another; of "2 to 5pm" both are after noon, of "11 to 2pm" the second."""
    groups = match.groupdict()
    late = groups.get("bhalf") == "p" or groups.get("bpart") in _LATE_PARTS
    told = groups.get("ahalf") or groups.get("apart") or groups.get("aword")
    noon = MINUTES_OF_DAY // 2
    if late and not told and first < noon and first + noon < (second or MINUTES_OF_DAY):
        first += noon
    return None if first == second else Clock(first, second, bare=bare)


def _single(match: re.Match[str], minute: int, *, bare: bool) -> Clock:
    around = int(AROUND.total_seconds()) // 60
    if minute % 60 or match.groupdict().get("aword"):
        start, stop = (minute - around) % MINUTES_OF_DAY, (minute + around) % MINUTES_OF_DAY
    else:
        start, stop = minute, (minute + 60) % MINUTES_OF_DAY
    return Clock(start, stop, minute, bare)


def _is_bare(match: re.Match[str]) -> bool:
    """Whether nothing but the number says that it is a time."""
    groups = match.groupdict()
    signs = ("minute", "half", "sure", "word", "part")
    return not groups.get("sure") and not any(groups.get(f"{name}{sign}") for name in "ab" for sign in signs)


def _time(match: re.Match[str], name: str) -> int | None:
    """Minutes after midnight; None where there is no such time."""
    groups = match.groupdict()
    if groups.get(f"{name}word"):
        return _WORDS[groups[f"{name}word"]] * 60
    if not groups.get(f"{name}hour"):
        return None
    hour, minute = int(groups[f"{name}hour"]), int(groups.get(f"{name}minute") or 0)
    late = groups.get(f"{name}half") == "p" or groups.get(f"{name}part") in _LATE_PARTS
    if hour > 24 or minute > 59 or (hour == 24 and minute):
        return None
    if groups.get(f"{name}half") == "a" and hour == 12:
        return minute
    minutes = (hour % 24) * 60 + minute
    return late_clock(Clock(minutes, minutes, minutes)).moment if late and hour < 12 else minutes
