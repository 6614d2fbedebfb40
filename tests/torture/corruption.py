"""Suite `corruption`: bits flip and files are cut, in every kind of file that lies in a state directory.

What is sealed carries its hashes: any change is noticed before anything is mapped, by readers and by `appia verify`,
and takes no other index or day with it. Logs carry checksums: what is damaged is named, what is not is still there, and
a start goes on. The columns and vectors of an open day carry none, because they are made again from the log: a change
in them ends no process, and is gone when the day is sealed.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
from torture.calls import Tape
from torture.crash import MEMORY, life
from torture.oracle import look_at_generation, look_at_segment
from torture.suite import Outcome, Suite
from torture.workload import NOON, Process, World, make_event, served

from services.common.days.chunk import IDENTITIES
from services.common.days.manifest import MANIFEST
from services.common.days.names import INDICES, StateNames
from services.common.days.verify import verify_day
from services.common.errors import AppiaError
from services.common.feedback.follower import FeedbackFollower
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from torture.suite import Budget

RESTART_EVERY, SEAL_EVERY = 20, 60


@dataclass(frozen=True)
class File:
    """A file of the state directory as it should be."""

    path: Path
    data: bytes
    kind: str  # "sealed", "log", "derived", "pointer" or "other"
    day: str


def damage(data: bytes, luck: random.Random) -> bytes:
    """One of the ways in which disks and people damage files."""
    changed = bytearray(data)
    at = luck.randrange(len(data))
    way = luck.choice(("flip", "flip", "flip", "byte", "cut", "empty", "longer", "zeroes", "moved"))
    if way == "flip":
        changed[at] ^= 1 << luck.randrange(8)
    elif way == "byte":
        changed[at] = luck.randrange(256)
    elif way == "cut":
        del changed[at:]
    elif way == "empty":
        changed.clear()
    elif way == "longer":
        changed += luck.randbytes(luck.randint(1, 600))
    elif way == "zeroes":
        end = min(at + luck.choice((8, 512, 4096)), len(data))
        changed[at:end] = bytes(end - at)
    else:
        piece = changed[at : at + 512]
        del changed[at : at + 512]
        place = luck.randrange(len(changed) + 1)
        changed[place:place] = piece
    return bytes(changed)


class Ruin:
    """A state directory of sealed and open days, in which one file after the other is damaged and made whole again."""

    def __init__(self, budget: Budget, home: Path) -> None:
        """Fill it in the folder `home`."""
        faiss.omp_set_num_threads(1)
        self._budget, self._home = budget, home
        self.world = World(StateNames(home / "state"))
        luck = budget.random(-1)
        for _ in range(2):
            life(self.world, SystemCalls(), Tape(home), luck)
        process = Process(self.world, SystemCalls())
        self._open_events = [make_event(f"open-{i}", NOON + i) for i in range(7)]
        process.take(self._open_events)
        process.index()
        process.end()
        self._copy = home / "copy"
        shutil.copytree(self.world.state.root, self._copy)
        self._sealed = {day: self._look(day) for day in self._days()}
        self.files = list(self._list())
        self.failed_questions = 0
        self._kinds = sorted({file.kind for file in self.files})

    def _days(self) -> list[str]:
        return [day for day in self.world.state.days() if served(self.world.state, day)]

    def _look(self, day: str) -> tuple[list[bytes], list[str]]:
        return look_at_generation(self.world, day, served(self.world.state, day))

    def _list(self) -> Iterator[File]:
        state = self.world.state
        for path in sorted(state.root.rglob("*")):
            if path.is_file() and path.stat().st_size and "registry" not in path.parts:
                kind, day = self._kind(path)
                if kind:
                    yield File(path, path.read_bytes(), kind, day)

    def _kind(self, path: Path) -> tuple[str, str]:
        """Its kind and its day; no kind for what readers do not open: old generations, and the list of identities.

        A manifest is what others are compared with; that it was not changed is what the chain of days is for.
        """
        parts = path.relative_to(self.world.state.root).parts
        if parts[0] != "days":
            return ("log" if path.suffix == ".log" else "other"), ""
        if path.name == "CURRENT":
            return "pointer", parts[1]
        if parts[2] == "sealed":
            number = f"{served(self.world.state, parts[1]):06d}"
            unread = number not in parts or path.name in {IDENTITIES, MANIFEST}
            return ("" if unread else "sealed"), parts[1]
        return ("log" if path.suffix == ".log" else "derived"), parts[1]

    def round(self, number: int, outcome: Outcome) -> None:
        """Damage a file, look what happens, make it whole."""
        luck = self._budget.random(number)
        kind = luck.choice(self._kinds)
        file = luck.choice([file for file in self.files if file.kind == kind])
        changed = damage(file.data, luck)
        outcome.rounds += 1
        if changed == file.data:
            outcome.count("as it was")
            return
        outcome.count(kind)
        mode = file.path.stat().st_mode
        file.path.chmod(0o640)
        file.path.write_bytes(changed)
        told = [*self._judge(file, luck)]
        if kind in {"log", "derived", "other"} and luck.randrange(RESTART_EVERY) == 0:
            outcome.count("started over it")
            told += self._start_over(file, changed, seal=luck.randrange(SEAL_EVERY // RESTART_EVERY) == 0)
            shutil.rmtree(self.world.state.root)
            shutil.copytree(self._copy, self.world.state.root)
        else:
            file.path.write_bytes(file.data)
            file.path.chmod(mode)
        for sentence in told:
            place = file.path.relative_to(self.world.state.root)
            outcome.fault(number, f"{place} ({len(file.data)} bytes) damaged: {sentence}")

    def _judge(self, file: File, luck: random.Random) -> Iterator[str]:
        judges: dict[str, Callable[[File, random.Random], Iterator[str]]] = {
            "sealed": self._judge_sealed,
            "pointer": self._judge_pointer,
            "derived": self._judge_derived,
            "log": self._judge_log,
        }
        judge = judges.get(file.kind)
        if judge is not None:
            yield from judge(file, luck)

    def _judge_sealed(self, file: File, luck: random.Random) -> Iterator[str]:
        events, faults = self._look(file.day)
        if not faults:
            yield "no reader noticed"
        if events != self._sealed[file.day][0] and "chunk" not in file.path.parts:
            yield "an index took the events with it"
        if luck.random() < 0.1 and not verify_day(self.world.state.day(file.day)).faults:
            yield "appia verify did not notice"
        for day, whole in self._sealed.items():
            if day != file.day and luck.random() < 0.1 and self._look(day) != whole:
                yield f"{day} is another one now"

    def _judge_pointer(self, file: File, _luck: random.Random) -> Iterator[str]:
        """It leads nowhere, and that is said; or to a version that is there, whole."""
        with suppress(AppiaError):
            number = served(self.world.state, file.day)
            if number:
                events, faults = look_at_generation(self.world, file.day, number)
                lacking = [fault for fault in faults if not any(index in fault for index in INDICES)]
                if not lacking and not set(events) <= set(self._sealed[file.day][0]):
                    yield "other events are shown"

    def _judge_derived(self, file: File, _luck: random.Random) -> Iterator[str]:
        """No process ends by it: what is shown of the day may be wrong, or a question fail, until it is sealed."""
        names = self.world.state.day(file.day)
        for number in names.segments():
            try:
                look_at_segment(self.world, names.segment(number))
            except MemoryError as error:
                yield f"a reader ends with {type(error).__name__}: {error}"
            except Exception:  # noqa: BLE001 - one question fails, which a replica answers as such
                self.failed_questions += 1

    def _judge_log(self, file: File, luck: random.Random) -> Iterator[str]:
        """Whoever reads it comes to an end."""
        if "feedback" in file.path.parts:
            follower = FeedbackFollower(self.world.state)
            follower.poll()
        elif file.day and luck.random() < 0.3:
            verify_day(self.world.state.day(file.day))
        yield from ()

    def _start_over(self, file: File, changed: bytes, *, seal: bool) -> Iterator[str]:
        """The ingester starts or says why not; what lies elsewhere is as it was, and senders can send again."""
        try:
            process = Process(self.world, SystemCalls())
        except AppiaError as error:
            if file.kind != "other":
                yield f"the start ends with {error}"
            return
        except (OSError, ValueError, sqlite3.Error) as error:
            yield f"the start ends with {type(error).__name__}: {error}"
            return
        with closing(_Ending(process)):
            yield from self._goes_on(process, file, changed)
            if seal:
                yield from self._seals(process, file)

    def _goes_on(self, process: Process, file: File, changed: bytes) -> Iterator[str]:
        sealed = [event for day, (events, _) in self._sealed.items() if day != file.day for event in events]
        verdict = process.take([*sealed, make_event("after", NOON + 86_400 * 3)])
        if verdict.duplicates != len(sealed):
            yield f"of {len(sealed)} events of other days {len(sealed) - verdict.duplicates} are not known any more"
        verdict = process.take(self._open_events)
        if file.kind == "derived" and verdict.accepted:
            yield f"{verdict.accepted} events of the log are not known any more"
        is_named = bool(process.sentences or process.dead_letter.counts)
        if verdict.accepted and len(changed) >= len(file.data) and not is_named:
            yield f"{verdict.accepted} events were lost without a word"

    def _seals(self, process: Process, file: File) -> Iterator[str]:
        """After senders have sent again what they had, the sealed day is whole, whatever was damaged."""
        day = self.world.state.days()[-1] if not file.day else file.day
        if verify_day(self.world.state.day(day)).faults and file.kind != "derived":
            return  # a damaged stretch of a log stays named in the sealed day
        process.index()
        process.seal(day)
        if served(self.world.state, day):
            events, faults = look_at_generation(self.world, day, served(self.world.state, day))
            yield from faults
            wanted = Counter(event for event in self._open_events if file.kind == "derived")
            if wanted - Counter(events) and day == max(self._sealed):
                yield "events of the open day are not in the sealed one"


class _Ending:
    """Ends a process whatever state it is in."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def close(self) -> None:
        with suppress(AppiaError, OSError, ValueError, sqlite3.Error):
            self._process.end()


def run(budget: Budget) -> Outcome:
    """The rounds of a budget."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="appia-ruin-", dir=MEMORY if MEMORY.is_dir() else None) as home:
        ruin = Ruin(budget, Path(home))
        for number in budget.numbers(outcome):
            ruin.round(number, outcome)
        outcome.count("questions that failed", ruin.failed_questions)
    return outcome


SUITE = Suite(
    "corruption",
    "a damaged file is noticed, named, and takes nothing else with it",
    "damaged files",
    20_000,
    500_000,
    run,
)
