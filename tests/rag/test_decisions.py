"""What firewalls decided stands beside the events, and chooses them; over sealing, later decisions and removed ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.days.columns import pack_address
from services.common.days.log import LogWriter
from services.common.days.log_format import DECISIONS
from services.common.decisions.book import Book
from services.common.decisions.decision import Effect
from services.common.decisions.record import Taken
from services.common.errors import UsageError
from services.common.events.network_security_pb2 import Detection
from services.common.rpc import Deadline, NotFound
from services.rag.blocked import Blocked, covered, deciding, traits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.common.rpc_server import Handler

OLD, OPEN = "2026-01-20", "2026-01-22"
SOON = Deadline()
S = 1_000_000_000
FOREIGN = "203.0.113.77"


class Firewall:
    """Writes the log of decisions of a world as the ingester does."""

    def __init__(self, world: Any) -> None:
        self._world = world
        world.disk.make_folder(world.state.decisions.folder)
        self._file = 1
        self._log = LogWriter(world.disk, world.state.decisions.path(1))
        self._number = 0

    def decide(self, address: str, time_ns: int, action: str = "BLOCK", **fields: Any) -> None:
        """One decision, in a record of its own."""
        one = Detection(src_ip=address, timestamp=time_ns, action=action, **fields)
        self._log.append(DECISIONS, self._number, [Taken(time_ns, "fw-1", 600, [one]).to_bytes()])
        self._number += 1

    def next_file(self, *, remove: bool = False) -> None:
        """Go on in the next file; the one before is removed."""
        self._log.close()
        if remove:
            self._world.disk.remove(self._world.state.decisions.path(self._file))
        self._file += 1
        self._log = LogWriter(self._world.disk, self._world.state.decisions.path(self._file))

    def close(self) -> None:
        self._log.close()


@pytest.fixture
def firewall(world: Any) -> Iterator[Firewall]:
    made = Firewall(world)
    yield made
    made.close()


@pytest.fixture
def ids(world: Any) -> list[str]:
    """A sealed and an open day; the ids of their events, the oldest first."""
    world.fill(OLD, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return sorted(world.events, key=lambda i: world.events[i].event_timestamp.ToNanoseconds())


def _when(world: Any, event_id: str) -> tuple[int, str, str]:
    event = world.events[event_id]
    flow = event.network_features
    return event.event_timestamp.ToNanoseconds(), flow.source_ip, flow.destination_ip


def _list(ask: Mapping[str, Handler], **args: Any) -> Any:
    return ask["list"]({"limit": 1000, **args}, SOON)


def _by_state(ask: Mapping[str, Handler]) -> dict[str, set[str]]:
    """By state the events that are shown with it; held against what the filter finds."""
    shown: dict[str, set[str]] = {"yes": set(), "no": set(), "unknown": set()}
    for event in _list(ask)["events"]:
        shown[event["blocked"]].add(event["event_id"])
    for state, wanted in (("yes", True), ("no", False), ("unknown", "unknown")):
        answer = _list(ask, filters={"blocked": wanted})
        assert {event["event_id"] for event in answer["events"]} == shown[state]
        assert answer["receipt"]["rows"] == len(shown[state])
    both = _list(ask, filters={"blocked": [True, "unknown"]})["events"]
    assert {event["event_id"] for event in both} == shown["yes"] | shown["unknown"]
    return shown


def test_without_a_decision_nothing_is_added(ids: list[str], replica: Callable[..., Any], world: Any) -> None:
    """Where no firewall ever reported, answers are what they were, and every event is unknown to the filter."""
    ask = replica(world)
    assert not any("blocked" in event for event in _list(ask)["events"])
    assert "decisions" not in _list(ask)["receipt"]["as_of"]
    assert len(_list(ask, filters={"blocked": "unknown"})["events"]) == len(ids)
    assert not _list(ask, filters={"blocked": [True, False]})["events"]


def test_it_stands_beside_events_and_chooses_them(
    ids: list[str], firewall: Firewall, replica: Callable[..., Any], world: Any
) -> None:
    """A block holds for what its address sends and gets until it ends; the rest near it was not blocked."""
    time_ns, source, _ = _when(world, ids[10])
    firewall.decide(
        source, time_ns - 5 * S, duration_seconds=60, confidence=0.9, type=1, description="rule 7"
    )
    ask = replica(world)
    event: Any = ask["get"]({"event_id": ids[10]}, SOON)["fields"]
    assert event["blocked"] == "yes"
    told = event["decision"]
    assert (told["address"], told["side"], told["action"], told["kind"]) == (
        source,
        "source",
        "BLOCK",
        "ddos",
    )
    assert (told["after_s"], told["lasts_s"], told["end_is_assumed"]) == (-5.0, 60.0, False)
    assert (told["confidence"], told["reason"], told["reported_by"]) == (0.9, "rule 7", "fw-1")
    shown = _by_state(ask)
    for event_id in ids:
        when, *sides = _when(world, event_id)
        near = abs(when - (time_ns - 5 * S)) <= 3600 * S
        stands = source in sides and time_ns - 5 * S <= when < time_ns + 55 * S
        assert event_id in shown["yes" if stands else "no" if near else "unknown"] or source in sides
    similar: Any = ask["similar"]({"event_id": ids[10], "flat": True, "filters": {"blocked": True}}, SOON)
    assert {hit["blocked"] for hit in similar["hits"]} <= {"yes"}


def test_a_release_ends_it_and_a_duration_may_be_assumed(
    ids: list[str], firewall: Firewall, replica: Callable[..., Any], world: Any
) -> None:
    """What names no duration holds as long as the ingester was told; a release ends it."""
    time_ns, source, _ = _when(world, ids[20])
    firewall.decide(source, time_ns - 599 * S)
    ask = replica(world)
    told = ask["get"]({"event_id": ids[20]}, SOON)["fields"]["decision"]
    assert (told["lasts_s"], told["end_is_assumed"]) == (600.0, True)
    firewall.decide(source, time_ns - 10 * S, "unblock")
    until = _until(ask, ids[20], "no")
    assert "decision" not in until


def _until(ask: Mapping[str, Handler], event_id: str, state: str) -> Any:
    for _ in range(500):
        answer: Any = ask["get"]({"event_id": event_id}, SOON)
        fields = answer["fields"]
        if fields["blocked"] == state:
            return fields
        time.sleep(0.02)
    raise AssertionError(fields)


def test_what_led_to_a_decision_counts_and_an_unsaid_action_does_not(
    ids: list[str], firewall: Firewall, replica: Callable[..., Any], world: Any
) -> None:
    """An event of the kind just before is blocked too, a benign one not; an unsaid action is unknown."""
    bad = next(i for i in ids if world.events[i].final_classification == "DDoS")
    time_ns, source, _ = _when(world, bad)
    firewall.decide(source, time_ns + 90 * S, type=1, duration_seconds=1)
    benign = next(
        i for i in ids if world.events[i].final_classification == "BENIGN" and _when(world, i)[1] != source
    )
    at, other, _ = _when(world, benign)
    firewall.decide(other, at + 30 * S, duration_seconds=1)
    silent, third, _ = _when(world, ids[-1])
    firewall.decide(third, silent, action="", duration_seconds=5)
    ask = replica(world)
    event: Any = ask["get"]({"event_id": bad}, SOON)["fields"]
    assert (event["blocked"], event["decision"]["after_s"]) == ("yes", 90.0)
    assert ask["get"]({"event_id": benign}, SOON)["fields"]["blocked"] == "no"
    unsaid: Any = ask["get"]({"event_id": ids[-1]}, SOON)["fields"]
    assert (unsaid["blocked"], unsaid["decision"]["action"]) == ("unknown", "")
    _by_state(ask)


def test_as_of_knows_what_had_been_decided(
    ids: list[str], firewall: Firewall, replica: Callable[..., Any], world: Any
) -> None:
    """An answer as of a moment leaves out decisions that came later; when the oldest are removed, it says so."""
    time_ns, source, _ = _when(world, ids[10])
    firewall.decide(FOREIGN, time_ns)
    ask = replica(world)
    before = _list(ask, filters={"blocked": False})
    assert "decisions=1" in before["receipt"]["as_of"]
    firewall.decide(source, time_ns)
    _until(ask, ids[10], "yes")
    again = _list(ask, filters={"blocked": False}, as_of=before["receipt"]["as_of"])
    assert again["events"] == before["events"]
    assert (
        ask["get"]({"event_id": ids[10], "as_of": before["receipt"]["as_of"]}, SOON)["fields"]["blocked"]
        == "no"
    )
    firewall.next_file(remove=True)
    firewall.decide(FOREIGN, time_ns + S)
    _until(ask, ids[10], "no")
    assert "decisions=2..3" in _list(ask)["receipt"]["as_of"]
    with pytest.raises(NotFound, match="were removed, those before number 2"):
        _list(ask, as_of=before["receipt"]["as_of"])


def test_a_damaged_log_is_said(
    ids: list[str], firewall: Firewall, replica: Callable[..., Any], world: Any
) -> None:
    """Where decisions cannot be read, an answer that depends on them says so."""
    for number in range(3):
        firewall.decide(FOREIGN, _when(world, ids[0])[0] + number)
    path = world.state.decisions.path(1)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    receipt = _list(replica(world), filters={"blocked": True})["receipt"]
    assert any(entry["day"] == "firewalls" for entry in receipt["missing"])
    assert receipt["repeatable"] is False


def test_words_of_a_question_and_filters_that_were_given_hold_together(
    ids: list[str], firewall: Firewall, replica: Callable[..., Any], world: Any
) -> None:
    """ "blocked" in a question becomes the filter; with others that were given, what analysts said included."""
    time_ns, source, _ = _when(world, ids[10])
    firewall.decide(source, time_ns, duration_seconds=1)
    ask = replica(world)
    answer: Any = ask["search"]({"text": "blocked traffic", "flat": True, "k": 100}, SOON)
    assert answer["understood"]["filters"] == {"blocked": True}
    assert ids[10] in {hit["event_id"] for hit in answer["hits"]}
    assert {hit["blocked"] for hit in answer["hits"]} == {"yes"}
    narrowed: Any = ask["search"]({"text": "blocked", "flat": True, "filters": {"feedback": "none"}}, SOON)
    assert narrowed["receipt"]["rows"] == answer["receipt"]["rows"]


@pytest.mark.parametrize("value", ["maybe", 1, None, [], [True, "perhaps"]])
def test_other_values_are_refused(
    ids: list[str], replica: Callable[..., Any], world: Any, value: Any
) -> None:
    """The sentence names what is allowed."""
    assert ids
    with pytest.raises(UsageError, match="'blocked'"):
        _list(replica(world), filters={"blocked": value})


_DECIDED = st.tuples(
    st.integers(0, 400),
    st.sampled_from(["BLOCK", "allow", "", "log"]),
    st.integers(0, 200),
    st.integers(0, 4),
)


@settings(max_examples=200)
@given(
    decided=st.lists(_DECIDED, min_size=1, max_size=12),
    times=st.lists(st.integers(-200, 700), min_size=1, max_size=20),
    words=st.sampled_from(["BENIGN", "DDoS", "Ransomware", "Attack", "INTERNAL_THREAT"]),
    split=st.integers(0, 12),
)
def test_the_filter_and_what_is_shown_agree(
    decided: list[tuple[int, str, int, int]], times: list[int], words: str, split: int
) -> None:
    """For any decisions and times both find the same events, and that what a plain loop over decisions finds."""
    address = pack_address(FOREIGN)
    book = Book()
    for first, part in ((0, decided[:split]), (min(split, len(decided)), decided[split:])):
        made = [
            Detection(
                src_ip=FOREIGN,
                timestamp=10**18 + s * S,
                action=action,
                duration_seconds=lasts,
                type=kind,  # type: ignore[arg-type]
            )
            for s, action, lasts, kind in part
        ]
        book.add([(first, Taken(0, "", 50, made))] if made else [])
    found = book.page().of(address)
    traits = traits_of(words, "")
    at = np.array([10**18 + s * S for s in times], np.int64)
    for effect in (Effect.BLOCKS, Effect.UNSAID):
        mask = covered(found, effect, at, np.full(len(at), traits))
        single = [deciding(found, effect, int(one), traits) is not None for one in at.tolist()]
        assert mask.tolist() == single
    mask = covered(found, Effect.BLOCKS, at, np.full(len(at), traits))
    assert mask.tolist() == [_plain(decided, s, words) for s in times]


def _plain(decided: list[tuple[int, str, int, int]], at: int, words: str) -> bool:
    wanted = {1: "DDoS", 2: "Ransomware", 4: "INTERNAL_THREAT"}
    ordered = sorted(enumerate(decided), key=lambda one: (one[1][0], one[0]))
    for place, (_, (begin, action, lasts, kind)) in enumerate(ordered):
        if action != "BLOCK":
            continue
        ends = [one[1][0] for one in ordered[place + 1 :] if one[1][1] == "allow"]
        until = min([begin + (lasts or 50), *ends[:1]])
        fits = words != "BENIGN" and (kind not in wanted or words in {"Attack", wanted[kind]})
        if begin <= at < until or (begin - 120 <= at < begin and fits):
            return True
    return False


def test_states_are_words() -> None:
    """They are what programs get."""
    assert [one.value for one in Blocked] == ["yes", "no", "unknown"]
