"""`python -m torture` (with `tests` on the path; `make torture` does that): runs the suites for hours, and reports.

python -m torture --hours 2                       all suites side by side, two at a time
python -m torture power-cut --rounds 100000       one suite
python -m torture power-cut --seed 7 --only 4711  one round again
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from torture.report import Report
from torture.slices import Slice, run_apart, run_here, to_line
from torture.suites import every_suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torture.suite import Outcome, Suite

SLICE_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a promise was broken."""
    chosen = _parser().parse_args(arguments)
    suites = every_suite()
    unknown = sorted(set(chosen.suites) - set(suites))
    if unknown:
        sys.stderr.write(f"There is no suite {unknown[0]!r}; there are: {', '.join(suites)}.\n")
        return 2
    if chosen.list:
        for suite in suites.values():
            print(f"{suite.name:14} {suite.promise} ({suite.full_rounds:,} {suite.unit})")
        return 0
    wanted = [suites[name] for name in chosen.suites or suites]
    seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
    if chosen.slice:
        return _slice(wanted[0], chosen, seed)
    if chosen.only is not None:
        return _only(wanted[0], chosen.only, seed)
    return _long_run(wanted, chosen, seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "torture", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="which suites; all where none is named")
    parser.add_argument("--list", action="store_true", help="name the suites and end")
    parser.add_argument("--seed", type=int, help="luck; printed and reported; by default a new one")
    parser.add_argument("--hours", type=float, default=2.0, help="time for all suites together; 2 by default")
    parser.add_argument("--rounds", type=int, help="rounds of each suite; by default its full number")
    parser.add_argument("--only", type=int, metavar="ROUND", help="do one round of one suite again")
    parser.add_argument("--jobs", type=int, default=2, help="suites at the same time; 2 by default")
    parser.add_argument("--report", type=Path, default=Path("torture-report.md"), help="the report file")
    parser.add_argument("--slice", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one-fault", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=SLICE_S, help=argparse.SUPPRESS)
    return parser


def _slice(suite: Suite, chosen: argparse.Namespace, seed: int) -> int:
    until = time.monotonic() + chosen.seconds
    part = Slice(suite.name, seed, chosen.first, chosen.rounds, chosen.seconds, chosen.one_fault)
    print(to_line(run_here(suite, part, until)))
    return 0


def _only(suite: Suite, number: int, seed: int) -> int:
    outcome = run_here(suite, Slice(suite.name, seed, number, 1, 0), float("inf"))
    for fault in outcome.faults:
        print(f"round {fault.round}: {fault.sentence}")
    print(f"{suite.name}, seed {seed}, round {number}: {outcome.broken} broken; {outcome.facts}")
    return min(outcome.broken, 1)


def _long_run(suites: list[Suite], chosen: argparse.Namespace, seed: int) -> int:
    """Give each suite slices of the time in turn until all rounds are done or the time is over."""
    started = time.monotonic()
    end = started + chosen.hours * 3600
    report = Report(chosen.report, seed, suites)
    goals = {suite.name: chosen.rounds or suite.full_rounds for suite in suites}
    given = dict.fromkeys(goals, 0.0)  # seconds that each suite has had, by its weight
    running: dict[Future[Outcome], tuple[Suite, float]] = {}
    print(f"seed {seed}; {len(suites)} suites, {chosen.hours:g} hours; report: {chosen.report}", flush=True)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        while True:
            busy = {suite.name for suite, _ in running.values()}
            due = [s for s in suites if s.name not in busy and report.rounds(s.name) < goals[s.name]]
            due.sort(key=lambda suite: given[suite.name])
            while due and len(running) < chosen.jobs and time.monotonic() < end:
                suite = due.pop(0)
                first = report.next_round(suite.name)
                seconds = min(SLICE_S, end - time.monotonic())
                part = Slice(suite.name, seed, first, goals[suite.name] - report.rounds(suite.name), seconds)
                running[pool.submit(run_apart, part)] = suite, time.monotonic()
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                suite, since = running.pop(future)
                took_s = time.monotonic() - since
                given[suite.name] += took_s / suite.weight
                report.add(suite.name, future.result(), took_s)
                report.write(time.monotonic() - started)
    return report.finish(time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
