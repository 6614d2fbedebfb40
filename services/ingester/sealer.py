"""Seals one day, or makes one index of it anew, in a process of its own.

So the ingester's memory stays flat, and no fault of faiss takes it down.

Prints one JSON object a line: {"step", "done", "total"} while it works, then {"report": {...}} or {"error": "..."}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import faiss

from services.common.days.chosen_models import ChosenModels
from services.common.days.consistency import PARTS
from services.common.days.index_builder import IndexTools
from services.common.days.names import EVENT_INDICES, INDICES, StateNames
from services.common.days.policies import Compression, parse_policies
from services.common.days.rebuild import Repairer
from services.common.days.reindex import Reindexer
from services.common.days.repacking import Repacker
from services.common.days.sealing import Sealer
from services.common.days.vector_files import limit_faiss
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.events.vocabulary import load_vocabulary
from services.common.idle import become_idle
from services.common.private_folders import UMASK
from services.common.rest.storage_keys import open_log_keys
from services.ingester.models import sealing_embedders
from services.ingester.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.days.rebuild import RepairReport
    from services.common.days.reindex import ReindexReport
    from services.common.days.repacking import RepackReport
    from services.common.days.sealing import SealReport
    from services.common.rest.log_keys import LogKeys

    Report = SealReport | ReindexReport | RepackReport | RepairReport

NICENESS = 10
_PROGRESS_EVERY_S = 0.25


class Lines:
    """Writes progress as JSON lines to standard output, not more often than four times a second and step."""

    def __init__(self) -> None:
        """Write nothing yet."""
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def progress(self, step: str, done: int, total: int) -> None:
        """Say how far a step is; for any thread."""
        now = time.monotonic()
        with self._lock:
            if done < total and now - self._last.get(step, 0.0) < _PROGRESS_EVERY_S:
                return
            self._last[step] = now
            self.write({"step": step, "done": done, "total": total})

    def write(self, line: dict[str, object]) -> None:
        """Write one line."""
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Seal the day named on the command line, build the indices that it lacks, make one anew, or repair a part."""
    options = _parser().parse_args(argv)
    if options.repair:
        become_idle()
    else:
        os.nice(NICENESS)
    os.umask(UMASK)
    faiss.omp_set_num_threads(1)
    limit_faiss()
    lines = Lines()
    try:
        report = _run(options, lines)
    except (AppiaError, OSError) as error:
        lines.write({"error": str(error)})
        return 1
    lines.write({"report": None if report is None else asdict(report)})
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Seal one day; started by the ingester.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--day", required=True)
    parser.add_argument(
        "--through", type=int, help="the last open segment to take in; without it, build missing indices"
    )
    parser.add_argument(
        "--reindex", choices=INDICES, help="make this index anew with the model that is active"
    )
    parser.add_argument(
        "--repack", choices=EVENT_INDICES, help="keep the vectors of this index in the form --form"
    )
    parser.add_argument("--form", choices=get_args(Compression), default="balanced")
    parser.add_argument("--repair", choices=PARTS, help="make this part good from the day's own events")
    parser.add_argument("--compression", default="balanced")
    parser.add_argument("--policies", type=parse_policies, default={}, help="of the indices, JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--semantic-model", default="semantic")
    parser.add_argument("--temporal-model", default="temporal")
    parser.add_argument("--storage-key", type=Path, help="file of the keys of encrypted logs")
    parser.add_argument("--keys", type=Path, help="folder of keys, those of the state directory by default")
    parser.add_argument("--require-encryption", action="store_true", help="refuse logs that are not")
    return parser


def _keys(options: argparse.Namespace) -> LogKeys:
    def report(sentence: str) -> None:
        sys.stderr.write(f"sealer: {sentence}\n")

    return open_log_keys(options.storage_key, report, require_encryption=options.require_encryption)


def _run(options: argparse.Namespace, lines: Lines) -> Report | None:
    state, disk = StateNames(options.state), Disk()
    links = Signing(state, options.keys or state.keys, disk, time.time_ns).links()
    keys, names = _keys(options), state.day(options.day)
    if options.repack:
        return Repacker(disk, lines.progress, keys, links).build(names, options.repack, options.form)
    chosen = ChosenModels(options.semantic_model, options.temporal_model)
    embedders = sealing_embedders(state, chosen, options.threads)
    tools = IndexTools(embedders, lines.progress, options.policies)
    if options.reindex:
        return Reindexer(disk, tools, keys, links).build(names, options.reindex)
    sealer = Sealer(
        disk=disk,
        vocabulary=load_vocabulary(),
        embedders=tools.embedders,
        progress=tools.progress,
        compression=options.compression,
        policies=tools.policies,
        keys=keys,
        links=links,
    )
    if options.repair:
        return Repairer(sealer).repair(names, options.repair)
    return sealer.build_missing(names) if options.through is None else sealer.seal(names, options.through)


if __name__ == "__main__":
    sys.exit(main())
