"""How long after its acknowledgement an event is found, in each index, while others come in at a steady rate.

A prober sends single events over a connection of its own, and from the acknowledgement on asks for them every
millisecond: `get`, and `similar` in each index. The questions go one after the other, so they are part of the times.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from benchmarks.common import BenchError, Report, options, percentiles, told, traffic_file
from benchmarks.stack import Feeding, Wanted, client_of, endpoints, running_stack
from services.common.days.names import EVENT_INDICES
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.rpc_client import RpcRefused
from services.common.wire.keys import DEFAULT_V2_CHANNEL, read_key_ring
from services.feed.readers import reader_of
from services.feed.readers.port import ReadOptions
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.running import Running
    from services.rag.client import Client

POLL_S = 0.001
GIVE_UP_S = 30.0
WARM_UP_S = 3.0
GET = "get"


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("visibility", __doc__ or "", 100_000)
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second beside the probes")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to probe")
    parser.add_argument("--every", type=float, default=0.25, help="seconds between probes")
    given = parser.parse_args(argv)
    needed = int(given.rate * (given.seconds + 2 * WARM_UP_S)) + 1
    wanted = Wanted(traffic_file(given.input), max(given.events, needed), 0.05, given.work)
    state = wanted.state.with_name(f"{wanted.state.name}-visibility")
    settings = {"rate": given.rate, "seconds": given.seconds, "input": wanted.source.name}
    report = Report("visibility", settings)
    source = wanted.traffic()
    with _fresh(state), running_stack(state) as running, client_of(endpoints(running)) as client:
        feeding = Feeding(state, source, "--rate", str(given.rate))
        time.sleep(WARM_UP_S)
        with _prober(running) as sender:
            events = _events(wanted.source)
            times = _probe(client, sender, events, (given.seconds, given.every))
        if feeding.is_over:
            raise BenchError("the feed ended before the probes did: give more --events")
        fed = feeding.stop()
    _tell(report, times, fed.stored / (fed.ended - fed.started))
    report.write(given.out)


@contextmanager
def _fresh(state: Path) -> Iterator[None]:
    shutil.rmtree(state, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(state, ignore_errors=True)


@contextmanager
def _prober(running: Running) -> Iterator[ReliableSender]:
    settings = ReliableSettings(
        running.ingester.v2, new_origin(DEFAULT_V2_CHANNEL), backfill=True, batch_events=1
    )
    ring = read_key_ring(Path(running.keys))
    with zmq.Context() as context, ReliableSender(context, settings, ring) as sender:
        yield sender


def _events(source: Path) -> Iterator[NetworkSecurityEvent]:
    """Events of the file, again and again, each with a name of its own."""
    numbers = itertools.count()
    while True:
        for item in reader_of("cicflowmeter").read(str(source), ReadOptions()):
            if isinstance(item, NetworkSecurityEvent):
                item.event_id = f"probe-{next(numbers)}"
                yield item


def _probe(
    client: Client, sender: ReliableSender, events: Iterator[NetworkSecurityEvent], pace: tuple[float, float]
) -> dict[str, list[float]]:
    """Milliseconds by what was asked, one for each probe; "ack" is from sending to the acknowledgement."""
    seconds, every_s = pace
    times: dict[str, list[float]] = {"ack": [], GET: [], **{index: [] for index in EVENT_INDICES}, "all": []}
    started = time.monotonic()
    for number in itertools.count():
        wait_s = started + number * every_s - time.monotonic()
        time.sleep(max(wait_s, 0.0))
        if time.monotonic() - started >= seconds:
            break
        event = next(events)
        sent = time.perf_counter()
        sender.send(event.SerializeToString(deterministic=True))
        sender.flush()
        acknowledged = time.perf_counter()
        times["ack"].append((acknowledged - sent) * 1000)
        for what, moment in _found(client, event.event_id).items():
            times[what].append((moment - acknowledged) * 1000)
    return times


def _found(client: Client, event_id: str) -> dict[str, float]:
    """The moment at which each question found the event, and "all" when the last did."""
    left = [GET, *EVENT_INDICES]
    found: dict[str, float] = {}
    until = time.perf_counter() + GIVE_UP_S
    while left:
        for what in tuple(left):
            if _is_there(client, event_id, what):
                found[what] = time.perf_counter()
                left.remove(what)
        if time.perf_counter() > until:
            raise BenchError(f"the event {event_id} was not found by {', '.join(left)} in {GIVE_UP_S:g} s")
        time.sleep(POLL_S if left else 0.0)
    return {**found, "all": max(found.values())}


def _is_there(client: Client, event_id: str, what: str) -> bool:
    try:
        if what == GET:
            client.get(event_id)
        else:
            client.similar(event_id, 5, what, flat=True)
    except RpcRefused as refused:
        if refused.code != "not_found":
            raise
        return False
    return True


def _tell(report: Report, times: dict[str, list[float]], rate: float) -> None:
    report.add("rate_per_s", round(rate, 1), f"beside the probes {rate:,.0f} events a second came in")
    for what, values in times.items():
        figure = percentiles(values)
        after = "from sending to acknowledgement" if what == "ack" else "from acknowledgement to answer"
        name = what if what in ("ack", "all", GET) else f"similar, {what}"
        report.add(what, figure, f"{name}: {after}: {told(figure)}")


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_visibility: {failed}")
