"""What must hold when the ingester starts after a cut, whatever the disk kept.

`Facts` are what was promised by then; `Oracle.judge` looks at one state of a disk: first as a replica would, then it
starts the ingester twice over it, and lets it go on. It gives the broken promises as sentences; none when all hold.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
from torture.calls import Chmod, Killed, Library, Mkdir, Open, RecordingCalls, Rename, Truncate, Unlink, Write
from torture.replay import Volume
from torture.workload import Kit, Process, World, make_event, served

from services.common.days.chunk_builder import iterate_blocks
from services.common.days.generations import sealed_through
from services.common.days.log import LogReader
from services.common.days.log_format import REFUSED, Damage
from services.common.days.names import EVENT_INDICES, day_of
from services.common.days.open_reader import OpenSegmentReader
from services.common.days.open_writer import SegmentLogReader
from services.common.days.opening import Opening
from services.common.days.sealed_reader import SealedReader
from services.common.days.verify import verify_day
from services.common.errors import AppiaError
from services.common.events.features import extract
from services.common.events.parse import Refused, parse_event
from services.common.feedback.follower import FeedbackFollower
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from torture.calls import Operation, Tape
    from torture.replay import Tree

    from services.common.days.names import OpenNames
    from services.common.days.view import SegmentView
    from services.common.rest.log_keys import LogKeys

UNREADABLE = (AppiaError, OSError, ValueError, RuntimeError, KeyError, TypeError, sqlite3.Error)
"""What a replica takes for damage of one day, and goes on: as in services/rag/day_files.py."""


@dataclass
class Facts:
    """What was promised, and what may be there beyond that."""

    handed: set[bytes] = field(default_factory=set)
    taken: set[bytes] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    remarked: set[str] = field(default_factory=set)
    sealed: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, what: Any) -> None:
        """Take in a note of the tape."""
        if kind == "sealed":
            self.sealed[what[0]] = max(what[1], self.sealed.get(what[0], 0))
        elif kind in {"told", "remarked"}:
            getattr(self, kind).add(what)
        else:
            getattr(self, kind).update(what)

    def copy(self) -> Facts:
        """The same, to add to."""
        return Facts(set(self.handed), set(self.taken), set(self.told), set(self.remarked), dict(self.sealed))


class Oracle:
    """Judges states. It remembers what it knows of files by their content, so that it looks at each only once."""

    def __init__(self, world: World) -> None:
        """Look at states of this world."""
        self._world = world
        self._folders: dict[tuple[str, int], Any] = {}
        self._days: dict[bytes, str] = {}

    def judge(self, tree: Tree, facts: Facts, tape: Tape) -> list[str]:
        """Judge the state that lies in the world's folder, which is `tree`; what is done is recorded on `tape`."""
        faults = [*self._as_a_replica(tree)]
        process: Process | None = None
        try:
            process = Process(self._world, RecordingCalls(tape), tape)
            faults += [fault for fault in process.sentences if "left alone" in fault]
            faults += self._visible(tree, process, facts)
            faults += self._promises(process, facts)
            if any(map(changes, tape.operations)):
                process.kill()
                first = len(tape.operations)
                process = Process(self._world, RecordingCalls(tape), tape)
                faults += _changed(tree, tape, first)
            faults += self._goes_on(process, facts)
        except (AppiaError, OSError, ValueError, sqlite3.Error) as error:
            faults.append(f"the start ends with {type(error).__name__}: {error}")
        finally:
            if process is not None:
                process.kill()
        return faults

    def _as_a_replica(self, tree: Tree) -> Iterable[str]:
        """Open every day as a replica does before the ingester has started again."""
        state = self._world.state
        for day in state.days():
            names = state.day(day)
            segments = names.segments()
            try:
                current = served(state, day)
                through = sealed_through(names, current) if current else 0
            except (AppiaError, OSError) as error:
                yield f"the pointer of {day} leads nowhere: {error}"
                continue
            if current:
                yield from self._generation(tree, day, current)[1]
            for number in segments:
                if number > through:
                    yield from self._segment(tree, names.segment(number))

    def _generation(self, tree: Tree, day: str, number: int) -> tuple[list[bytes], list[str]]:
        """The events of a generation, and what is wrong with it."""
        names = self._world.state.day(day).generation(number)
        key = _key(tree, f"{self._world.state.root.name}/days/{day}/sealed/{names.folder.name}/")
        if key not in self._folders:
            self._folders[key] = look_at_generation(self._world, day, number)
        return self._folders[key]  # type: ignore[no-any-return]

    def _segment(self, tree: Tree, names: OpenNames) -> list[str]:
        """What is wrong with what a replica is shown of an open segment."""
        place = f"{self._world.state.root.name}/days/{names.day.day}/open/{names.folder.name}/"
        key = _key(tree, place)
        if key not in self._folders:
            self._folders[key] = look_at_segment(self._world, names)
        return self._folders[key]  # type: ignore[no-any-return]

    def _day_of(self, payload: bytes) -> str:
        if payload not in self._days:
            try:
                self._days[payload] = day_of(parse_event(payload).event_timestamp.ToNanoseconds())
            except Refused:
                self._days[payload] = ""
        return self._days[payload]

    def _visible(self, tree: Tree, process: Process, facts: Facts) -> Iterable[str]:
        """What is acknowledged is there once, nothing else is but what was handed in, each at most once."""
        state = self._world.state
        found: Counter[bytes] = Counter()
        for day in state.days():
            current = served(state, day)
            events = list(self._generation(tree, day, current)[0]) if current else []
            for segment in process.recovered:
                if segment.day == day:
                    events += _logged(segment.names, segment.positions.tolist(), self._world.keys)
            found.update(events)
            yield from (
                f"an event of {self._day_of(e)} lies in {day}" for e in events if self._day_of(e) != day
            )
        events = {payload for payload in facts.taken if self._day_of(payload)}
        for payload in events - found.keys():
            yield f"{_name(payload)} was acknowledged and is lost"
        for payload, times in found.items():
            if payload not in facts.handed:
                yield f"{payload[:80]!r} was never handed in and is there"
            if times > 1:
                yield f"{_name(payload)} is there {times} times"

    def _promises(self, process: Process, facts: Facts) -> Iterable[str]:
        state = self._world.state
        kept = _dead_letters(self._world)
        refused = {payload for payload in facts.taken if not self._day_of(payload)}
        yield from (
            f"{payload[:20]!r} was refused, acknowledged, and is not kept" for payload in refused - kept
        )
        follower = FeedbackFollower(state, self._world.keys)
        follower.poll()
        there = {remark.feedback_id for _, remark in follower.page.newest_first()}
        yield from (f"{remark} was acknowledged and is lost" for remark in facts.remarked - there)
        yield from (f"{remark} was never said and is there" for remark in there - facts.told)
        yield from follower.faults
        yield from process.desk.faults
        for day, generation in facts.sealed.items():
            if served(state, day) < generation:
                yield f"{day} was sealed as generation {generation}, and {served(state, day)} is served"

    def _goes_on(self, process: Process, facts: Facts) -> Iterable[str]:
        """Senders send all of it again, and something new; the desk takes a remark."""
        again = sorted(payload for payload in facts.handed if self._day_of(payload))
        new = [
            make_event(f"new-{len(facts.handed)}-{number}", 1_769_040_000 - 86_400 * number)
            for number in (0, 1)
        ]
        verdict = process.take([*again, *new])
        if verdict.accepted + verdict.duplicates != len(again) + 2 or verdict.accepted < 2:
            yield f"after the start the intake says {verdict} of {len(again)} known events and 2 new ones"
        if sum(verdict.refused.values()):
            yield f"after the start events are refused: {dict(verdict.refused)}"
        process.remark(1_000_000)

    def live(self, tape: Tape, facts: Facts, luck: random.Random) -> None:
        """Start over the state in the folder and go on, maybe killed at some operation and started once more."""
        for kill_after in (luck.choice((None, luck.randint(0, 60))), None):
            process = None
            try:
                process = Process(self._world, RecordingCalls(tape, kill_after), tape)
                again = sorted(payload for payload in facts.handed if self._day_of(payload))
                process.take(luck.sample(again, luck.randint(0, len(again))))
                process.take([make_event("between", 1_769_040_000)])
                process.remark(2_000_000)
                process.take(again)
            except Killed:
                continue
            except (AppiaError, OSError):
                return  # a fault of the state before, which is judged in rounds of its own
            finally:
                if process is not None:
                    process.kill()

    def deeper(self, facts: Facts) -> list[str]:
        """Let the state in the folder be indexed and sealed whole, and look at all of it."""
        process = Process(self._world, SystemCalls())
        try:
            return [*self._index_and_seal(process, facts)]
        except (AppiaError, OSError, ValueError, sqlite3.Error) as error:
            return [f"going on ends with {type(error).__name__}: {error}"]
        finally:
            process.end()

    def _index_and_seal(self, process: Process, facts: Facts) -> Iterable[str]:
        state = self._world.state
        process.index()
        yield from (f"an index fails: {facts}" for event, facts in process.reports if event == "index_failed")
        for segment in process.recovered:
            yield from look_at_segment(self._world, segment.names, whole=segment.rows)
        found: Counter[bytes] = Counter()
        for day in state.days():
            process.seal(day)
            if served(state, day):
                events, faults = look_at_generation(self._world, day, served(state, day))
                found.update(events)
                yield from faults
            yield from verify_day(state.day(day), self._world.keys).faults
        lost = {payload for payload in facts.taken if self._day_of(payload)} - found.keys()
        yield from (f"{_name(payload)} is lost by sealing" for payload in lost)
        yield from (f"{_name(payload)} is sealed {n} times" for payload, n in found.items() if n > 1)


