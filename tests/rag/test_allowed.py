"""Rights hold in every operation: for a key that may not see a day or an index, it is as if that were not there."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.access.rights import EVERYTHING, Days, Principal, Rights
from services.common.days.fusion import FusionWeights
from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.days.names import INDICES, day_start_ns
from services.common.errors import UsageError
from services.common.feedback.remark import Remark, Verdict
from services.common.rpc import Deadline, NotFound, RequestError
from services.rag.allowed import NO_RIGHT
from services.rag.answers import Tools, answers_with
from services.rag.explain import Explainer
from services.rag.operations import Operations, Replica, Surroundings
from services.rag.protocol import OPERATIONS
from services.rag.searcher import Searcher
from services.rag.text_search import TextSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

BEFORE, SEALED, OPEN, AFTER = "2026-01-20", "2026-01-21", "2026-01-22", "2026-01-23"
SEEN = (SEALED, OPEN)
HOST = "192.168.10.5"
SOON = Deadline()
NOW_NS = day_start_ns(AFTER) + 3600 * 10**9


def rights(**limits: Any) -> Rights:
    """All rights but for some limits."""
    return replace(EVERYTHING, **limits)


TWO_DAYS = rights(days=(Days(spans=((SEALED, OPEN),)),))


@dataclass(frozen=True)
class Asked:
    """A replica over one state directory, as keys with rights ask it."""

    operations: Operations

    def ask(self, op: str, args: Mapping[str, Any], limits: Rights = EVERYTHING) -> dict[str, Any]:
        found = self.operations.handlers(Principal("alice", limits))[op](dict(args), SOON)
        assert isinstance(found, dict)
        return found

    def tell(self, op: str, args: Mapping[str, Any], limits: Rights = EVERYTHING) -> Any:
        """The answer without what differs from one asking to the next, or the sentence and kind of a refusal."""
        try:
            return _settled(self.ask(op, args, limits))
        except (UsageError, RequestError) as error:
            return type(error).__name__, str(error)


PASSING = {"took_ms", "uptime_s", "time_ns"}


def _settled(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _settled(value) for key, value in found.items() if key not in PASSING}
    if isinstance(found, list):
        return [_settled(one) for one in found]
    return re.sub(r" (remarks=\d+|#[0-9a-f]{12})", "", found) if isinstance(found, str) else found


@pytest.fixture
def asked(follow: Any, small_queries: Any, small_entities: Any) -> Callable[[Any], Asked]:
    def make(world: Any) -> Asked:
        own = Replica("rag-7", 42, "0.0", 0.0)
        searcher = Searcher(small_queries(world), FusionWeights())
        tools = Tools(
            searcher, TextSearch(small_queries(world)), small_entities(world), Explainer(searcher), own
        )
        surroundings = Surroundings(now_ns=lambda: NOW_NS)
        return Asked(Operations(follow(world), answers_with(tools), own, surroundings))

    return make


def _fill(world: Any, days: tuple[str, ...]) -> None:
    """The same events on a day in every world that has it; some have a remark."""
    writer = None
    for day in days:
        world.rng = np.random.default_rng(int(day[-2:]))
        events = world.make(day, 40, "e")
        for number, event in enumerate(events):
            event.event_id = f"e-{day}-{number}"
        world.write(day, events)
        if day != OPEN:
            world.seal(day)
    for number, day in enumerate(days):
        if writer is None:
            world.disk.make_folder(world.state.feedback)
            writer = LogWriter(world.disk, world.state.feedback_log(1))
        remark = Remark(
            f"f-{day}", f"e-{day}-3", "ana", NOW_NS + int(day[-2:]), Verdict.TRUE_POSITIVE, note=day
        )
        writer.append(FEEDBACK, number, [remark.to_bytes()])
    assert writer is not None
    writer.sync()
    writer.close()


@pytest.fixture
def big(make_world: Any, asked: Any, tmp_path: Path) -> Asked:
    """All four days."""
    world = make_world(tmp_path / "big")
    _fill(world, (BEFORE, SEALED, OPEN, AFTER))
    found: Asked = asked(world)
    return found


@pytest.fixture
def small(make_world: Any, asked: Any, tmp_path: Path) -> Asked:
    """Nothing but the days that may be seen."""
    world = make_world(tmp_path / "small")
    _fill(world, SEEN)
    found: Asked = asked(world)
    return found


def questions(day: str) -> dict[str, list[dict[str, Any]]]:
    """Every operation with arguments that name an event, a host or a time of a day, and with none."""
    event, noon = f"e-{day}-3", f"{day}T12:00:00Z"
    words = {"text": "a port scan from inside", "now": f"{AFTER}T01:00:00Z"}
    return {
        "similar": [
            *(
                {"event_id": event, "k": 200, "index": index}
                for index in ("fused", "attack", "semantic", "temporal")
            ),
            {"event_id": event, "flat": True, "k": 200, "enrich": True},
            {"index": "entity", "host": HOST},
            {"index": "entity", "host": f"{HOST}@{day}"},
        ],
        "search": [{**words, "by": by, "k": 200} for by in ("fused", "meaning", "words")]
        + [
            {"text": "everything yesterday", "now": f"{AFTER}T01:00:00Z"},
            {**words, "filters": {"days": [day]}},
        ],
        "hybrid": [{"entity": HOST, **words}],
        "explain": [{"event_id": event}, {"event_id": f"e-{SEALED}-1", "others": [event]}],
        "novel": [{}, {"days": 30, "percentile": 90}, {"days": 2, "index": "attack"}],
        "timeline": [{"host": HOST}, {"host": f"{HOST}@{day}"}],
        "campaigns": [{}, {"event_id": event}],
        "get": [{"event_id": event}],
        "list": [
            {"limit": 1000},
            {"filters": {"since": noon}},
            {"filters": {"feedback": "any"}},
            {"order": "oldest", "filters": {"days": [day]}},
        ],
        "feedback": [{}, {"event_id": event}, {"filters": {"days": [day]}}],
        "days": [{}],
        "stats": [{}],
        "ping": [{}],
    }


def test_every_operation_is_asked_here() -> None:
    """A new operation cannot be forgotten."""
    assert set(questions(SEALED)) == set(OPERATIONS)


@pytest.mark.parametrize("day", [SEALED, AFTER])
def test_other_days_are_as_if_they_were_not_there(big: Asked, small: Asked, day: str) -> None:
    """Each answer and each refusal is that of a replica which has no other days, whatever was asked before.

    Somebody who may see all asks in between, so that nothing that was remembered for one is told to another.
    """
    for op, several in questions(day).items():
        for args in several:
            before = big.tell(op, args)
            limited = big.tell(op, args, TWO_DAYS)
            assert limited == small.tell(op, args), (op, args)
            assert big.tell(op, args) == before, (op, args)


def test_the_last_days_are_counted_from_today(big: Asked) -> None:
    """The last two days are today and yesterday, by the clock of the replica."""
    for last, days in ((1, [AFTER]), (2, [OPEN, AFTER]), (4, [BEFORE, SEALED, OPEN, AFTER])):
        found = big.ask("days", {}, rights(days=(Days(last=last),)))
        assert [one["day"] for one in found["days"]] == days


def test_a_receipt_is_repeated_within_the_rights(big: Asked) -> None:
    """A key can ask its own `as_of` again; one that names other days is refused, as is one of days long gone."""
    own = big.ask("list", {"limit": 5}, TWO_DAYS)
    again = big.ask("list", {"limit": 5, "as_of": own["receipt"]["as_of"]}, TWO_DAYS)
    assert _settled(again["events"]) == _settled(own["events"])
    assert again["receipt"]["as_of"] == own["receipt"]["as_of"]
    for as_of in (big.ask("days", {})["receipt"]["as_of"], "2020-01-01:1"):
        with pytest.raises(RequestError, match="no right to all days") as refused:
            big.ask("list", {"as_of": as_of}, TWO_DAYS)
        assert refused.value.code == "forbidden"


@pytest.mark.parametrize("index", INDICES)
def test_an_index_is_as_if_it_were_missing(big: Asked, index: str) -> None:
    """Asked by name it is refused; a fused answer uses the others and its receipt says what is missing and why."""
    without = rights(indices=frozenset(INDICES) - {index})
    names_it: dict[str, Any] = {"host": HOST} if index == "entity" else {"event_id": f"e-{SEALED}-3"}
    with pytest.raises(RequestError, match=f"no right to the index {index}") as refused:
        big.ask("similar", {**names_it, "index": index}, without)
    assert refused.value.code == "forbidden"
    if index == "entity":
        assert [one["hosts"] for one in big.ask("days", {}, without)["days"]] == [None] * 4
        return
    found = big.ask("similar", {"event_id": f"e-{SEALED}-3", "flat": True, "k": 5}, without)
    assert index not in found["receipt"]["models"]
    assert index not in found["hits"][0]["scores"]
    assert {"day": SEALED, "index": index, "reason": NO_RIGHT} in found["receipt"]["missing"]
    (described, *_) = big.ask("days", {}, without)["days"]
    assert described["indices"][index] == {"rows": 0, "generation": 0, "model": None}
    assert found["receipt"]["as_of"] == big.ask("days", {})["receipt"]["as_of"], "the same was seen"


def test_no_operation_uses_an_index_without_a_right(big: Asked) -> None:
    """Without any index what needs none is answered, and no answer comes from a model."""
    for op, several in questions(SEALED).items():
        for args in several:
            found = big.tell(op, args, rights(indices=frozenset()))
            if isinstance(found, dict):
                assert not found.get("receipt", {}).get("models"), (op, args)


def test_a_search_by_meaning_needs_its_index(big: Asked) -> None:
    """By meaning it is refused, by words it is answered, fused it ranks by words alone."""
    words = {"text": "port scan", "k": 3}
    without = rights(indices=frozenset({"attack", "temporal", "entity"}))
    with pytest.raises(RequestError, match="no right to the index semantic"):
        big.ask("search", {**words, "by": "meaning"}, without)
    for by in ("words", "fused"):
        assert big.ask("search", {**words, "by": by}, without)["receipt"]["models"] == {}


def test_a_view_without_an_index_is_made_once(big: Asked) -> None:
    """What answers remember is remembered for a limited key too: it sees the same objects each time."""
    catalog: Any = big.operations._catalog
    with catalog.lease() as snapshot:
        segment = snapshot.segments[0]
        left_out = frozenset({"attack"})
        assert segment.without(left_out, NO_RIGHT) is segment.without(left_out, NO_RIGHT)
        assert "attack" in segment.view.indices


def test_the_event_of_another_day_is_not_found(big: Asked) -> None:
    """It looks like one that never was."""
    for op in ("get", "similar", "explain", "campaigns", "feedback"):
        with pytest.raises(NotFound) as hidden:
            big.ask(op, {"event_id": f"e-{AFTER}-3"}, TWO_DAYS)
        with pytest.raises(NotFound) as absent:
            big.ask(op, {"event_id": "e-no-such"}, TWO_DAYS)
        assert str(hidden.value).replace(f"e-{AFTER}-3", "e-no-such") == str(absent.value), op
