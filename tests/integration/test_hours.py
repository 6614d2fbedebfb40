"""The temporal index of an open day is that of the sealed day: events come shuffled, and the ingester is killed."""

from __future__ import annotations

import csv
import gzip
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from services.common.days.names import read_pointer
from services.common.days.open_reader import OpenSegmentReader
from services.common.days.sealed_reader import SealedReader
from services.common.rpc_client import RpcClient, RpcTimeout

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Stack = Any
    EndOf = Callable[[subprocess.Popen[str]], dict[str, Any]]

EVENTS = 3000
DAY = "2026-11-10"
KILLS = 3


def _shuffled(sample: Path, path: Path) -> Path:
    """Flows of the sample, spread over six hours of one day and written in no order."""
    with gzip.open(sample, "rt", newline="") as file:
        rows = list(csv.DictReader(file))[:EVENTS]
    chance = random.Random(5)
    for number, row in enumerate(rows):
        hour, rest = divmod(6 * 3600 * number // EVENTS, 3600)
        row["timestamp"] = f"{DAY} {9 + hour:02}:{rest // 60:02}:{rest % 60:02}.{number:06}"
    chance.shuffle(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _vectors(views: list[Any]) -> dict[str, NDArray[np.float32]]:
    """The temporal vector of each event."""
    found = {}
    for view in views:
        assert view.missing == {}
        ids = [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
        found.update({name: view.indices["temporal"].vector(row) for row, name in enumerate(ids)})
    return found


def _open_vectors(stack: Stack) -> dict[str, NDArray[np.float32]]:
    names = stack.names.day(DAY)
    readers = [OpenSegmentReader(DAY, names.segment(number)) for number in names.segments()]
    found = _vectors([reader.view() for reader in readers])
    for reader in readers:
        reader.close()
    return found


def _sealed_vectors(stack: Stack) -> dict[str, NDArray[np.float32]]:
    names = stack.names.day(DAY)
    reader = SealedReader(DAY, names.generation(read_pointer(names.current)))
    found = _vectors([reader.view()])
    reader.close()
    return found


def _is_settled(stack: Stack) -> bool:
    """Whether the ingester has indexed all it has, and made again what late events changed."""
    with zmq.Context() as context:
        client = RpcClient(context, stack.now.ingester.control)
        try:
            status = client.call("status", {}, 2.0)
        except RpcTimeout:
            return False
        finally:
            client.close()
    return not any(status["index_lag"].values()) and status["hours_due"] == 0


def test_shuffled_events_have_the_hours_of_the_sealed_day(
    start_stack: Callable[..., Stack],
    sample: Path,
    tmp_path: Path,
    end_of: EndOf,
    eventually: Callable[..., None],
) -> None:
    """Killed three times in the middle of a feed without order, the open day ends with the vectors of sealing."""
    stack = start_stack()
    flows = _shuffled(sample, tmp_path / "shuffled.csv")
    feeding = stack.feed("--format", "cicflowmeter", "--rate", "1000", str(flows))
    for _ in range(KILLS):
        pid = stack.now.ingester.pid
        time.sleep(0.6)
        os.kill(pid, signal.SIGKILL)
        eventually("it is back", lambda pid=pid: stack.now.ingester.pid != pid)
    assert end_of(feeding)["acknowledged"] == EVENTS
    assert stack.wait_for_rows(EVENTS) == {DAY: EVENTS}
    eventually("all hours are right", lambda: _is_settled(stack))
    found = _open_vectors(stack)
    stack.appia("seal", DAY)
    wanted = _sealed_vectors(stack)
    assert len(found) == len(wanted) == EVENTS
    assert set(found) == set(wanted)
    for name, vector in found.items():
        np.testing.assert_allclose(vector, wanted[name], rtol=0, atol=1e-4)
