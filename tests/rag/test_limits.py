"""What a replica refuses, and what it leaves out when the time is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.names import NS_PER_DAY, day_start_ns
from services.common.errors import UsageError
from services.common.logs import make_logger
from services.common.rpc import Deadline, Request, RequestError, pack_request
from services.common.settings import load_settings
from services.rag.arguments import parse_filters
from services.rag.catalog import Catalog
from services.rag.limits import refuse_future
from services.rag.protocol import OPERATIONS, PING
from services.rag.scope import NOT_SEARCHED
from services.rag.settings import RagSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.common.rpc_server import Handler

OLD, OPEN = "2026-01-20", "2026-01-22"
SOON = Deadline()


@dataclass(frozen=True)
class Looks(Deadline):
    """A deadline that is near from the n-th look at it."""

    n: int = 0
    looked: Iterator[int] = field(default_factory=count)

    @property
    def is_near(self) -> bool:
        return next(self.looked) >= self.n


@pytest.fixture
def ask(world: Any, replica: Any) -> Mapping[str, Handler]:
    """The operations of a replica over a sealed and an open day."""
    world.fill(OLD, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return replica(world)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"since": "9999-01-01"}, "'since' begins in the future: 2262-04-11T23:47:16.854775Z is more than"),
        ({"days": ["2400-01-01", "2300-01-01"]}, "'days' begins in the future: 2300-01-01T00:00:00.000000Z"),
    ],
)
def test_the_future_is_refused(ask: Any, filters: dict[str, Any], said: str) -> None:
    """A time or day that nothing can be of yet is named, with what the clock says."""
    with pytest.raises(UsageError) as refused:
        ask["list"]({"filters": filters}, SOON)
    assert said in str(refused.value)


def test_a_day_that_is_over_may_stand_beside_one_to_come(ask: Any) -> None:
    """A week that is not over yet is no mistake, and `until` may lie anywhere after `since`."""
    answer = ask["list"]({"filters": {"days": [OLD, "2400-01-01"], "until": "9999-01-01"}}, SOON)
    assert answer["receipt"]["days"] == [OLD]


def test_events_are_believed_where_the_clock_is_behind(world: Any, follow: Any) -> None:
    """A machine whose clock stands in 1970 answers questions about its events, and about a day more."""
    world.fill(OPEN, 5, sealed=False)
    with follow(world).lease() as snapshot:
        refuse_future(parse_filters({"since": f"{OPEN}T00:00:00Z"}), snapshot, 0)
        late = day_start_ns(OPEN) + 2 * NS_PER_DAY
        with pytest.raises(UsageError, match="after now, 1970-01-01T00:00:00"):
            refuse_future(parse_filters({"since": late}), snapshot, 0)


def test_an_empty_state_knows_the_clock_alone(world: Any) -> None:
    """Without events a day after the clock is the last that may be asked for."""
    catalog = Catalog(world.state, make_logger("test"))
    with catalog.lease() as snapshot:
        refuse_future(parse_filters({"since": NS_PER_DAY}), snapshot, 0)
        with pytest.raises(UsageError, match="'since' begins in the future"):
            refuse_future(parse_filters({"since": NS_PER_DAY + 1}), snapshot, 0)


DAYS = ("2026-01-18", "2026-01-19", OLD)
FLAT = {"flat": True}


@pytest.fixture
def three_days(world: Any, replica: Any) -> Mapping[str, Handler]:
    """The operations of a replica over three sealed days."""
    for day in DAYS:
        world.fill(day, 40, sealed=True)
    return replica(world)


def _missing(answer: Any) -> list[tuple[str, str]]:
    assert {entry["reason"] for entry in answer["receipt"]["missing"]} <= {NOT_SEARCHED}
    return [(entry["day"], entry["index"]) for entry in answer["receipt"]["missing"]]


def test_what_there_was_no_time_for_is_named(world: Any, three_days: Any) -> None:
    """When the time ends the older days are left out of the answer, and the receipt names each of them."""
    event_id = next(iter(world.events))
    args = {"event_id": event_id, "k": 200, "index": "attack", **FLAT}
    for searched in (1, 2):
        answer = three_days["similar"](args, Looks(n=3 + searched))
        assert {hit["day"] for hit in answer["hits"]} == set(DAYS[-searched:])
        assert _missing(answer) == [(day, "attack") for day in reversed(DAYS[:-searched])]
        assert answer["receipt"]["partial"] is True
    whole = three_days["similar"](args, Looks(n=6))
    assert (len(whole["hits"]), _missing(whole), whole["receipt"]["partial"]) == (119, [], False)


def test_a_partial_answer_is_right_as_far_as_it_goes(world: Any, three_days: Any) -> None:
    """What is searched before the time ends is answered as a question about those days alone."""
    args = {"event_id": next(iter(world.events)), "k": 20, "index": "attack", **FLAT}
    partial = three_days["similar"](args, Looks(n=4))["hits"]
    alone = three_days["similar"]({**args, "filters": {"days": [OLD]}}, SOON)["hits"]
    assert partial == alone


def test_fused_answers_name_each_index_that_lacks_a_day(world: Any, three_days: Any) -> None:
    """The indices are searched one after the other, so the last ones lack most."""
    args = {"event_id": next(iter(world.events)), "k": 5, **FLAT}
    answer = three_days["similar"](args, Looks(n=3 + 4))
    assert len(answer["hits"]) == 5
    assert _missing(answer) == [
        (day, index) for index, days in (("semantic", DAYS[:2]), ("temporal", DAYS)) for day in reversed(days)
    ]


def test_a_list_without_time_has_the_newest_days(three_days: Any) -> None:
    """`list` gives what the filters reached in time, the newest; days outside the filters are not missed."""
    answer = three_days["list"]({"limit": 1000}, Looks(n=2))
    assert {event["day"] for event in answer["events"]} == set(DAYS[1:])
    assert answer["receipt"]["days"] == list(DAYS[1:])
    assert _missing(answer) == [(DAYS[0], "all")]
    narrow = three_days["list"]({"limit": 1000, "filters": {"days": [OLD]}}, Looks(n=1))
    assert (len(narrow["events"]), _missing(narrow)) == (40, [])


def test_hosts_without_time_are_those_of_the_newest_days(three_days: Any) -> None:
    """The index of hosts keeps its time in the same way."""
    answer = three_days["similar"]({"host": "8.8.8.8", "index": "entity"}, Looks(n=4))
    assert {hit["day"] for hit in answer["hits"]} == {OLD}
    assert _missing(answer) == [(day, "entity") for day in reversed(DAYS[:2])]


@pytest.mark.parametrize("looks", [0, 3])
def test_nothing_at_all_is_a_refusal(world: Any, three_days: Any, looks: int) -> None:
    """An answer about nothing would look like one that found nothing: it is refused."""
    args = {"event_id": next(iter(world.events)), "index": "attack"}
    with pytest.raises(RequestError, match="time for this request is over") as refused:
        three_days["similar"](args, Looks(n=looks))
    assert refused.value.code == "deadline"


EVERY_QUESTION: Mapping[str, dict[str, Any]] = {
    "similar": {"k": 30, "event_id": ""},
    "search": {"text": "many packets to a web server", "k": 30},
    "hybrid": {"entity": "192.168.10.5", "text": "many packets", "k": 30},
    "explain": {"event_id": ""},
    "novel": {"days": 2, "percentile": 90, "index": "semantic"},
    "timeline": {"host": "192.168.10.5"},
    "campaigns": {"k": 30},
    "get": {"event_id": ""},
    "list": {"filters": {"protocol": "tcp"}, "limit": 200},
    "feedback": {"filters": {"protocol": "tcp"}},
    "days": {},
    "stats": {},
}


@pytest.mark.parametrize("op", sorted(OPERATIONS.keys() - {PING}))
def test_an_answer_is_whole_or_says_that_it_is_not(world: Any, three_days: Any, op: str) -> None:
    """Whenever the time ends: a question is refused, or says that it was not finished, or is answered as ever."""
    args = dict(EVERY_QUESTION[op])
    if "event_id" in args:
        args["event_id"] = next(iter(world.events))
    whole = _plain(three_days[op](dict(args), SOON))
    told = 0
    for looks in range(40):
        try:
            answer = _plain(three_days[op](dict(args), Looks(n=looks)))
        except RequestError as refused:
            if refused.code != "deadline":
                raise
            continue
        receipt = answer["receipt"]
        assert receipt["partial"] is (not receipt["repeatable"])
        if receipt["partial"]:
            assert receipt["missing"] or any("time" in reason for reason in receipt["unrepeatable"])
            told += 1
        else:
            assert answer == whole
    assert told or op in {"get", "days", "stats", "feedback"}


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    answer["receipt"].pop("took_ms")
    answer.pop("replica", None)
    return answer


@pytest.mark.parametrize(("seconds", "reserve_s"), [(0.001, 0.02), (1.0, 0.1), (10.0, 0.5), (600.0, 0.5)])
def test_a_part_of_the_time_is_kept_for_the_answer(seconds: float, reserve_s: float) -> None:
    """A tenth of the time, from 20 ms to half a second, is left to read the hits and send them."""
    assert Deadline.after(seconds).reserve_s == pytest.approx(reserve_s)
    assert Deadline.after(seconds).is_near is (seconds < reserve_s)
    assert Deadline.after(-1).is_near


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("10.0.0.5/8", "'10.0.0.5/8' has host bits set: write 10.0.0.0/8"),
        ("office", "'office' is no address"),
    ],
)
def test_a_network_that_is_none_ends_the_start(tmp_path: Path, network: str, said: str) -> None:
    """The setting of what is inside is checked as the filters are."""
    settings = tmp_path / "rag.toml"
    settings.write_text(f'state = "{tmp_path}"\ninternal_networks = ["{network}"]\n')
    with pytest.raises(UsageError) as refused:
        load_settings(RagSettings, settings)
    assert said in str(refused.value)


def test_ten_megabytes_are_refused_before_they_are_sent() -> None:
    """A text that no replica would read is refused by the client, with the limit."""
    with pytest.raises(UsageError, match="at most 65536 are allowed; make it smaller"):
        pack_request(Request(1, "search", {"text": "x" * 10_000_000}))
