"""Processes are killed by kill -9 in the middle of a feed: what was acknowledged is there, each event once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Stack = Any
    EndOf = Callable[[subprocess.Popen[str]], dict[str, Any]]

EVENTS = 6000


def _expected(read_ids: Callable[..., list[str]], sample: Path) -> Counter[str]:
    ids = Counter(read_ids("cicflowmeter", sample)[:EVENTS])
    assert (len(ids), ids.total()) == (EVENTS, EVENTS)
    return ids


def _seal_all(stack: Stack) -> None:
    for day in stack.names.days():
        report = stack.appia("seal", day)
        assert (report["lost"], report["failed"]) == (0, {})


def test_an_ingester_that_is_killed_again_and_again_loses_and_doubles_nothing(
    start_stack: Callable[..., Stack],
    sample: Path,
    end_of: EndOf,
    read_ids: Callable[..., list[str]],
    eventually: Callable[..., None],
) -> None:
    """The supervisor starts it again, the feed ends well, and every event is visible once, open and sealed."""
    stack = start_stack()
    feeding = stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), "--rate", "1000", str(sample))
    kills = 0
    while feeding.poll() is None and kills < 4:
        pid = stack.now.ingester.pid
        time.sleep(0.35 + 0.2 * kills)
        os.kill(pid, signal.SIGKILL)
        kills += 1
        eventually("it is back", lambda pid=pid: stack.now.ingester.pid != pid)
    done = end_of(feeding)
    assert kills == 4
    assert (done["sent"], done["acknowledged"], done["refused"]) == (EVENTS, EVENTS, {})
    assert sum(stack.wait_for_rows(EVENTS).values()) == EVENTS
    expected = _expected(read_ids, sample)
    assert stack.ids() == expected
    stack.appia("verify")
    _seal_all(stack)
    assert stack.ids() == expected
    eventually("it is served sealed", lambda: {d["state"] for d in stack.appia("days")["days"]} == {"sealed"})
    assert sum(stack.rows().values()) == EVENTS
    stack.appia("verify")
    again = end_of(stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), str(sample)))
    assert again["duplicates"] == EVENTS, "a sealed day knows its events"


def test_a_whole_stack_that_is_killed_goes_on_where_it_was(
    start_stack: Callable[..., Stack],
    sample: Path,
    end_of: EndOf,
    read_ids: Callable[..., list[str]],
    eventually: Callable[..., None],
) -> None:
    """Killed with all its children while a feed sends; after a start at the same ports the feed ends well."""
    stack = start_stack("--replicas", "2")
    feeding = stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), "--rate", "2000", str(sample))
    for _ in range(2):
        before = stack.now
        eventually("something came", lambda: any(stack.names.root.glob("days/*/open/*/events-*.log")))
        time.sleep(0.7)
        stack.process.kill()
        stack.process.wait()
        pids = [before.ingester.pid, *(replica.pid for replica in before.replicas)]
        eventually("its children are gone", lambda pids=pids: not any(map(_is_alive, pids)))
        stack.start()
        assert stack.now.ingester.v2 == before.ingester.v2
    done = end_of(feeding)
    assert (done["sent"], done["acknowledged"], done["refused"]) == (EVENTS, EVENTS, {})
    assert sum(stack.wait_for_rows(EVENTS).values()) == EVENTS
    expected = _expected(read_ids, sample)
    assert stack.ids() == expected
    _seal_all(stack)
    assert stack.ids() == expected


def test_a_feed_that_is_killed_can_be_sent_again(
    start_stack: Callable[..., Stack],
    sample: Path,
    end_of: EndOf,
    read_ids: Callable[..., list[str]],
    eventually: Callable[..., None],
) -> None:
    """What its first half brought is known as duplicates; in the end each event is there once."""
    stack = start_stack()
    first = stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), "--rate", "1000", str(sample))
    eventually("something came", lambda: sum(stack.rows().values()) > 0)
    first.kill()
    first.communicate()
    done = end_of(stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), str(sample)))
    assert done["acknowledged"] == EVENTS
    assert 0 < done["duplicates"] < EVENTS
    stack.wait_for_rows(EVENTS)
    assert stack.ids() == _expected(read_ids, sample)


def test_a_stop_under_load_is_as_safe_as_a_kill(
    start_stack: Callable[..., Stack],
    sample: Path,
    end_of: EndOf,
    read_ids: Callable[..., list[str]],
) -> None:
    """Every process ends well in the middle of a feed, which goes on after the next start."""
    stack = start_stack()
    feeding = stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), "--rate", "4000", str(sample))
    time.sleep(1.0)
    assert stack.end(signal.SIGINT) == 0
    stack.start()
    assert end_of(feeding)["acknowledged"] == EVENTS
    stack.wait_for_rows(EVENTS)
    assert stack.ids() == _expected(read_ids, sample)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
