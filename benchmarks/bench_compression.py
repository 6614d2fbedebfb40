"""What the forms of sealed vectors cost and keep: size, recall@10, times to search and write, by index and policy.

The vectors are those of sealed days, each form is written and opened as sealing and a replica do, and asked in this
process about vectors of the day, the answers checked against exact search over the 32-bit floats.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import faiss
import numpy as np

from benchmarks.common import BenchError, Report, options, percentiles, told, traffic_file
from benchmarks.exact import CLOSE, opened
from benchmarks.stack import Wanted
from services.common.days.checked import check_files
from services.common.days.compression import EXACT_NUMBERS
from services.common.days.distinct import Embedded
from services.common.days.manifest import INDEX_FORMAT, Manifest, digest_folder
from services.common.days.names import EVENT_INDICES
from services.common.days.policies import Compression
from services.common.days.vector_files import ROWS, map_vectors, write_vectors
from services.common.days.vectors import VectorIndex
from services.common.durable import REAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.days.open_writer import VectorSpec

K = 10
POLICIES: tuple[Compression, ...] = get_args(Compression)
SIZES = (5_000, 10_000, 20_000, 50_000, 100_000)


@dataclass(frozen=True)
class Day:
    """The distinct vectors of one index of one day, float32 (n, dim)."""

    spec: VectorSpec
    vectors: NDArray[np.float32]


@dataclass
class Sum:
    """What one policy gave over several days."""

    kinds: Counter[str] = field(default_factory=Counter)
    vectors: int = 0
    bytes: int = 0
    seconds: float = 0.0
    found: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)

    def figure(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "days": dict(self.kinds),
            "vectors": self.vectors,
            "bytes": self.bytes,
            "bytes_per_vector": round(self.bytes / max(self.vectors, 1), 1),
            "write_s": round(self.seconds, 2),
            "recall_at_10": round(float(np.mean(self.found)), 4),
            "search_ms": percentiles(self.times_ms, 3),
        }


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("compression", __doc__ or "", 1_000_000)
    parser.add_argument("--vary", type=float, default=0.05, help="see bench_ingest")
    parser.add_argument("--state", type=Path, help="take this sealed state instead of one made for --events")
    parser.add_argument("--questions", type=int, default=200, help="vectors to ask about, for each day")
    given = parser.parse_args(argv)
    state, settings = given.state, {"state": "given"}
    if state is None:
        wanted = Wanted(traffic_file(given.input), given.events, given.vary, given.work)
        wanted.make()
        state, settings = wanted.state, wanted.facts()
    faiss.omp_set_num_threads(1)
    report = Report("compression", {**settings, "k": K, "questions": given.questions})
    days = _days(state)
    for index in EVENT_INDICES:
        for policy in POLICIES:
            _tell(
                report, (index, policy), _measure([d for d in days if d.spec.index == index], policy, given)
            )
    _limit(report, [day for day in days if day.spec.index == "attack"])
    report.write(given.out)


def _days(state: Path) -> list[Day]:
    found = []
    with opened(state) as snapshot:
        for segment in snapshot.segments:
            for index in segment.view.indices.values():
                if not isinstance(index.vectors, np.ndarray):
                    raise BenchError(
                        "the days of this state are compressed already: take one sealed as `fast`"
                    )
                found.append(Day(index.spec, np.array(index.vectors)))
    if not found:
        raise BenchError("the state has no days")
    return found


def _measure(days: list[Day], policy: Compression, given: Any) -> Sum:
    total = Sum()
    for day in days:
        if len(day.vectors) <= K:
            continue
        with tempfile.TemporaryDirectory(dir=given.work) as name:
            folder = Path(name)
            started = time.perf_counter()
            rows = np.arange(len(day.vectors), dtype=np.uint32)
            facts = write_vectors(REAL, folder, Embedded(day.vectors, rows), day.spec, policy)
            total.seconds += time.perf_counter() - started
            total.bytes += sum(path.stat().st_size for path in folder.iterdir() if path.name != ROWS)
            _ask(total, day, _open(folder, day, facts), given.questions)
            total.kinds[facts["kind"]] += 1
            total.vectors += len(day.vectors)
    return total


def _open(folder: Path, day: Day, facts: dict[str, Any]) -> VectorIndex:
    spec = day.spec
    named = {
        "index": spec.index,
        "model": spec.model_id,
        "dim": spec.dim,
        "metric": spec.metric,
        **facts,
    }
    rows = len(day.vectors)
    manifest = Manifest("index", "", 1, rows, "", digest_folder(folder), named, INDEX_FORMAT, INDEX_FORMAT)
    with check_files(folder, manifest) as files:
        return map_vectors(files)


def _ask(total: Sum, day: Day, index: VectorIndex, questions: int) -> None:
    """Ask about vectors as they are kept, and compare with exact search by the vectors as they were."""
    chosen = np.random.default_rng(77).choice(
        len(day.vectors), min(questions, len(day.vectors)), replace=False
    )
    exact = VectorIndex(day.spec, len(day.vectors), day.vectors)
    numbers = index.codes  # row i of this benchmark is given vector i
    assert numbers is not None
    given = np.argsort(numbers, kind="stable")
    for one in chosen.tolist():
        query = index.vector(one)
        started = time.perf_counter()
        stored, _ = index.distinct(query, K + 1)
        total.times_ms.append((time.perf_counter() - started) * 1000)
        found = given[stored]
        near = exact.distances(day.vectors[one], found[found != one][:K])
        true, distances = exact.distinct(day.vectors[one], K + 1)
        limit = float(distances[true != one][:K].max())
        total.found.append(np.count_nonzero(near <= limit * (1 + CLOSE) + CLOSE) / K)


def _tell(report: Report, what: tuple[str, str], total: Sum) -> None:
    index, policy = what
    if not total.vectors:
        report.note(f"{index}, {policy}: too few vectors")
        return
    figure = total.figure()
    kinds = ", ".join(f"{kind} on {days}" for kind, days in total.kinds.most_common())
    report.add(
        f"{index}_{policy}",
        figure,
        f"{index}, {policy}: {kinds} days; {total.vectors:,} vectors, {figure['bytes_per_vector']:g} bytes each, "
        f"recall@10 {figure['recall_at_10']:.4f}; a search of one day {told(figure['search_ms'])}; "
        f"written in {figure['write_s']:g} s",
    )


def _limit(report: Report, days: list[Day]) -> None:
    """From how many vectors on lists are quicker than comparing with all."""
    largest = max(days, key=lambda day: len(day.vectors), default=None)
    figure: dict[str, float] = {}
    for size in SIZES:
        if largest is None or size > len(largest.vectors):
            break
        vectors = largest.vectors[np.random.default_rng(5).choice(len(largest.vectors), size, replace=False)]
        index, times = VectorIndex(largest.spec, size, vectors), []
        for query in vectors[:200]:
            started = time.perf_counter()
            index.distinct(query, K)
            times.append((time.perf_counter() - started) * 1000)
        figure[str(size)] = round(float(np.median(times)), 3)
    told_sizes = ", ".join(f"{int(size):,} vectors {ms} ms" for size, ms in figure.items())
    report.add(
        "exact_ms",
        figure,
        f"exact search of attack vectors, without lists (median): {told_sizes or 'too few vectors'}; "
        f"lists are made above {EXACT_NUMBERS:,} numbers in all",
    )


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_compression: {failed}")
