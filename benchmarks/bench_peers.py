"""The same vectors and filters in appia's own files and in other products, by the script ../shared/bench/peers.py.

That script writes events with three vectors each, then asks 200 questions in a fresh process. Here appia does the same
with the parts that its ingester, its sealer and its replicas are made of: events into the log, columns, metadata and
vectors of open days, durable after every 2,000 events; then each day is sealed. Only the models are left out: the
vectors are given, as they are to the others. With --peers the others run too, in an environment of their own that pip
fills where it is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from benchmarks.common import ROOT, BenchError, Report, options
from benchmarks.peers_reader import load_peers
from services.common.days import embed_chunk
from services.common.days.distinct import Embedded
from services.common.days.embedders import Embedders
from services.common.days.layout import claim_layout
from services.common.days.names import ENTITY, EVENT_INDICES, StateNames, day_of
from services.common.days.open_writer import ColumnWriter, SegmentLog, VectorSpec, VectorWriter
from services.common.days.sealing import Sealer
from services.common.durable import Disk
from services.common.events.features import extract
from services.common.events.narrative import Narrator
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from services.common.days.names import DayNames

PEERS = ROOT.parent / "shared" / "bench" / "peers.py"
PACKAGES = {"lancedb": ("lancedb",), "chroma": ("chromadb",), "milvuslite": ("pymilvus", "milvus-lite")}
READER = Path(__file__).parent / "peers_reader.py"
BATCH = 2000


@dataclass(frozen=True)
class Given:
    """An embedder in name only: its vectors are given."""

    name: str
    dim: int
    metric: str = "cosine"

    @property
    def model_id(self) -> str:
        """See Embedder."""
        return f"{self.name}@given"

    @property
    def spec(self) -> VectorSpec:
        """What its vectors are."""
        return VectorSpec(self.name, self.model_id, self.dim, self.metric)


class NoHosts(Given):
    """Embeds hosts as nothing: this benchmark asks for events only."""

    def embed(self, profiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """A zero a host."""
        return np.zeros((len(profiles), 1), np.float32)


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = options("peers", __doc__ or "", 200_000)
    parser.add_argument("--peers", nargs="*", default=[], choices=[*PACKAGES], help="others to run as well")
    given = parser.parse_args(argv)
    if not PEERS.is_file():
        print(f"  skipped: {PEERS.name} is not there, it belongs to the shared data")
        return
    report = Report("peers", {"events": given.events, "dims": "temporal 128, semantic 384, attack 64"})
    found = {"appia": _appia(given.work.resolve(), given.events)}
    found |= {peer: _peer(given.work.resolve(), peer, given.events) for peer in given.peers}
    _tell(report, found, given.events)
    report.write(given.out)


def _appia(work: Path, events: int) -> dict[str, Any]:
    peers = load_peers(PEERS)
    state = StateNames(work / f"peers-{events}")
    shutil.rmtree(state.root, ignore_errors=True)
    vectors, meta = peers.data(events)
    disk = Disk()
    claim_layout(state, disk)
    started = time.perf_counter()
    for day, rows in _days(meta):
        _write_open(disk, state.day(day), meta, {name: vectors[name][rows] for name in EVENT_INDICES}, rows)
    written = time.perf_counter() - started
    for day, rows in _days(meta):
        _seal(disk, state.day(day), {name: vectors[name][rows] for name in EVENT_INDICES})
    seconds = time.perf_counter() - started
    figures = {
        "write_s": round(seconds, 2),
        "events_per_s": round(events / seconds),
        "visible_per_s": round(events / written),
        "disk_mb": round(peers.du(state.root), 1),
    }
    del vectors, meta
    words = [sys.executable, str(READER), str(PEERS), str(state.root), str(events)]
    return figures | _lines(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _days(meta: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each day and its rows; times are ascending."""
    names = np.array([day_of(moment * 1_000_000) for moment in meta["ts"].tolist()])
    for day in sorted(set(names.tolist())):
        yield day, np.flatnonzero(names == day)


