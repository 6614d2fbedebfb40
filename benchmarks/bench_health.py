"""What the health service itself costs: `python benchmarks/bench_health.py`. Memory, and processor time by minute.

A stack with two replicas runs on sealed days that were fed before. Health is looked at from its first second on: in
the first minutes it looks into every day, then it does what it always does. Its short helpers (looks into days, proofs
of the chain) are children that it waits for, and are counted apart.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.common import BenchError, Report, options, traffic_file
from benchmarks.processes import MIB, cpu_seconds, own_seconds, shares, status_bytes
from benchmarks.stack import Wanted, client_of, endpoints, open_days, running_stack
from services.common.days.names import StateNames

KIND = "services.health.main"
INTERVAL_S = 10.0  # of its default settings
LOOK_S = 0.5


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("health", __doc__ or "", 300_000)
    parser.add_argument("--vary", type=float, default=0.05, help="see bench_ingest")
    parser.add_argument("--weeks", type=int, default=6, help="weeks that the events are spread over")
    parser.add_argument("--minutes", type=int, default=6, help="how long it is looked at")
    given = parser.parse_args(argv)
    wanted = Wanted(traffic_file(given.input), given.events, given.vary, given.work, weeks=given.weeks)
    wanted.make()
    report = Report("health", {**wanted.facts(), "minutes": given.minutes, "interval_s": INTERVAL_S})
    days = len(StateNames(wanted.state).days())
    with running_stack(wanted.state, replicas=2) as running:
        with client_of(endpoints(running)) as client:
            still_open = len(open_days(client))
        pid = _health_of(running.pid)
        report.add("state", {"days": days, "open": still_open}, f"{given.events:,} events in {days} days")
        _watch(report, pid, given.minutes)
    report.write(given.out)


def _watch(report: Report, pid: int, minutes: int) -> None:
    """Processor time of each minute, and the most memory of all."""
    resident: list[int] = []
    began = (own_seconds(pid), cpu_seconds(pid))
    minutes_cpu: list[dict[str, float]] = []
    for minute in range(1, minutes + 1):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            resident.append(status_bytes(pid, "VmRSS"))
        now = (own_seconds(pid), cpu_seconds(pid))
        own, children = now[0] - began[0], now[1] - began[1] - (now[0] - began[0])
        began = now
        minutes_cpu.append({"own": round(own / 0.6, 2), "helpers": round(children / 0.6, 2)})
        report.note(f"minute {minute}: {own / 0.6:.2f} % of a core, its helpers {children / 0.6:.2f} %")
    memory = {
        "resident_mib": round(max(resident) / MIB, 1),
        "at_the_end_mib": round(resident[-1] / MIB, 1),
        "peak_mib": round(status_bytes(pid, "VmHWM") / MIB, 1),
        "own_share_mib": shares(pid)["pss"],
    }
    report.add(
        "cpu_percent", minutes_cpu, f"processor: {minutes_cpu[-1]['own']:.2f} % of a core in the last minute"
    )
    report.add(
        "memory",
        memory,
        f"memory: resident at most {memory['resident_mib']} MiB; {memory['own_share_mib']} MiB "
        "with its share of the libraries that other services have in memory too",
    )


def _health_of(supervisor: int) -> int:
    """The process of the health service below the one that started it.

    Raises:
        BenchError: there is none.
    """
    for task in Path(f"/proc/{supervisor}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if KIND.encode() in command:
                return int(child)
    raise BenchError("the stack runs no health service")


if __name__ == "__main__":
    main()
