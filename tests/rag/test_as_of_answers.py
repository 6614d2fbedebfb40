"""The same question as of the same moment has the same answer, whatever happened since; or says why it cannot."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from services.common.days.index_builder import IndexTools
from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.days.reindex import Reindexer
from services.common.days.switching import activate, roll_back
from services.common.errors import AppiaError, UsageError
from services.common.feedback.remark import Remark, Verdict
from services.common.rpc import Deadline, NotFound, RequestError
from services.rag.as_of import read_moment
from services.rag.client import Client, FixedReplicas
from services.rag.operations import Operations, Replica, Surroundings
from services.rag.past import KEPT_MOMENTS
from services.rag.protocol import AS_OF, OPERATIONS, PING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FIRST, LATE, OPEN, NEW = "2026-01-20", "2026-01-21", "2026-01-22", "2026-01-23"
HOST = "192.168.10.5"
SOON = Deadline()


class Story:
    """Three days, two of them sealed; then all that may happen to days happens."""

    def __init__(self, world: Any) -> None:
        self.world = world
        world.fill(FIRST, 60, sealed=True)
        world.fill(LATE, 50, sealed=True)
        world.fill(OPEN, 40, sealed=False)
        world.disk.make_folder(world.state.feedback)
        self._log = LogWriter(world.disk, world.state.feedback_log(1))
        self._said = 0
        self.say(self.event(FIRST))

    def event(self, day: str) -> str:
        """The id of an event of a day."""
        return str(next(event_id for event_id in self.world.events if day in event_id))

    def say(self, event_id: str) -> None:
        """An analyst says something about an event."""
        remark = Remark(
            f"f-{self._said}", event_id, "ana", 10**18 + self._said, verdict=Verdict.TRUE_POSITIVE
        )
        self._log.append(FEEDBACK, self._said, [remark.to_bytes()])
        self._said += 1

    def more(self, day: str = OPEN, segment: int = 1, count: int = 30) -> None:
        """Events come."""
        self.world.write(day, self.world.make(day, count), segment)

    def reindex(self, day: str, index: str, embedder: Any) -> None:
        """Another model makes an index of a sealed day anew, and that serves."""
        names, disk = self.world.state.day(day), self.world.disk
        embedders = replace(self.world.embedders, **{index: embedder})
        Reindexer(disk, IndexTools(embedders, lambda *_: None)).build(names, index)
        activate(names, index, disk)

    def go_on(self, embedder: Any) -> None:
        """All of it."""
        self.more()
        self.more(LATE, segment=2)
        self.world.seal(LATE, 2)
        self.reindex(FIRST, "attack", embedder("attack", "l2", 2))
        self.reindex(LATE, "semantic", embedder("semantic", "cosine", 2))
        self.world.fill(NEW, 20, sealed=True)
        self.more(LATE, segment=3)
        for day in (FIRST, LATE, OPEN, NEW):
            self.say(self.event(day))

    def questions(self) -> list[tuple[str, dict[str, Any]]]:
        """Every operation, on every kind of day."""
        events = [self.event(day) for day in (FIRST, LATE, OPEN)]
        like = [{"event_id": event_id, "index": index} for event_id in events for index in INDICES]
        return [
            *(("similar", {**one, "k": 25}) for one in like),
            ("similar", {"event_id": events[0], "k": 60, "flat": True}),
            ("search", {"text": "a scan", "k": 60, "flat": True}),
            ("similar", {"event_id": events[0], "filters": {"protocol": "tcp", "min_overall": 0.4}}),
            ("similar", {"event_id": events[1], "filters": {"feedback": "none"}}),
            ("similar", {"host": f"{HOST}@{FIRST}", "index": "entity"}),
            ("similar", {"host": HOST, "index": "entity"}),
            *(
                ("search", {"text": "many packets to a web server", "by": by})
                for by in ("fused", "meaning", "words")
            ),
            ("search", {"text": "attack", "filters": {"class": "ddos"}, "k": 40}),
            ("hybrid", {"entity": HOST, "text": "many packets to a web server", "k": 20}),
            *(("explain", {"event_id": event_id}) for event_id in events),
            *(("novel", {"days": 2, "index": index, "percentile": 90}) for index in INDICES),
            ("timeline", {"host": HOST}),
            ("timeline", {"host": f"{HOST}@{LATE}", "filters": {"protocol": "tcp"}}),
            ("campaigns", {"k": 1000}),
            *(("campaigns", {"event_id": event_id}) for event_id in events),
            *(("get", {"event_id": event_id}) for event_id in events),
            ("list", {"limit": 500}),
            ("list", {"limit": 30, "order": "oldest", "filters": {"since": LATE}}),
            ("feedback", {}),
            ("feedback", {"event_id": events[0]}),
            ("days", {}),
            ("stats", {}),
        ]

    def close(self) -> None:
        self._log.close()


NEED_MODELS = ("search", "hybrid", "explain")
INDICES = ("fused", "attack", "semantic", "temporal")


@pytest.fixture
def story(world: Any) -> Iterator[Story]:
    made = Story(world)
    yield made
    made.close()


def _asked(ask: Any, op: str, args: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is about the moment of answering, not about what was found."""
    return _plain(ask[op](dict(args), SOON))


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    answer["receipt"].pop("took_ms")
    answer.pop("replica", None)
    return answer


