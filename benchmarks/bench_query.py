"""How fast and how right answers are on a sealed state, how fast it opens, and what memory replicas take.

Answers are timed at one client over ZeroMQ, one question at a time. Recall is against brute force over the vectors.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import BenchError, Report, options, percentiles, told, traffic_file
from benchmarks.exact import Days, opened, recall
from benchmarks.processes import shares
from benchmarks.replicas import only_imports, opening_seconds, replica
from benchmarks.stack import Wanted, client_of
from benchmarks.texts import TEXTS
from services.common.days.names import EVENT_INDICES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.exact import Question
    from benchmarks.replicas import Replica
    from services.rag.client import Client

K = 10
SHARE = 0.01
FUSED = "fused"
TOGETHER = 10

Hits = list[dict[str, Any]]


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("query", __doc__ or "", 1_000_000)
    parser.add_argument("--vary", type=float, default=0.05, help="see bench_ingest")
    parser.add_argument("--state", type=Path, help="ask this sealed state instead of one made for --events")
    parser.add_argument("--questions", type=int, default=500, help="events to ask about, for each index")
    parser.add_argument("--exact", type=int, default=200, help="of them, how many to check by brute force")
    given = parser.parse_args(argv)
    state, settings = given.state, {"state": "given"}
    if state is None:
        wanted = Wanted(traffic_file(given.input), given.events, given.vary, given.work)
        wanted.make()
        state, settings = wanted.state, wanted.facts()
    report = Report("query", {**settings, "k": K, "questions": given.questions})
    _opening(report, state)
    event_ids = _answers(report, state, (given.questions, given.exact))
    _alone(report, state, event_ids)
    _together(report, state, event_ids)
    report.write(given.out)


def _answers(report: Report, state: Path, counts: tuple[int, int]) -> list[str]:
    """Ask a replica, check its answers, and give the ids of the events asked about; maps the files until it returns."""
    asked, checked = counts
    with opened(state) as snapshot:
        days = Days(snapshot)
        questions = days.questions(asked, SHARE)
        _tell_state(report, days, questions)
        with only_imports(), only_imports() as idle, replica(state, 1) as one:
            _ask_all(report, one, idle, (days, questions, checked))
    return [question.event_id for question in questions]


def _tell_state(report: Report, days: Days, questions: Sequence[Question]) -> None:
    passing = float(np.mean([sum(map(len, q.rows)) for q in questions])) / days.rows
    items = days.items()
    distinct = ", ".join(f"{name} {count:,}" for name, count in items.items())
    figure = {
        "rows": days.rows,
        "days": len(days.views),
        "distinct": items,
        "filter_share": round(passing, 4),
    }
    report.add(
        "state",
        figure,
        f"{days.rows:,} events in {len(days.views)} sealed days; distinct vectors: {distinct}; "
        f"filters (class and time) let {passing:.2%} of the rows pass",
    )


def _opening(report: Report, state: Path) -> None:
    seconds = [round(opening_seconds(state), 3) for _ in range(3)]
    report.add(
        "opening_s",
        seconds,
        f"opening all days in a fresh process (files in the page cache): {min(seconds)} s (best of 3)",
    )


def _ask_all(report: Report, one: Replica, idle: int, what: tuple[Days, Sequence[Question], int]) -> None:
    days, questions, checked = what
    report.add("ready_s", round(one.ready_s, 3), f"a replica is ready {one.ready_s:.2f} s after its start")
    before = shares(one.pid)
    with client_of([one.endpoint]) as client:
        for index in (*EVENT_INDICES, FUSED):
            _similar(report, client, index, (days, questions, checked))
        _tell_memory(report, shares(idle), before, shares(one.pid))
        _search(report, client)
    searched = shares(one.pid)
    report.add("memory_with_text_model", searched, f"after `search`, with the text model: {_mib(searched)}")


def _similar(report: Report, client: Client, index: str, what: tuple[Days, Sequence[Question], int]) -> None:
    days, questions, checked = what
    for kind in ("plain", "filtered"):
        filtered = kind == "filtered"
        ask = _asker(client, index, filtered=filtered)
        ask(questions[0])
        times, answers = _timed(ask, questions)
        figure: dict[str, Any] = percentiles(times)
        line = f"similar, {index}, {kind}: {told(figure)}"
        if index != FUSED:
            everything = days.all_rows()
            shares_found = [
                recall(hits, days.nearest(q, index, K, q.rows if filtered else everything))
                for q, hits in list(zip(questions, answers, strict=True))[:checked]
            ]
            figure["recall_at_10"] = round(float(np.mean(shares_found)), 4)
            line += f", recall@10 {figure['recall_at_10']:.4f} (n = {len(shares_found)})"
        report.add(f"similar_{index}_{kind}", figure, line)


def _asker(client: Client, index: str, *, filtered: bool) -> Callable[[Question], Hits]:
    def ask(question: Question) -> Hits:
        answer = client.similar(
            question.event_id, K, index, question.filters if filtered else None, flat=True
        )
        if answer["receipt"]["missing"]:
            raise BenchError(f"an answer is not whole: {answer['receipt']['missing']}")
        hits: Hits = answer["hits"]
        return hits

    return ask


def _timed(ask: Callable[[Question], Hits], questions: Sequence[Question]) -> tuple[list[float], list[Hits]]:
    """Milliseconds of each question, and its hits."""
    times, answers = [], []
    for question in questions:
        started = time.perf_counter()
        answers.append(ask(question))
        times.append((time.perf_counter() - started) * 1000)
    return times, answers


def _search(report: Report, client: Client) -> None:
    started = time.perf_counter()
    client.search("any", K)
    first_ms = round((time.perf_counter() - started) * 1000, 1)
    report.add("search_first_ms", first_ms, f"search, the very first (loads the text model): {first_ms} ms")
    for kind in ("new", "repeated"):
        times = []
        for text in TEXTS:
            started = time.perf_counter()
            client.search(text, K)
            times.append((time.perf_counter() - started) * 1000)
        figure = percentiles(times)
        report.add(f"search_{kind}", figure, f"search, {kind} texts: {told(figure)}")


def _tell_memory(
    report: Report, idle: dict[str, float], before: dict[str, float], after: dict[str, float]
) -> None:
    figure = {"imports_only": idle, "before_queries": before, "after_queries": after}
    own = {name: round(found["uss"] - idle["uss"], 1) for name, found in figure.items() if found is not idle}
    heap = {
        name: round(found["anonymous"] - idle["anonymous"], 1)
        for name, found in figure.items()
        if found is not idle
    }
    figure |= {"beyond_imports_uss": own, "beyond_imports_anonymous": heap}
    report.add(
        "memory",
        figure,
        f"one replica beyond its imports, MiB: private {own['before_queries']} before and "
        f"{own['after_queries']} after queries; of it anonymous (no file behind it) {heap['before_queries']} and "
        f"{heap['after_queries']}; the imports alone: {_mib(idle)}",
    )


def _alone(report: Report, state: Path, event_ids: Sequence[str]) -> None:
    """Pages of a mapped file count as private to a process while no other has them mapped."""
    with only_imports(), only_imports() as idle, replica(state, 1) as one:
        with client_of([one.endpoint]) as client:
            for event_id in event_ids:
                client.similar(event_id, K, flat=True)
        own, imports = shares(one.pid), shares(idle)
    beyond = round(own["uss"] - imports["uss"], 1)
    report.add(
        "alone",
        {"beyond_imports_uss": beyond, "replica": own, "imports_only": imports},
        f"the only replica after queries, mapped files counted as its own: {beyond} MiB beyond its imports",
    )


def _together(report: Report, state: Path, event_ids: Sequence[str]) -> None:
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(replica(state, number)) for number in range(1, TOGETHER + 1)]
        for one in several:
            with client_of([one.endpoint]) as client:
                for event_id in event_ids[:50]:
                    client.similar(event_id, K, flat=True)
        found = [shares(one.pid) for one in several]
    total = round(sum(memory["pss"] for memory in found), 1)
    mean = {key: round(float(np.mean([memory[key] for memory in found])), 1) for key in found[0]}
    report.add(
        "ten_replicas",
        {"pss_together_mib": total, "mean": mean},
        f"{TOGETHER} replicas after queries: {total} MiB together (PSS); one on average: {_mib(mean)}",
    )


def _mib(memory: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in memory.items()) + " MiB"


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_query: {failed}")
