"""A stack is backed up while it is fed and seals: what comes back has all acknowledged events once, and goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from services.common.backup.folder_store import FolderStore
from services.common.backup.restoring import RestoreTools, Restoring
from services.common.days.log import LogReader
from services.common.days.log_format import EVENT, Damage
from services.common.days.names import StateNames, read_pointer
from services.common.days.sealed_reader import SealedReader
from services.common.durable import Disk
from services.common.events.parse import parse_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Stack = Any
    EndOf = Callable[[subprocess.Popen[str]], dict[str, Any]]

APPIA = [sys.executable, "-m", "services.cli.main"]
FIRST, EVENTS = 1000, 4000
TRIES = 5


def _appia(*words: str) -> dict[str, Any]:
    done = subprocess.run([*APPIA, *words, "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), words
    return dict(json.loads(done.stdout))


def _ids(names: StateNames) -> Counter[str]:
    """How often each event is in a state directory that nobody has started on yet."""
    found: Counter[str] = Counter()
    for day in map(names.day, names.days()):
        current, through = read_pointer(day.current), 0
        if current is not None:
            with closing(SealedReader(day.day, day.generation(current))) as sealed:
                view, through = sealed.view(), sealed.through_segment
                found.update(str(fields["event_id"]) for fields in view.events.fetch(range(view.rows)))
        for segment in (day.segment(number) for number in day.segments() if number > through):
            for number in segment.logs():
                with closing(LogReader(segment.log(number))) as log:
                    for record in log.scan():
                        assert not isinstance(record, Damage)
                        assert record.type == EVENT
                        found[parse_event(record.payload).event_id] += 1
    return found


def _begin_and_kill(store: Path, state: Path) -> None:
    """Kill -9 a backup when its first pieces are there, and see that it made none."""
    for _ in range(TRIES):
        command = [*APPIA, "backup", str(store), "--state", str(state)]
        known = set(store.glob("snapshots/*.json"))
        pieces = len(list(store.glob("pieces/*/*")))
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            while len(list(store.glob("pieces/*/*"))) == pieces and process.poll() is None:
                time.sleep(0.001)
            process.kill()
            process.communicate()
        if process.returncode == -signal.SIGKILL and set(store.glob("snapshots/*.json")) == known:
            return
    raise AssertionError(f"{TRIES} backups were done before they could be killed")


def test_backups_of_a_stack_at_work_have_every_acknowledged_event_once_and_go_on(
    start_stack: Callable[..., Stack],
    sample: Path,
    end_of: EndOf,
    read_ids: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    """One is killed, the others are made while a feed sends and its day is sealed; each is restored and looked at."""
    stack, store = start_stack(), tmp_path / "store"
    state, fed = stack.names.root, read_ids("cicflowmeter", sample)[:EVENTS]
    end_of(stack.feed("--format", "cicflowmeter", "--limit", str(FIRST), str(sample)))
    _begin_and_kill(store, state)
    feeding = stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), "--rate", "1000", str(sample))
    (day,) = stack.names.days()
    command = [*APPIA, "seal", day, "--state", str(state), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sealing:
        made = [_appia("backup", str(store), "--state", str(state), "--keys") for _ in range(2)]
        assert json.loads(sealing.communicate()[0])["failed"] == {}
    made.append(_appia("backup", str(store), "--state", str(state), "--keys"))
    assert end_of(feeding)["acknowledged"] == EVENTS
    for number, backup in enumerate(made):
        target = tmp_path / f"restored-{number}"
        _restore(store, backup, target)
        found = _ids(StateNames(target))
        assert found.total() == sum(backup["rows"].values())
        assert set(found.values()) == {1}
        assert set(fed[:FIRST]) <= set(found) <= set(fed)
    _goes_on(type(stack)(target, *stack._options), sample, end_of, Counter(fed))


def _restore(store: Path, backup: dict[str, Any], target: Path) -> None:
    places = FolderStore(Disk(), store)
    with places.reading():
        tools = RestoreTools(places, Disk(), lambda _done, _total: None)
        snapshot = places.snapshot(backup["backup"])
        restored = Restoring(snapshot, target, tools, despite_damage=False).run()
    assert (restored.faults, restored.missing, restored.rows) == ((), (), backup["rows"])


def _goes_on(restored: Stack, sample: Path, end_of: EndOf, expected: Counter[str]) -> None:
    """What was restored last takes the whole feed again: each event is there once, and is answered for."""
    try:
        done = end_of(restored.feed("--format", "cicflowmeter", "--limit", str(EVENTS), str(sample)))
        assert (done["acknowledged"], done["refused"]) == (EVENTS, {})
        assert done["duplicates"] >= FIRST
        assert sum(restored.wait_for_rows(EVENTS).values()) == EVENTS
        assert restored.ids() == expected
    finally:
        assert restored.end() == 0
