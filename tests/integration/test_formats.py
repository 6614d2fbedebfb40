"""Every format from a file to the replicas, with exact counts: read = acknowledged = served."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Stack = Any
    EndOf = Callable[[subprocess.Popen[str]], dict[str, Any]]


@pytest.fixture(scope="module")
def stack(start_stack: Callable[..., Stack]) -> Stack:
    return start_stack()


@pytest.fixture
def served(stack: Stack) -> Callable[[int], Counter[str]]:
    """Wait for so many more events than before the test; gives them by day, and fails if more come than that."""
    before = Counter(stack.rows())

    def wait(more: int) -> Counter[str]:
        stack.wait_for_rows(before.total() + more)
        grown = Counter(stack.rows()) - before
        assert grown.total() == more
        return grown

    return wait


@pytest.mark.parametrize(
    ("form", "name", "events"),
    [
        ("cicflowmeter", "java.csv", 2),
        ("cicflowmeter", "python.csv", 1),
        ("zeek-conn", "conn.log", 3),
        ("zeek-conn", "conn.json", 2),
        ("suricata-eve", "eve.json", 3),
    ],
)
def test_small_files_made_by_hand(  # noqa: PLR0917 - fixtures
    stack: Stack,
    served: Callable[[int], Counter[str]],
    feeds: Path,
    end_of: EndOf,
    read_ids: Callable[..., list[str]],
    form: str,
    name: str,
    events: int,
) -> None:
    """Everything that the reader finds is acknowledged and served; a second feed of the file adds nothing."""
    ids = read_ids(form, feeds / name)
    assert len(ids) == events
    done = end_of(stack.feed("--format", form, str(feeds / name)))
    assert (done["read"], done["sent"], done["acknowledged"], done["duplicates"]) == (events,) * 3 + (0,)
    served(events)
    again = end_of(stack.feed("--format", form, str(feeds / name)))
    assert (again["acknowledged"], again["duplicates"]) == (events, events)
    served(events)
    for event in ids:
        assert stack.appia("get", event)["fields"]["event_id"] == event


def test_lines_of_the_sensors_with_bad_ones_between(
    stack: Stack, served: Callable[[int], Counter[str]], feeds: Path
) -> None:
    """Two of five lines are events: the others are named with their reason, and the exit status says so."""
    feeding = stack.feed("--format", "mldefender-jsonl", str(feeds / "events.jsonl"))
    out, err = feeding.communicate(timeout=60)
    done = json.loads(out)
    assert feeding.returncode == 1
    assert (done["read"], done["sent"], done["acknowledged"]) == (5, 2, 2)
    assert done["refused"] == {"bad_json": 1, "no_event_timestamp": 1, "not_an_event": 1}
    assert [line.partition(": ")[0] for line in err.splitlines()] == [f"events.jsonl:{n}" for n in (3, 4, 5)]
    assert served(2) == {"2026-03-02": 2}


def test_files_of_one_event_each(
    stack: Stack, served: Callable[[int], Counter[str]], sample: Path, end_of: EndOf, tmp_path: Path
) -> None:
    """A folder of event_*.pb, as a sensor writes them, goes in with exactly the bytes of each file."""
    items = reader_of("cicflowmeter").read(str(sample), ReadOptions(node="pb"))
    events = [
        item for _, item in zip(range(20), items, strict=False) if isinstance(item, NetworkSecurityEvent)
    ]
    for number, event in enumerate(events):
        event.event_id = f"pb-{number}"
        (tmp_path / f"event_{number}.pb").write_bytes(event.SerializeToString(deterministic=True))
    done = end_of(stack.feed("--format", "mldefender-pb", str(tmp_path)))
    assert (done["read"], done["acknowledged"], done["refused"]) == (20, 20, {})
    served(20)
    assert stack.appia("get", "pb-7")["event"]["event_id"] == "pb-7"


@pytest.mark.parametrize(
    ("form", "path", "events", "days"),
    [
        ("zeek-conn", "zeek-ctu/008-conn.log.labeled.gz", 5_663, 2),
        ("zeek-conn", "zeek-ctu/011-conn.log.labeled.gz", 9_048, 2),
        ("suricata-eve", "suricata/eve-2021-06-06.json.gz", 3_512 + 322, 2),
        ("zeek-conn", "zeek-apt29/day1-combined.json.gz", 613, 1),
        ("cicflowmeter", "cicids2017/cicids2017-week.csv.gz", 39_422, 5),
    ],
)
def test_real_traffic(  # noqa: PLR0917 - fixtures
    stack: Stack,
    served: Callable[[int], Counter[str]],
    shared_data: Path,
    end_of: EndOf,
    form: str,
    path: str,
    events: int,
    days: int,
) -> None:
    """Real files to the last row: what is read is acknowledged, and what is acknowledged is served."""
    done = end_of(stack.feed("--format", form, str(shared_data / path)))
    assert (done["sent"], done["acknowledged"], done["refused"]) == (events, events, {})
    assert len(served(events - done["duplicates"])) == days
    assert done["duplicates"] == 0


def test_in_the_end_every_event_is_there_once(
    stack: Stack, feeds: Path, sample: Path, read_ids: Callable[..., list[str]]
) -> None:
    """Over all formats, read from the files that the replicas map, no event is twice."""
    ids = stack.ids()
    assert ids.total() == sum(stack.rows().values())
    for form, name in (("cicflowmeter", "java.csv"), ("zeek-conn", "conn.log"), ("suricata-eve", "eve.json")):
        assert all(ids[event] == 1 for event in read_ids(form, feeds / name))
    assert sample.exists()
