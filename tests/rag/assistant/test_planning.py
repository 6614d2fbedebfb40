"""`novel` and `timeline` are asked where a question plainly asks for them, and not elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from services.rag.assistant.planning import Step, further_steps

NEWEST = "2026-11-20T10:00:00.000000Z"


def steps(question: str, understood: dict[str, Any] | None = None, **given: Any) -> list[Step]:
    found = {"understood": {"filters": understood or {}}, "receipt": {"newest_event": NEWEST}}
    return further_steps(question, found, given)


NOVEL = [
    "what was new yesterday?",
    "What's new?",
    "anything unusual today",
    "is there something strange on the web server",
    "what happened that was never seen before",
    "hosts seen for the first time, unlike anything before",
    "any anomalies this week?",
    "traffic that is unusual",
    "show me novelties",
    "unusual traffic to the mail server",
    "¿qué hay de nuevo?",
    "algo raro en la red ayer",
    "qué novedades hubo",
    "tráfico nunca visto",
    "anomalías de la semana pasada",
    "conexiones vistas por primera vez",
    "actividad inusual en el servidor",
]
PLAIN = [
    "who scanned us from outside",
    "find botnet-like behavior",
    "new york",
    "that new server",
    "renew the lease",
    "equipos internos hablando con muchos destinos nuevos",
    "slow attack on the web server last Wednesday",
    "what did the attacker do",
    "news",
]


@pytest.mark.parametrize("question", NOVEL)
def test_what_is_new_is_looked_for_where_it_is_asked_for(question: str) -> None:
    """In English and Spanish."""
    assert [step.op for step in steps(question)] == ["novel"]


@pytest.mark.parametrize("question", PLAIN)
def test_other_questions_are_searched_for_alone(question: str) -> None:
    """A long question to the replicas is not asked on a whim."""
    assert steps(question) == []


TIMELINE = [
    "what did 10.0.0.5 do yesterday?",
    "What has 10.0.0.5 been doing",
    "timeline of 10.0.0.5",
    "show the history of 10.0.0.5.",
    "how did 10.0.0.5 change over time",
    "when did 10.0.0.5 start scanning?",
    "¿qué hizo 10.0.0.5?",
    "cronología de 10.0.0.5",
    "actividad de 10.0.0.5 hora por hora",
]
NO_TIMELINE = [
    "scans from 10.0.0.5",
    "what did 10.0.0.5 send to 10.0.0.6",
    "timeline of the attack",
    "what did 10.0.0.0/8 do",
    "what did 10.0.0.500 do",
    "what happened at 10:45:30",
]


@pytest.mark.parametrize("question", TIMELINE)
def test_a_host_is_followed_where_its_doings_are_asked_for(question: str) -> None:
    """One host, and a question about what it did."""
    assert steps(question) == [Step("timeline", {"host": "10.0.0.5", "filters": {}})]


@pytest.mark.parametrize("question", NO_TIMELINE)
def test_without_one_host_there_is_no_timeline(question: str) -> None:
    """Two hosts, none, or a network."""
    assert all(step.op != "timeline" for step in steps(question))


def test_a_host_of_ipv6() -> None:
    """Its colons are part of it."""
    (step,) = steps("what did 2001:DB8::1 do?")
    assert step.args["host"] == "2001:db8::1"


def test_filters_go_along() -> None:
    """What was understood and what was given hold for `novel`; a host's timeline keeps the times of them."""
    understood = {"since": "2026-11-19T00:00:00Z", "until": "2026-11-20T00:00:00Z", "host": "10.0.0.5"}
    novel, timeline = steps("what did 10.0.0.5 do that was new for the first time?", understood, dst_port=80)
    assert novel.args == {"days": 1, "filters": {**understood, "dst_port": 80}}
    times = {"since": understood["since"], "until": understood["until"]}
    assert timeline.args == {"host": "10.0.0.5", "filters": times}


@pytest.mark.parametrize(
    ("filters", "days"),
    [
        ({}, 1),
        ({"until": "2026-11-18"}, 1),
        ({"since": "2026-11-20T08:00:00Z"}, 1),
        ({"since": "2026-11-16"}, 5),
        ({"since": "2026-11-09", "until": "2026-11-16"}, 7),
        ({"since": "2026-11-30"}, 1),
        ({"since": "2001-01-01"}, 366),
        ({"since": "nonsense"}, 1),
    ],
)
def test_how_many_days_are_meant(filters: dict[str, Any], days: int) -> None:
    """From the first day of the question to its last, or to the newest event."""
    (step,) = steps("what is new?", filters)
    assert step.args["days"] == days