def _changed(tree: Tree, tape: Tape, first: int) -> Iterable[str]:
    """What the operations from number `first` on change in what those before made of a tree."""
    if not any(map(changes, tape.operations[first:])):
        return
    volume = Volume(tree)
    volume.follow(tape.operations[:first])
    before = volume.now()
    volume.follow(tape.operations[first:])
    after = volume.now()
    for path in sorted(
        before.files.keys() ^ after.files.keys() | before.folders.keys() ^ after.folders.keys()
    ):
        yield f"the second start makes or removes {path}"
    for path in before.files.keys() & after.files.keys():
        if before.files[path] != after.files[path]:
            yield f"the second start changes {path}"


def changes(operation: Operation) -> bool:
    """Whether an operation changes what is on disk."""
    if isinstance(operation, Open):
        return operation.created or operation.cut
    return isinstance(operation, Write | Truncate | Rename | Unlink | Mkdir | Chmod | Library)


def touched(tape: Tape) -> set[str]:
    """The files that were opened or written."""
    found: set[str] = set()
    for operation in tape.operations:
        if isinstance(operation, Open | Chmod):
            found.add(operation.path)
    return found


def _key(tree: Tree, place: str) -> tuple[str, int]:
    files = ((path, hash(data)) for path, (data, _) in tree.files.items() if path.startswith(place))
    return place, hash(frozenset(files))


