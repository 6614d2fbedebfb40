"""Asks the state that bench_peers.py wrote: `peers_reader.py PEERS_SCRIPT STATE EVENTS`, in a fresh process.

Appia is imported only after the script has taken its first measure of memory, as the others are.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.rag.catalog import Snapshot
    from services.rag.filters import Filters

    Ask = Callable[[NDArray[np.float32]], list[int]]
    AskFiltered = Callable[[NDArray[np.float32], int, int, str], list[int]]

K = 10
INDEX = "temporal"
NS_A_MS = 1_000_000


def load_peers(script: Path) -> Any:
    """The script of the others as a module."""
    spec = importlib.util.spec_from_file_location("peers", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(script: str, state: str, events: str) -> None:
    """Open, ask, and print figures as the script does for the others."""
    peers = load_peers(Path(script))
    vectors, meta = peers.data(int(events))
    queries = vectors[INDEX]
    del vectors
    base = peers.uss_mb()
    started = time.perf_counter()
    with ExitStack() as stack:
        from benchmarks.exact import opened  # noqa: PLC0415 - counts as part of opening, see above

        plain, filtered = _askers(stack.enter_context(opened(Path(state))))
        plain(queries[0])
        print(json.dumps({"open_and_first_query_s": round(time.perf_counter() - started, 3)}))
        peers.report_queries(plain, filtered, queries, meta, int(events), base)


def _askers(snapshot: Snapshot) -> tuple[Ask, AskFiltered]:
    from services.rag.filters import Filters  # noqa: PLC0415 - as above
    from services.rag.nearest import Wanted, nearest  # noqa: PLC0415 - as above
    from services.rag.scope import Bounds, Scope  # noqa: PLC0415 - as above

    views = [segment.view for segment in snapshot.segments]
    first = dict(zip(map(id, views), np.cumsum([0, *(view.rows for view in views)]).tolist(), strict=False))
    model = views[0].indices[INDEX].spec.model_id

    def ask(query: NDArray[np.float32], filters: Filters) -> list[int]:
        scope = Scope(snapshot, Bounds(K, filters), (INDEX,))
        hits = nearest(scope, INDEX, {model: query}, Wanted(K, 0))
        pairs = zip(hits.parts.tolist(), hits.rows.tolist(), strict=True)
        return [first[id(scope.parts[part].view)] + row for part, row in pairs]

    def ask_filtered(query: NDArray[np.float32], low: int, high: int, name: str) -> list[int]:
        return ask(query, Filters(since_ns=low * NS_A_MS, until_ns=high * NS_A_MS, klass=(name,)))

    return lambda query: ask(query, Filters()), ask_filtered


if __name__ == "__main__":
    main(*sys.argv[1:])