def _named_now(ask: Any) -> str:
    """What is seen now, as receipts name it."""
    return str(ask["list"]({}, SOON)["receipt"]["as_of"])


def _bytes(answer: Mapping[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(answer)
    return packed


def test_every_operation_that_looks_at_events_can_be_asked_again(story: Story) -> None:
    """All take `as_of` but `ping`, and the questions of these tests are of all of them."""
    assert {name for name, one in OPERATIONS.items() if AS_OF in one.arguments} == set(OPERATIONS) - {PING}
    asked = {op for op, _ in story.questions()}
    assert asked == set(OPERATIONS) - {PING}, "a new operation has a question in `Story.questions`"


def test_the_same_answers_after_everything_has_changed(
    story: Story, replica: Any, small_embedder: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """New events, late ones in a new generation, other models, new days and remarks change no answer as of before."""
    ask = replica(story.world)
    before = [(op, args, _asked(ask, op, args)) for op, args in story.questions()]
    story.go_on(small_embedder)
    until(lambda: _named_now(ask).startswith("2026-01-20:1a2 21:2s2+3=30 22+1=70 23:1 remarks=5 #"))
    for op, args, then in before:
        again = _asked(ask, op, {**args, "as_of": then["receipt"]["as_of"]})
        assert _bytes(again) == _bytes(then), (op, args)
    changed = [op for op, args, then in before if _bytes(_asked(ask, op, args)) != _bytes(then)]
    assert {"similar", "search", "list", "days", "stats", "feedback"} <= set(changed), (
        "the test changes enough"
    )


def _events(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hits of an answer, or the examples of its groups."""
    grouped = [hit for group in answer.get("groups", ()) for hit in group["examples"]]
    return [*answer.get("hits", ()), *grouped]


def _models(ask: Any, day: str, index: str) -> str:
    found = {one["day"]: one for one in ask["days"]({}, SOON)["days"]}
    return str(found[day]["indices"][index]["model"]).partition("@")[2]


def test_another_replica_gives_the_same_answers(story: Story, replica: Any) -> None:
    """What one replica answered, one that starts later and has grown with nothing answers byte for byte, as of then."""
    first = replica(story.world)
    answers = [(op, args, _asked(first, op, args)) for op, args in story.questions()]
    story.more()
    second = replica(story.world)
    for op, args, then in answers:
        again = _asked(second, op, {**args, "as_of": then["receipt"]["as_of"]})
        assert _bytes(again) == _bytes(then), (op, args)


def test_two_processes_give_the_same_answers(
    story: Story, start_replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer depends on the order of sets, which differs from process to process."""
    questions = [(op, args) for op, args in story.questions() if op not in NEED_MODELS]
    answers: list[list[dict[str, Any]]] = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        endpoint = start_replica(story.world.state.root).ready()["endpoint"]
        as_of = [one["receipt"]["as_of"] for one in answers[0]] if answers else [None] * len(questions)
        with zmq.Context() as context, Client(FixedReplicas([endpoint]), context) as client:
            answers.append(
                [
                    _plain(client.ask(op, {**args, "as_of": name}))
                    for (op, args), name in zip(questions, as_of, strict=True)
                ]
            )
    for question, one, other in zip(questions, *answers, strict=True):
        assert _bytes(one) == _bytes(other), question


def test_a_receipt_says_what_cannot_be_repeated(story: Story, replica: Any) -> None:
    """Answers from sealed days can be asked again; those that compare hours, or hosts, of an open day say why not."""
    ask = replica(story.world)

    def doubts(op: str, **args: Any) -> list[str]:
        receipt = ask[op](args, SOON)["receipt"]
        assert receipt["repeatable"] is not bool(receipt["unrepeatable"])
        return list(receipt["unrepeatable"])

    event = story.event(FIRST)
    assert doubts("list") == doubts("stats") == doubts("similar", event_id=event, index="attack") == []
    assert doubts("similar", event_id=event, filters={"days": [FIRST, LATE]}) == []
    assert doubts("similar", event_id=event) == [
        f"{OPEN} is open, and late events change the hours that temporal compares"
    ]
    assert doubts("similar", event_id=story.event(OPEN), index="temporal", filters={"days": FIRST}) != []
    assert doubts("similar", host=f"{HOST}@{FIRST}", index="entity", filters={"days": FIRST}) == []
    assert doubts("similar", host=f"{HOST}@{FIRST}", index="entity") == [
        f"the hosts of {OPEN}, which is open, are those that the model in use makes"
    ]


def test_a_damaged_day_is_a_doubt(story: Story, replica: Any) -> None:
    """What lacks a day that could not be read may have another answer when the day is whole."""
    pointer = story.world.state.day(FIRST).current
    story.world.disk.write_file(pointer, b"000007\n")
    receipt = replica(story.world)["list"]({}, SOON)["receipt"]
    assert receipt["unrepeatable"] == [f"not all of {FIRST} could be read"]


def test_rows_that_were_sealed_since_are_refused(
    story: Story, replica: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """Rows of an open day lie in another order when it is sealed: a clear sentence instead of another answer."""
    ask = replica(story.world)
    as_of = _named_now(ask)
    assert f"{OPEN[8:]}+1=40" in as_of
    story.world.seal(OPEN)
    until(lambda: ask["days"]({}, SOON)["days"][-1]["state"] == "sealed")
    with pytest.raises(NotFound, match=f"Segment 1 of {OPEN} is no longer open: its 40 rows are sealed"):
        ask["list"]({"as_of": as_of}, SOON)
    assert len(ask["list"]({"limit": 500}, SOON)["events"]) == 150


def test_what_is_retired_is_refused(
    story: Story, replica: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """The generation before the served one is there; of the one before that a sentence says that it is not."""
    ask = replica(story.world)
    moments = [_named_now(ask)]
    for segment in (2, 3):
        story.more(LATE, segment, 5)
        story.world.seal(LATE, segment)
        until(lambda: ask["stats"]({}, SOON)["receipt"]["generations"][LATE] == segment)  # noqa: B023 - called at once
        moments.append(_named_now(ask))
    assert [
        ask["list"]({"as_of": as_of, "limit": 500}, SOON)["receipt"]["rows"] for as_of in moments[1:]
    ] == [
        155,
        160,
    ]
    with pytest.raises(
        NotFound, match=f"Generation 1 of {LATE}, or a version of its indices .* is no longer"
    ):
        ask["list"]({"as_of": moments[0]}, SOON)


def test_a_version_taken_back_and_forth_is_found(
    story: Story, replica: Any, small_embedder: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """As of either version of an index the answer is that of this version, whichever serves."""
    ask = replica(story.world)
    question = {"event_id": story.event(FIRST), "index": "attack", "filters": {"days": FIRST}}
    old = _asked(ask, "similar", question)
    story.reindex(FIRST, "attack", small_embedder("attack", "l2", 2))
    until(lambda: _models(ask, FIRST, "attack") != _models(ask, LATE, "attack"))
    now = _named_now(ask)
    assert now.startswith("2026-01-20:1a2 21:1 22+1=40 ")
    roll_back(story.world.state.day(FIRST), "attack", story.world.disk)
    until(lambda: _models(ask, FIRST, "attack") == _models(ask, LATE, "attack"))
    assert _bytes(_asked(ask, "similar", {**question, "as_of": old["receipt"]["as_of"]})) == _bytes(old)
    other = _asked(ask, "similar", {**question, "as_of": now})
    assert {hit["model"] for hit in _events(other)} == {"attack@000000000002"}
    assert {hit["model"] for hit in _events(old)} == {"attack@000000000001"}


@pytest.mark.parametrize("check", ["0" * 12, ""])
def test_the_check_tells_other_content_under_the_same_numbers(story: Story, replica: Any, check: str) -> None:
    """A name whose digits do not fit what is there is refused; without digits the numbers alone count."""
    ask = replica(story.world)
    as_of, _, _ = _named_now(ask).partition(" remarks")
    if not check:
        assert ask["stats"]({"as_of": as_of}, SOON)["rows"] == 150
        return
    with pytest.raises(NotFound, match="is not there as it was"):
        ask["stats"]({"as_of": f"{as_of} #{check}"}, SOON)


def test_days_and_rows_that_never_were_are_refused(story: Story, replica: Any) -> None:
    """A name of what is not there is refused: at once what can never come, after a while what another may have seen."""
    ask = replica(story.world)
    with pytest.raises(NotFound, match="Generation 9 of 2026-01-20"):
        ask["list"]({"as_of": "2026-01-20:9"}, SOON)
    with pytest.raises(NotFound, match="Segment 1 of 2031-01-01 is no longer open"):
        ask["list"]({"as_of": "2031-01-01+1=5"}, SOON)
    with pytest.raises(UsageError, match="'as_of' must be what"):
        ask["list"]({"as_of": "last Tuesday"}, SOON)
    for not_yet in (f"{OPEN}+1=41", f"{FIRST}:1 remarks=9"):
        with pytest.raises(RequestError, match="does not see all of") as said:
            ask["list"]({"as_of": not_yet}, Deadline.after(30))
        assert said.value.code == "unavailable", "so that a client asks another replica"


def test_rows_that_come_while_it_waits_are_seen(story: Story, replica: Any) -> None:
    """A replica that is a moment behind the one that gave the receipt waits for the rows."""
    ask = replica(story.world)
    later = threading.Timer(0.1, lambda: story.more(count=1))
    later.start()
    try:
        assert ask["stats"]({"as_of": f"{OPEN}+1=41"}, SOON)["rows"] == 41
    finally:
        later.join()


def test_a_damaged_past_is_a_sentence(
    story: Story, replica: Any, small_embedder: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """Where a file of a past version was changed the question as of then is refused, and those of now go on."""
    ask = replica(story.world)
    as_of = _named_now(ask)
    story.reindex(FIRST, "attack", small_embedder("attack", "l2", 2))
    until(lambda: _models(ask, FIRST, "attack") != _models(ask, LATE, "attack"))
    rows: Path = story.world.state.day(FIRST).generation(1).index_version("attack", 1) / "rows.bin"
    rows.chmod(0o644)
    rows.write_bytes(bytes(rows.stat().st_size))
    with pytest.raises(
        AppiaError, match=f"What 'as_of' names of {FIRST} cannot be read: .*rows.bin was changed"
    ):
        ask["list"]({"as_of": as_of}, SOON)
    assert ask["stats"]({}, SOON)["rows"] == 150


def test_few_pasts_stay_open(
    story: Story, follow: Any, small_embedder: Any, until: Callable[[Callable[[], bool]], None]
) -> None:
    """Files of the past are shared by the moments that need them, and closed when other ones were asked for."""
    catalog = follow(story.world)
    moments = []
    for _ in range(KEPT_MOMENTS + 3):
        with catalog.lease() as snapshot:
            moments.append(snapshot.as_of)
        story.more(count=1)
        until(lambda: _newest(catalog) != moments[-1])
    story.reindex(FIRST, "attack", small_embedder("attack", "l2", 2))
    until(lambda: ":1a2" in _newest(catalog))
    for count, moment in enumerate(moments):
        with catalog.lease_past(moment, SOON) as snapshot:
            assert snapshot.rows == 150 + count
            assert snapshot.as_of == moment
            assert snapshot.is_past
    assert len(catalog._past._readers) == 1
    assert len(catalog._past._held) == KEPT_MOMENTS
    now = _newest(catalog)
    for extra in range(KEPT_MOMENTS):
        with catalog.lease_past(
            f"{LATE}:1 remarks={extra % 2}" if extra < 2 else now.partition(" #")[0], SOON
        ):
            pass
    reader, _ = next(iter(catalog._past._readers.values()))
    for day in (LATE, FIRST):
        with catalog.lease_past(f"{day}:1{'a2' if day == FIRST else ''}", SOON):
            pass
    assert catalog._past._readers == {}
    assert reader._events._closed


def _newest(catalog: Any) -> str:
    with catalog.lease() as snapshot:
        return str(snapshot.as_of)


def test_questions_of_then_and_now_side_by_side(story: Story, replica: Any, small_embedder: Any) -> None:
    """Several threads ask as of before while days are sealed and change: every answer is the first one."""
    ask = replica(story.world)
    args = {"event_id": story.event(FIRST), "index": "attack", "filters": {"days": [FIRST, LATE]}, "k": 20}
    then = _asked(ask, "similar", args)
    as_of = f"{then['receipt']['as_of'].partition(' 22+1')[0]} remarks=1"
    then["receipt"]["as_of"] = then["receipt"]["newest_event"] = None
    found: set[bytes] = set()
    done = threading.Event()

    def go() -> None:
        while not done.is_set():
            answer = _asked(ask, "similar", {**args, "as_of": as_of})
            answer["receipt"]["as_of"] = answer["receipt"]["newest_event"] = None
            found.add(_bytes(answer))
            ask["similar"](dict(args), SOON)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        story.go_on(small_embedder)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert found == {_bytes(then)}


def test_the_moment_of_asking_is_named_where_it_counts(story: Story, follow: Any) -> None:
    """A question whose words mean a time is asked again as if at the same moment; another names no moment."""
    clock = [1_769_000_000_000_000_000]

    def search(_snapshot: Any, question: Any) -> dict[str, Any]:
        relative = {"since": question.values["now"]} if "yesterday" in question.values["text"] else {}
        return {"understood": {"filters": relative}}

    own = Replica("rag-7", 42, "0.0", 0.0)
    surroundings = Surroundings(now_ns=lambda: clock[0])
    answers = dict.fromkeys(OPERATIONS, search)
    ask: Any = Operations(follow(story.world), answers, own, surroundings).handlers()
    then = _asked(ask, "search", {"text": "yesterday"})
    moment = read_moment(then["receipt"]["as_of"])
    assert moment.now == then["understood"]["filters"]["since"] == "2026-01-21T12:53:20.000000Z"
    clock[0] += 86_400 * 10**9
    assert _bytes(_asked(ask, "search", {"text": "yesterday", "as_of": moment.to_text()})) == _bytes(then)
    assert _asked(ask, "search", {"text": "yesterday"}) != then
    assert " now=" not in ask["search"]({"text": "scans"}, SOON)["receipt"]["as_of"]
    assert " now=" not in ask["search"]({"text": "yesterday", "now": "2026-01-22"}, SOON)["receipt"]["as_of"]