def look_at_generation(world: World, day: str, number: int) -> tuple[list[bytes], list[str]]:
    """The events of a generation, and what is wrong with what a replica is shown of it."""
    names = world.state.day(day).generation(number)
    events: list[bytes] = []
    faults: list[str] = []
    try:
        with closing(SealedReader(day, names, opening=Opening(keys=world.keys))) as reader:
            view = reader.view()
            faults += [f"{day} generation {number}: {name}: {why}" for name, why in view.missing.items()]
            events = [payload for block in iterate_blocks(reader.chunk) for payload in block]
            if len(events) != view.rows:
                faults.append(
                    f"{day} generation {number} says {view.rows} rows and holds {len(events)} events"
                )
            told = view.events.fetch(range(view.rows))
            ids = [parse_event(payload).event_id for payload in events]
            if [fields["event_id"] for fields in told] != ids:
                faults.append(f"{day} generation {number}: the database names other events than the log")
            faults += _wrong_vectors(view, events, world.kit)
    except UNREADABLE as error:
        faults.append(f"{day} generation {number} is served and torn: {type(error).__name__}: {error}")
    return events, faults


def look_at_segment(world: World, names: OpenNames, whole: int | None = None) -> list[str]:
    """What is wrong with what a replica is shown of an open segment.

    Nothing may be shown (the replica says so), but what is shown has to be right. With `whole`, all of so many rows has
    to be there in every index.
    """
    try:
        with closing(OpenSegmentReader(names.day.day, names, world.keys)) as reader:
            view = reader.view()
            positions = np.asarray(view.columns["position"]).tolist()
            events = [view.events.payload(position) for position in positions]
            faults = _wrong_vectors(view, events, world.kit)
            times = [parse_event(payload).event_timestamp.ToNanoseconds() for payload in events]
            if times != np.asarray(view.columns["time_ns"]).tolist():
                faults.append("the columns show other times than the events")
            if whole is not None:
                faults += [f"{name}: {why}" for name, why in view.missing.items()]
                told = [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
                if told != [parse_event(payload).event_id for payload in events] or len(events) != whole:
                    faults.append(f"{len(events)} of {whole} rows are shown, or the database names others")
    except UNREADABLE as error:
        return [] if whole is None else [f"{names.folder}: {type(error).__name__}: {error}"]
    return [f"{names.folder}: {fault}" for fault in faults]


def _wrong_vectors(view: SegmentView, events: list[bytes], kit: Kit) -> list[str]:
    """Indices that show other vectors than the models make of the events, of those that follow from one event alone."""
    faults = []
    for name in EVENT_INDICES:
        index = view.indices.get(name)
        if index is None or not index.rows:
            continue
        codes = np.arange(index.rows) if index.codes is None else np.asarray(index.codes)
        if codes.max() >= len(index.vectors):
            faults.append(f"{name} names vectors that there are not")
            continue
        shown = np.asarray(index.vectors)[codes]
        model = kit.embedder(name, index.spec.model_id)
        if name == "attack":
            wanted = model.embed(extract(events[: index.rows]).values)
        elif name == "semantic":
            wanted = model.embed([view.texts[n] for n in view.columns["narrative"][: index.rows].tolist()])
        else:
            continue
        if index.spec.metric == "cosine":
            shown, wanted = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (shown, wanted))
        if not np.allclose(shown, wanted, rtol=1e-4, atol=1e-4):
            faults.append(f"{name} shows vectors that its model does not make of these events")
    return faults


def _logged(names: OpenNames, positions: list[int], keys: LogKeys) -> list[bytes]:
    with closing(SegmentLogReader(names, keys)) as reader:
        return [payload for payload in map(reader.event, positions) if payload is not None]


def _dead_letters(world: World) -> set[bytes]:
    found: set[bytes] = set()
    for path in world.state.dead_letter.glob("refused-*.log"):
        try:
            with closing(LogReader(path, world.keys)) as reader:
                for record in reader.scan():
                    if not isinstance(record, Damage) and record.type == REFUSED:
                        found.add(msgpack.unpackb(record.payload)["data"])
        except AppiaError:
            continue  # its header was not on disk: nothing in it was acknowledged
    return found


def _name(payload: bytes) -> str:
    return str(parse_event(payload).event_id)
