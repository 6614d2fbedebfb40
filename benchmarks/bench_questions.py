"""How long the questions of an analyst take over thirty sealed days and an open one, alone and from many clients.

One question at a time over ZeroMQ, each kind by itself; then 1, 8 and 32 clients on one and two replicas.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.common import BenchError, Report, options, percentiles, told, traffic_file
from benchmarks.exact import Days, opened
from benchmarks.load import ask_side_by_side
from benchmarks.processes import shares
from benchmarks.replicas import only_imports, replica
from benchmarks.stack import Wanted, client_of
from benchmarks.texts import TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.exact import Question
    from services.rag.client import Client

K = 10
CLIENTS = (1, 8, 32)
REPLICAS = (1, 2)
_SLOW = 5  # so many questions of the kinds that take a second

Asked = tuple[str, "Mapping[str, Any]"]


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("questions", __doc__ or "", 1_000_000)
    parser.add_argument("--vary", type=float, default=0.05, help="see bench_ingest")
    parser.add_argument("--weeks", type=int, default=6, help="weeks that the events are spread over")
    parser.add_argument("--questions", type=int, default=300, help="questions of each quick kind")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run with many clients")
    given = parser.parse_args(argv)
    source = traffic_file(given.input)
    wanted = Wanted(source, given.events, given.vary, given.work, weeks=given.weeks, keep_open=True)
    wanted.make()
    report = Report("questions", {**wanted.facts(), "k": K, "questions": given.questions})
    kinds = _kinds(report, wanted.state, given.questions)
    _one_by_one(report, wanted.state, kinds)
    _side_by_side(report, wanted.state, kinds, given.seconds)
    report.write(given.out)


def _kinds(report: Report, state: Path, count: int) -> dict[str, list[Asked]]:
    """The questions of each kind."""
    with opened(state) as snapshot:
        days = Days(snapshot)
        sealed = sum(view.sealed for view in days.views)
        line = f"{days.rows:,} events in {sealed} sealed days and {len(days.views) - sealed} open"
        report.add("state", {"rows": days.rows, "sealed": sealed}, line)
        one, tenth = (days.questions(count, share) for share in (0.01, 0.001))
        hosts = list(dict.fromkeys(_host(days, question) for question in one))
    return {
        "similar, fused": _similar(one),
        "similar, fused, flat": _similar(one, flat=True),
        "similar, attack": _similar(one, index="attack"),
        "similar, attack, flat": _similar(one, index="attack", flat=True),
        "similar, fused, filtered to 1 %": _similar(one, filtered=True),
        "similar, fused, filtered to 0.1 %": _similar(tenth, filtered=True),
        "similar, attack, filtered to 1 %": _similar(one, filtered=True, index="attack"),
        "similar, attack, filtered to 0.1 %": _similar(tenth, filtered=True, index="attack"),
        "search": [("search", {"text": text, "k": K, "parse": False}) for text in TEXTS],
        "search, understood": [("search", {"text": f"{text} on 2017-07-05", "k": K}) for text in TEXTS],
        "hybrid": [
            ("hybrid", {"entity": host, "text": text, "k": K})
            for host, text in zip(hosts, TEXTS, strict=False)
        ],
        "explain": [("explain", {"event_id": question.event_id}) for question in one[:40]],
        "timeline": [("timeline", {"host": host}) for host in hosts[:40]],
        "list": [("list", {"filters": question.filters, "limit": 20}) for question in one],
        "get": [("get", {"event_id": question.event_id}) for question in one],
        "novel, one day": [("novel", {"days": 1})] * _SLOW,
        "campaigns": [("campaigns", {})] * _SLOW,
    }


def _host(days: Days, question: Question) -> str:
    view = days.views[question.view]
    return str(view.events.fetch([question.row])[0]["src_ip"])


def _similar(questions: Sequence[Question], *, filtered: bool = False, **more: Any) -> list[Asked]:
    return [
        ("similar", {"event_id": q.event_id, "k": K, "filters": q.filters if filtered else {}, **more})
        for q in questions
    ]


def _one_by_one(report: Report, state: Path, kinds: Mapping[str, Sequence[Asked]]) -> None:
    with (
        only_imports(),
        only_imports() as idle,
        replica(state, 1) as one,
        client_of([one.endpoint]) as client,
    ):
        opened_with = shares(one.pid)
        for kind, questions in kinds.items():
            _tell_kind(report, client, kind, questions)
        found = {"imports": shares(idle), "opened": opened_with, "asked": shares(one.pid)}
    own = {
        name: round(found[name]["anonymous"] - found["imports"]["anonymous"], 1)
        for name in ("opened", "asked")
    }
    line = (
        f"memory without a file behind it, beyond the imports: {own['opened']} MiB when opened, "
        f"{own['asked']} MiB at the end"
    )
    report.add("memory", {**found, "beyond_imports_anonymous": own}, line)


def _tell_kind(report: Report, client: Client, kind: str, questions: Sequence[Asked]) -> None:
    first_ms = _timed(client, questions[0])
    figure: dict[str, Any] = percentiles([_timed(client, asked) for asked in questions])
    figure["first"] = round(first_ms, 1)
    report.add(kind, figure, f"{kind}: {told(figure)}; the very first {figure['first']:g} ms")


def _timed(client: Client, asked: Asked) -> float:
    started = time.perf_counter()
    answer = client.ask(*asked)
    took_ms = (time.perf_counter() - started) * 1000
    if answer["receipt"]["missing"]:
        raise BenchError(f"an answer to {asked} is not whole: {answer['receipt']['missing'][:3]}")
    return took_ms


def _side_by_side(report: Report, state: Path, kinds: Mapping[str, Sequence[Asked]], seconds: float) -> None:
    for count in REPLICAS:
        with contextlib.ExitStack() as stack:
            endpoints = [
                stack.enter_context(replica(state, number)).endpoint for number in range(1, count + 1)
            ]
            for kind in ("similar, fused", "similar, attack", "similar, attack, flat", "search"):
                for clients in CLIENTS:
                    load = ask_side_by_side(endpoints, clients, kinds[kind], seconds)
                    figure = {"per_s": round(load.per_s), **percentiles(load.times_ms)}
                    replicas = f"{count} replica{'s' if count > 1 else ''}"
                    name = f"{kind}, {clients} client{'s' if clients > 1 else ''}, {replicas}"
                    report.add(name, figure, f"{name}: {figure['per_s']:,} a second; {told(figure)}")


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_questions: {failed}")
