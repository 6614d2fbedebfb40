"""What a machine needs, by the number of events: disk, memory of each service, processor time. For docs/sizing.md.

A stack with one replica is fed in parts, asked every kind of question after each, and its memory is read; then its
days are sealed and backed up. Processor time is that of processes, so other work on the machine changes little.
`--docs docs/sizing.md` also writes the formula and the table into the guide.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import BenchError, Report, folder_bytes, machine_facts, options, traffic_file
from benchmarks.processes import MIB, MemoryWatch, cpu_seconds, own_seconds, shares, status_bytes
from benchmarks.sizing import Costs, Needs, Sizes, filled, line_through
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
from services.common.days.names import StateNames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.cli.running import Running
    from services.rag.client import Client

PARTS = (0.05, 0.2, 0.5, 1.0)
"""After which shares of the events memory is read."""
SERVICES = ("ingester", "replica", "health")
SETTLING_S = 1.0

Point = tuple[float, float]


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("sizing", __doc__ or "", 1_000_000)
    parser.add_argument("--vary", type=float, default=0.05, help="see bench_ingest")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="the guide to write the figures into")
    given = parser.parse_args(argv)
    source = traffic_file(given.input)
    wanted = Wanted(source, given.events, given.vary, given.work / "sizing")
    report = Report("sizing", wanted.facts())
    wanted.clear()
    shutil.rmtree(wanted.work / "backup", ignore_errors=True)
    with running_stack(wanted.state) as running, client_of(endpoints(running)) as client:
        needs = _measure(report, wanted, running, client)
    wanted.clear()
    report.figures["needs"] = asdict(needs)
    report.write(given.out)
    if given.docs is not None:
        given.docs.write_text(filled(given.docs.read_text("utf-8"), needs, said(wanted)), "utf-8")


def said(wanted: Wanted) -> str:
    """When and on what it was measured, for the guide."""
    facts = machine_facts()
    return (
        f"Measured on {facts['date'][:10]} with {wanted.events:,} events made from `{wanted.source.name}`; "
        f"{facts['cpu']}, Python {facts['python']}, commit {facts['commit']}."
    )


def _measure(report: Report, wanted: Wanted, running: Running, client: Client) -> Needs:
    pids = _processes(running)
    memory, spent = _feed(report, wanted, pids, client)
    events = int(client.stats()["rows"])
    opened = _open_bytes(wanted.state)
    sealer, spent["sealer"] = _seal(report, wanted, pids["ingester"], client)
    each = {name: round(seconds / events * 1e6, 1) for name, seconds in spent.items()}
    costs = Costs(each["feed"], each["ingester"], each["sealer"], each["replica"])
    told = ", ".join(f"{name} {us:g}" for name, us in asdict(costs).items())
    report.add("cpu_us", asdict(costs), f"processor, microseconds an event: {told}")
    lines = {name: line_through(memory[name]) for name in SERVICES}
    sizes = _sizes(report, wanted, opened, events)
    return Needs(
        events, sizes, costs, lines["ingester"], line_through(sealer), lines["replica"], lines["health"]
    )


def _processes(running: Running) -> dict[str, int]:
    """The process of each service.

    Raises:
        BenchError: the stack runs no health service.
    """
    health = next((pid for pid in _below(running.pid) if b"services.health.main" in _command(pid)), None)
    if health is None:
        raise BenchError("the stack runs no health service")
    return {"ingester": running.ingester.pid, "replica": running.replicas[0].pid, "health": health}


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _command(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def _feed(
    report: Report, wanted: Wanted, pids: Mapping[str, int], client: Client
) -> tuple[dict[str, list[Point]], dict[str, float]]:
    """Memory of each service after each part, and the seconds of a processor that it took, without the questions."""
    found: dict[str, list[Point]] = {name: [] for name in SERVICES}
    spent = dict.fromkeys(("feed", *SERVICES), 0.0)
    stored = 0
    for part in _parts(wanted):
        began = {name: own_seconds(pid) for name, pid in pids.items()}
        fed = Feeding(wanted.state, part).result()
        part.unlink()
        stored += fed.stored
        wait_visible(client, stored)
        time.sleep(SETTLING_S)  # corrections of hours go on for a moment
        for name, pid in pids.items():
            spent[name] += own_seconds(pid) - began[name]
        spent["feed"] += fed.cpu_s
        _ask_everything(client)
        _tell_memory(report, pids, stored, found)
    return found, spent


def _tell_memory(report: Report, pids: Mapping[str, int], stored: int, found: dict[str, list[Point]]) -> None:
    """Take in the memory of each service in MiB: without files behind it, its share of all, and what is resident."""
    shown = {}
    for name, pid in pids.items():
        found[name].append((float(stored), status_bytes(pid, "RssAnon") / MIB))
        shown[name] = {"anonymous": round(found[name][-1][1], 1), **shares(pid)}
    told = "; ".join(f"{name} {s['anonymous']} / {s['pss']} / {s['rss']}" for name, s in shown.items())
    report.add(
        f"memory_{stored}", shown, f"{stored:,} events, memory in MiB (without a file / pss / rss): {told}"
    )


def _parts(wanted: Wanted) -> Iterator[Path]:
    """Files of the flows up to each share of `PARTS`, one after the other."""
    traffic = wanted.traffic()
    with traffic.open(encoding="utf-8") as file:
        header = file.readline()
        done = 0
        for number, share in enumerate(PARTS):
            path = wanted.work / f"part-{number}.csv"
            until = round(wanted.events * share)
            with path.open("w", encoding="utf-8") as part:
                part.write(header)
                part.writelines(file.readline() for _ in range(until - done))
            done = until
            yield path


def _ask_everything(client: Client) -> None:
    """One question of each kind, as analysts would."""
    events = client.list(limit=3)["events"]
    one = events[0]
    for text in ("port scan from outside", "slow download", "many failed logins"):
        client.search(text, 10)
    client.similar(one["event_id"], 10)
    client.similar(one["event_id"], 10, flat=True)
    client.explain(one["event_id"])
    client.timeline(one["src_ip"])
    client.hybrid(one["src_ip"], "slow download", 10)
    client.novel(1, 10)
    client.campaigns()


def _seal(report: Report, wanted: Wanted, ingester: int, client: Client) -> tuple[list[Point], float]:
    """Memory of the sealer by the events of its day, and the seconds of a processor that all of them took."""
    found: list[Point] = []
    before = cpu_seconds(ingester) - own_seconds(ingester)
    for day in open_days(client):
        with MemoryWatch(ingester, every_s=0.05) as memory:
            sealed = appia("seal", day, "--state", str(wanted.state))
        if sealed["failed"]:
            raise BenchError(f"indices of {day} failed: {sealed['failed']}")
        found.append((float(sealed["rows"]), memory.child_anonymous_peak / MIB))
    seconds = cpu_seconds(ingester) - own_seconds(ingester) - before
    told = ", ".join(f"{rows:,.0f} events {mib:.0f} MiB" for rows, mib in found)
    figure = [{"rows": int(rows), "peak_anonymous_mib": round(mib, 1)} for rows, mib in found]
    report.add(
        "sealer", figure, f"sealer, peak memory without a file behind it: {told}; processor {seconds:.1f} s"
    )
    return found, seconds


def _open_bytes(state: Path) -> tuple[int, int]:
    """Bytes of open segments, and of them those that a mirror fetches: all but the database, which it makes itself."""
    names = StateNames(state)
    files = [path for day in names.days() for path in names.day(day).open_folder.rglob("*") if path.is_file()]
    pulled = [path for path in files if not path.name.startswith("metadata.db")]
    return sum(path.stat().st_size for path in files), sum(path.stat().st_size for path in pulled)


def _sizes(report: Report, wanted: Wanted, opened: tuple[int, int], events: int) -> Sizes:
    """Bytes for each event, by what they are."""
    sealed = sum(day_bytes(wanted.state).values())
    place = wanted.work / "backup"
    appia("backup", str(place), "--state", str(wanted.state))
    found = {
        "open": opened[0],
        "sealed": sealed,
        "pulled": opened[1] + sealed,
        "backup": folder_bytes(place) - folder_bytes(StateNames(wanted.state).models),
    }
    shutil.rmtree(place)
    sizes = Sizes(**{name: round(size / events, 1) for name, size in found.items()})
    told = ", ".join(f"{name} {each:,.0f}" for name, each in asdict(sizes).items())
    report.add("bytes", asdict(sizes), f"bytes an event: {told}")
    return sizes


if __name__ == "__main__":
    try:
        main()
    except (BenchError, json.JSONDecodeError) as failed:
        sys.exit(f"bench_sizing: {failed}")
