"""How fast events get in and become visible, what that takes, how long sealing takes, how much disk it needs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.common import BenchError, Report, options, traffic_file
from benchmarks.processes import MIB, MemoryWatch, cpu_seconds, thread_seconds
from benchmarks.stack import (
    Feeding,
    Wanted,
    appia,
    client_of,
    day_bytes,
    endpoints,
    open_days,
    running_stack,
    wait_visible,
)

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from benchmarks.stack import Fed
    from services.cli.running import Running
    from services.rag.client import Client

SHOWN_THREADS = 8


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("ingest", __doc__ or "", 1_000_000)
    parser.add_argument("--vary", type=float, default=0.05, help="how much a round differs from the records")
    parser.add_argument(
        "--repeat", action="store_true", help="let `appia feed --repeat` send equal records instead"
    )
    parser.add_argument("--shift-days", type=float, default=0.002, help="time between rounds with --repeat")
    parser.add_argument("--replicas", type=int, default=1)
    given = parser.parse_args(argv)
    wanted = Wanted(traffic_file(given.input), given.events, 0.0 if given.repeat else given.vary, given.work)
    report = Report("ingest", {**wanted.facts(), "repeat": given.repeat, "replicas": given.replicas})
    feed = _what_to_feed(given, wanted)
    wanted.clear()
    with running_stack(wanted.state, given.replicas) as running, client_of(endpoints(running)) as client:
        fed = _ingest(report, running, client, (wanted.state, *feed))
        _seal(report, running, client, (wanted.state, fed.stored))
    wanted.mark_made()
    report.write(given.out)


def _what_to_feed(given: argparse.Namespace, wanted: Wanted) -> tuple[Path, tuple[str, ...]]:
    limit = ("--limit", str(given.events))
    if not given.repeat:
        return wanted.traffic(), limit
    return wanted.source, ("--repeat", str(given.events), "--shift-days", str(given.shift_days), *limit)


def _ingest(
    report: Report, running: Running, client: Client, what: tuple[Path, Path, tuple[str, ...]]
) -> Fed:
    state, source, more = what
    processes = {"ingester": running.ingester.pid} | {r.name: r.pid for r in running.replicas}
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    threads_before = thread_seconds(running.ingester.pid)
    with MemoryWatch(running.ingester.pid) as memory:
        feeding = Feeding(state, source, *more)
        while not feeding.is_over:
            time.sleep(0.05)
        fed = feeding.result()
        visible = wait_visible(client, fed.stored)
    spent = {name: round(cpu_seconds(pid) - before[name], 2) for name, pid in processes.items()}
    _tell_speed(report, fed, visible)
    _tell_memory(report, memory)
    _tell_cpu(report, {"feed": round(fed.cpu_s, 2), **spent}, fed.stored)
    _tell_threads(report, running.ingester.pid, threads_before)
    return fed


def _tell_speed(report: Report, fed: Fed, visible: float) -> None:
    stored, seconds = fed.stored, fed.ended - fed.started
    figure = {
        "stored": stored,
        "refused": fed.summary["refused"],
        "acknowledged_s": round(seconds, 2),
        "acknowledged_per_s": round(stored / seconds),
        "visible_s": round(visible - fed.started, 2),
        "visible_per_s": round(stored / (visible - fed.started)),
    }
    report.add(
        "speed",
        figure,
        f"{stored:,} events: {figure['acknowledged_per_s']:,} a second acknowledged (on disk), "
        f"{figure['visible_per_s']:,} a second visible in all indices",
    )


def _tell_memory(report: Report, memory: MemoryWatch) -> None:
    figure = {
        "max_mib": round(max(memory.resident) / MIB, 1),
        "last_mib": round(memory.resident[-1] / MIB, 1),
        "slope_mib_a_minute": round(memory.slope(), 2),
        "samples": len(memory.resident),
    }
    report.add(
        "ingester_resident",
        figure,
        f"ingester resident memory: at most {figure['max_mib']} MiB, "
        f"{figure['slope_mib_a_minute']:+g} MiB a minute over the second half ({figure['samples']} samples)",
    )


def _tell_cpu(report: Report, spent: dict[str, float], events: int) -> None:
    each = {name: round(seconds / events * 1e6, 1) for name, seconds in spent.items()}
    told = ", ".join(f"{name} {seconds:g} s ({each[name]:g} us an event)" for name, seconds in spent.items())
    report.add("cpu", {"seconds": spent, "us_an_event": each}, f"processor time: {told}")


def _tell_threads(report: Report, pid: int, before: dict[str, float]) -> None:
    after = thread_seconds(pid)
    spent = {name: round(seconds - before.get(name, 0.0), 2) for name, seconds in after.items()}
    busiest = sorted(spent.items(), key=lambda item: -item[1])[:SHOWN_THREADS]
    told = ", ".join(f"{name} {seconds:g} s" for name, seconds in busiest)
    report.add("ingester_threads", spent, f"ingester threads, processor time: {told}")


def _seal(report: Report, running: Running, client: Client, what: tuple[Path, int]) -> None:
    state, events = what
    open_bytes = day_bytes(state)
    days: dict[str, dict[str, Any]] = {}
    for day in open_days(client):
        started = time.monotonic()
        with MemoryWatch(running.ingester.pid, every_s=0.1) as memory:
            said = appia("seal", day, "--state", str(state))
        seconds = time.monotonic() - started
        peak = round(memory.child_peak / MIB, 1)
        days[day] = {"rows": said["rows"], "seconds": round(seconds, 2), "sealer_peak_mib": peak}
        if said["failed"]:
            raise BenchError(f"indices of {day} failed: {said['failed']}")
    _tell_sealing(report, days)
    sealed = {name: size for name, size in day_bytes(state).items() if name != "open"}
    each = {name: round(size / events, 1) for name, size in sealed.items()}
    figure = {
        "open_bytes_an_event": round(open_bytes["open"] / events, 1),
        "sealed_bytes_an_event": round(sum(sealed.values()) / events, 1),
        "sealed_by_part": each,
    }
    parts = ", ".join(f"{name} {size:g}" for name, size in each.items())
    report.add(
        "disk",
        figure,
        f"disk: {figure['open_bytes_an_event']:g} bytes an event while open, "
        f"{figure['sealed_bytes_an_event']:g} sealed ({parts})",
    )


def _tell_sealing(report: Report, days: dict[str, dict[str, Any]]) -> None:
    seconds = sum(day["seconds"] for day in days.values())
    rows = sum(day["rows"] for day in days.values())
    peak = max((day["sealer_peak_mib"] for day in days.values()), default=0.0)
    figure = {"days": days, "seconds": round(seconds, 2), "sealer_peak_mib": peak}
    rate = rows / seconds if seconds else 0.0
    report.add(
        "sealing",
        figure,
        f"sealing {len(days)} days with {rows:,} events: {seconds:.1f} s ({rate:,.0f} events a second), "
        f"sealer's peak memory {peak} MiB",
    )


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_ingest: {failed}")
