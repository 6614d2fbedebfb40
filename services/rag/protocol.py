"""The questions that a replica answers: their names, and the arguments of each with what is allowed.

This table is the one place that says so. The replica reads requests by it, the HTTP API and the tools for assistants
describe themselves from it, and docs/queries.md is checked against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_K = 1000
DEFAULT_K = 10
MAX_TEXT = 1000
MAX_OTHERS = 50


class Kind(StrEnum):
    """What the value of an argument is."""

    TEXT = "text"
    WHOLE = "whole number"
    NUMBER = "number"
    FLAG = "true or false"
    CHOICE = "choice"
    TEXTS = "list of texts"
    FILTERS = "filters"


class _Required:
    """Stands where an argument has no default."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True)
class Argument:
    """One argument of an operation."""

    name: str
    kind: Kind
    help: str  # a clause that ends without a full stop, also shown in API descriptions
    default: Any = REQUIRED  # None: it may be left out and is then None
    low: float = 0  # of numbers; of a list of texts, how many
    high: float = math.inf  # of numbers; of a text, its characters; of a list of texts, how many
    choices: tuple[str, ...] = ()

    def read(self, raw: Mapping[str, Any]) -> Any:
        """Its value in a request, or its default.

        Raises:
            UsageError: it is missing or not allowed; the sentence names it.
        """
        value = raw.get(self.name)
        if value is None:
            if self.default is REQUIRED:
                raise UsageError(f"The argument {self.name!r} is missing: {self.help}.")
            return {} if self.kind is Kind.FILTERS else self.default
        problem = self._problem(value)
        if problem:
            raise UsageError(f"The argument {self.name!r} must be {problem}.")
        return value

    def _problem(self, value: Any) -> str | None:
        """What it must be instead, where it is not allowed."""
        if self.kind is Kind.TEXT:
            return self._text_problem(value)
        if self.kind is Kind.TEXTS:
            return self._texts_problem(value)
        sound, what = {
            Kind.WHOLE: (
                self._is_within(value, (int,)),
                f"a whole number from {self.low:g} to {self.high:g}",
            ),
            Kind.NUMBER: (
                self._is_within(value, (int, float)),
                f"a finite number from {self.low:g} to {self.high:g}",
            ),
            Kind.FLAG: (type(value) is bool, "true or false"),
            Kind.CHOICE: (value in self.choices, f"one of {', '.join(self.choices)}"),
            Kind.FILTERS: (isinstance(value, dict), "a map of filters"),
        }[self.kind]
        return None if sound else what

    def _is_within(self, value: Any, types: tuple[type, ...]) -> bool:
        return type(value) in types and self.low <= value <= self.high and value != math.inf

    def _text_problem(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return "a text"
        if not is_unicode(value):
            return "a text of valid Unicode"
        if len(value) > self.high:
            return f"a text of at most {self.high:g} characters, not {len(value)}"
        return None if value.strip() else "a text that is not empty"

    def _texts_problem(self, value: Any) -> str | None:
        if not isinstance(value, list) or not all(isinstance(one, str) and is_unicode(one) for one in value):
            return "a list of texts"
        return None if self.low <= len(value) <= self.high else f"{self.low:g} to {self.high:g} texts"


@dataclass(frozen=True)
class Operation:
    """One question."""

    name: str
    summary: str  # one sentence
    arguments: tuple[Argument, ...] = ()
    shows_events: bool = True  # so that each can be told more about
    slow: bool = False  # it may take many seconds: clients wait, and ask no second replica meanwhile

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every argument: those of a request, checked, and the defaults of the others.

        Raises:
            UsageError: one is unknown, missing or not allowed; the sentence names it.
        """
        unknown = sorted(set(raw) - {argument.name for argument in self.arguments})
        if unknown:
            known = ", ".join(argument.name for argument in self.arguments) or "none"
            raise UsageError(
                f"There is no argument {unknown[0][:80]!r} of {self.name!r}; there are: {known}."
            )
        return {argument.name: argument.read(raw) for argument in self.arguments}


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


K = Argument("k", Kind.WHOLE, "how many at most", DEFAULT_K, 1, MAX_K)
LIMIT = Argument("limit", Kind.WHOLE, "how many events at most", 20, 1, MAX_K)
FILTERS = Argument("filters", Kind.FILTERS, "which events are looked into", None)
FLAT = Argument("flat", Kind.FLAG, "whether single events are wanted instead of patterns", default=False)
EVENT_ID = Argument("event_id", Kind.TEXT, "the id of an event", high=256)
QUESTION = Argument("text", Kind.TEXT, "what to look for, in words", high=MAX_TEXT)
AS_OF = Argument(
    "as_of",
    Kind.TEXT,
    "the 'as_of' of a receipt: answer from exactly what could be seen then",
    None,
    high=32_768,
)
ENRICH = Argument(
    "enrich", Kind.FLAG, "whether to add places, networks, services and techniques to events", default=False
)
EVENT_SPACES = ("fused", "attack", "semantic", "temporal")
"""Where events are compared."""

_ALL = (
    Operation(
        "similar",
        "Events like one event, or hosts like one host.",
        (
            Argument("event_id", Kind.TEXT, "the id of an event; not with the index entity", None, high=256),
            Argument("host", Kind.TEXT, "IP or IP@DAY; only with the index entity", None, high=80),
            K,
            Argument("index", Kind.CHOICE, "where to look", "fused", choices=(*EVENT_SPACES, "entity")),
            FLAT,
            FILTERS,
        ),
    ),
    Operation(
        "search",
        "Events that a text describes.",
        (
            QUESTION,
            K,
            Argument("by", Kind.CHOICE, "what ranks them", "fused", choices=("fused", "meaning", "words")),
            Argument("parse", Kind.FLAG, "whether phrases of the text become filters", default=True),
            Argument("now", Kind.TEXT, 'the moment that "yesterday" is said at, ISO 8601', None, high=40),
            FLAT,
            FILTERS,
        ),
    ),
    Operation(
        "hybrid",
        "What a host did that a text describes.",
        (
            Argument("entity", Kind.TEXT, "address or network of the host, on either side", high=80),
            QUESTION,
            K,
            FLAT,
            FILTERS,
        ),
    ),
    Operation(
        "explain",
        "What tells an event from others like it, and what would make it benign.",
        (
            EVENT_ID,
            Argument(
                "others",
                Kind.TEXTS,
                "ids of the events to compare with; without it the nearest",
                None,
                1,
                MAX_OTHERS,
            ),
            Argument(
                "k", Kind.WHOLE, "how many of the nearest, where 'others' is left out", 3, 1, MAX_OTHERS
            ),
            FILTERS,
        ),
    ),
    Operation(
        "novel",
        "Events of the last days that are unlike everything before them.",
        (
            Argument(
                "days", Kind.WHOLE, "how many UTC days, up to the newest event that may pass", 1, 1, 366
            ),
            Argument("index", Kind.CHOICE, "where to compare", "fused", choices=EVENT_SPACES),
            K,
            Argument(
                "percentile",
                Kind.NUMBER,
                "how many percent of past events, at their time, were less far from everything before them; where left "
                "out what the replica's setting `novel_percentile` says",
                None,
                90,
                100,
            ),
            FILTERS,
        ),
        slow=True,
    ),
    Operation(
        "timeline",
        "What a host did hour by hour, and where its behaviour changed.",
        (
            Argument("host", Kind.TEXT, "the address of a host: IP, or IP@DAY for one day of it", high=80),
            FILTERS,
        ),
        shows_events=False,
    ),
    Operation(
        "campaigns",
        "Events that matter, linked across days by the hosts and networks that they share.",
        (
            Argument(
                "event_id",
                Kind.TEXT,
                "the id of an event: only the campaign that it belongs to",
                None,
                high=256,
            ),
            K,
            FILTERS,
        ),
        slow=True,
    ),
    Operation("get", "One event whole.", (EVENT_ID,)),
    Operation(
        "list",
        "Events by time.",
        (
            FILTERS,
            LIMIT,
            Argument("order", Kind.CHOICE, "which come first", "newest", choices=("newest", "oldest")),
            Argument(
                "after", Kind.TEXT, "the 'next' of the page before; give its 'as_of' too", None, high=80
            ),
        ),
    ),
    Operation(
        "feedback",
        "What analysts said about events, the newest first.",
        (
            Argument(
                "event_id", Kind.TEXT, "the id of an event; all events where it is left out", None, high=256
            ),
            Argument("limit", Kind.WHOLE, "how many remarks at most", 20, 1, MAX_K),
            FILTERS,
        ),
        shows_events=False,
    ),
    Operation("days", "Which days there are, and their indices.", shows_events=False),
    Operation("stats", "Totals, and which replica answers.", shows_events=False),
    Operation("ping", "Which replica answers.", shows_events=False),
)
PING = "ping"


def _offered(operation: Operation) -> Operation:
    """An operation with the arguments that all of its kind have."""
    as_of = () if operation.name == PING else (AS_OF,)
    enrich = (ENRICH,) if operation.shows_events else ()
    return replace(operation, arguments=(*operation.arguments, *as_of, *enrich))


OPERATIONS: Mapping[str, Operation] = {operation.name: _offered(operation) for operation in _ALL}
"""Every operation by its name. All that look at events take `as_of`, those that show some `enrich`."""