def _write_open(
    disk: Disk,
    day: DayNames,
    meta: dict[str, Any],
    vectors: dict[str, NDArray[np.float32]],
    rows: NDArray[np.int64],
) -> None:
    names = day.segment(1)
    log = SegmentLog(disk, names, 0)
    columns = ColumnWriter(disk, names)
    writers = {name: VectorWriter(disk, names, _spec(name, vectors[name])) for name in EVENT_INDICES}
    narrator = Narrator(load_vocabulary())
    for start in range(0, len(rows), BATCH):
        payloads = [_event(meta, row) for row in rows[start : start + BATCH].tolist()]
        positions = log.append(payloads)
        log.sync()
        table = tabulate([parse_event(payload) for payload in payloads], payloads)
        columns.append(table, narrator.narrate(table, extract(payloads)), positions)
        for name, writer in writers.items():
            writer.append(vectors[name][start : start + BATCH])
    log.close()
    columns.close()
    for writer in writers.values():
        writer.close()


def _spec(name: str, vectors: NDArray[np.float32]) -> VectorSpec:
    return Given(name, vectors.shape[1]).spec


def _event(meta: dict[str, Any], row: int) -> bytes:
    event = NetworkSecurityEvent(
        event_id=meta["event_id"][row],
        final_classification=meta["cls"][row],
        overall_threat_score=float(meta["score"][row]),
    )
    event.event_timestamp.FromMilliseconds(int(meta["ts"][row]))
    event.network_features.source_ip = meta["src_ip"][row]
    event.network_features.destination_ip = meta["dst_ip"][row]
    return event.SerializeToString(deterministic=True)


def _seal(disk: Disk, day: DayNames, vectors: dict[str, NDArray[np.float32]]) -> None:
    """Seal as the sealer does, with given vectors in place of those it would compute."""
    embedders: Any = {name: Given(name, found.shape[1]) for name, found in vectors.items()}
    embedders[ENTITY] = NoHosts(ENTITY, 1)
    given = {name: _embedded(found) for name, found in vectors.items()}
    with patch.dict(embed_chunk.EMBED, given):
        sealer = Sealer(disk, load_vocabulary(), Embedders(**embedders), lambda *_: None)
        report = sealer.seal(day, 1)
    if report.failed:
        raise BenchError(f"{day.day} was not sealed whole: {report.failed}")


def _embedded(vectors: NDArray[np.float32]) -> Callable[..., Embedded]:
    return lambda *_: Embedded(vectors, np.arange(len(vectors), dtype=np.uint32))


def _peer(work: Path, peer: str, events: int) -> dict[str, Any]:
    environment = work / "peers-venv"
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "numpy", *PACKAGES[peer]]
    subprocess.run(pip, check=True)
    words = [str(python), str(PEERS), peer, str(events)]
    others = work / "peers-others"
    variables = os.environ | {"BENCH_DIR": str(others)}
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True, env=variables)
    shutil.rmtree(others, ignore_errors=True)
    found = _lines(done.stdout)
    return found if done.returncode == 0 else found | {"failed": done.returncode}


def _lines(said: str) -> dict[str, Any]:
    """One dictionary from the script's lines; those about queries go below `plain` and `filtered`."""
    found: dict[str, Any] = {}
    for line in said.splitlines():
        if line.startswith("{"):
            values = json.loads(line)
            found |= {values.pop("query"): values} if "query" in values else values
    return found


def _tell(report: Report, found: dict[str, dict[str, Any]], events: int) -> None:
    # The script keeps its own exact ranking while it measures: 200 x events numbers of 8 bytes, for all alike.
    ranking_mb = 200 * events * 8 / 2**20
    for name, figures in found.items():
        if "reader_uss_mb" in figures:
            figures["uss_without_ranking_mb"] = round(figures["reader_uss_mb"] - ranking_mb, 1)
        report.add(name, figures, f"{name}: {_told(figures)}")


def _told(figures: dict[str, Any]) -> str:
    if "failed" in figures or "plain" not in figures:
        return f"failed: {figures}"
    queries = "; ".join(
        f"{kind} p50 {figures[kind]['p50_ms']} p99 {figures[kind]['p99_ms']} ms, "
        f"recall {figures[kind]['recall10']}"
        for kind in ("plain", "filtered")
    )
    return (
        f"{figures['events_per_s']:,} events/s written, {figures['disk_mb']:g} MB on disk; "
        f"open and first query {figures['open_and_first_query_s']} s; {queries}; "
        f"private memory {figures['uss_without_ranking_mb']:g} MiB"
    )


if __name__ == "__main__":
    try:
        main()
    except BenchError as failed:
        sys.exit(f"bench_peers: {failed}")
