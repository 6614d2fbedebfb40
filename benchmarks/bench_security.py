"""What safety costs: `python benchmarks/bench_security.py`. Each pair is measured in turn, and told as a ratio.

Logs plain and encrypted (append with a sync for each group, read, blocks of a sealed day); answers of 20 kB over plain
text and over CURVE; signing and checking links of the chain; hashing what is opened.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import zmq

from benchmarks.common import Report, options
from services.common.access.curve import KeyPair, Secured
from services.common.access.entrance import AccessFiles, open_entrance
from services.common.chain.keys import SigningKey
from services.common.days.log import LogReader, LogWriter
from services.common.days.log_blocks import EVENTS_A_BLOCK
from services.common.days.log_format import EVENT
from services.common.durable import Disk
from services.common.logs import make_logger
from services.common.rest.storage_keys import NO_KEYS, StorageKeys, new_storage_keys
from services.common.rpc_client import RpcClient
from services.common.rpc_server import RpcServer, RpcSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.common.rest.log_keys import LogKeys

GROUP = 256
"""Events a sync, as in a group commit."""
EVENT_BYTES = (400, 1200)
ROUNDS = 5
ANSWERS, ANSWER_BYTES = 1000, 20_000
_ALL = 'operations = ["all"]\nindices = ["all"]\ndays = ["all"]\nrate = 100000\nburst = 100000\n'

Timed = dict[str, float]


def main() -> None:
    """Measure and write the results."""
    chosen = options("security", __doc__ or "", 50_000).parse_args()
    report = Report("security", {"events": chosen.events, "rounds": ROUNDS})
    chosen.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.work) as folder:
        _logs(report, Path(folder), chosen.events)
        _answers(report, Path(folder))
        _signatures(report)
    report.write(chosen.out)


def _logs(report: Report, folder: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    # Half noise, half the same: events compress to about a half.
    events = [rng.bytes(size // 2) + bytes(size // 2) for size in rng.integers(*EVENT_BYTES, count)]
    new_storage_keys(Disk(), folder / "storage.keys")
    keys: Mapping[str, LogKeys] = {
        "plain": NO_KEYS,
        "encrypted": StorageKeys(folder / "storage.keys", print),
    }
    timed: dict[str, list[Timed]] = {name: [] for name in keys}
    for number in range(ROUNDS):
        for name, its in keys.items():
            timed[name].append(_round(folder / f"{name}-{number}", events, its))
    for step in timed["plain"][0]:
        _tell(report, step, *([one[step] for one in timed[name]] for name in ("plain", "encrypted")))


def _tell(report: Report, step: str, plain: Sequence[float], safe: Sequence[float]) -> None:
    """A step as the medians of both, in seconds, and their ratio."""
    before, after = statistics.median(plain), statistics.median(safe)
    figure = {"plain_s": round(before, 4), "safe_s": round(after, 4), "ratio": round(after / before, 2)}
    line = f"{step}: plain {before:.3f} s, safe {after:.3f} s, ratio {after / before:.2f}"
    report.add(step.replace(" ", "_"), figure, line)


def _round(path: Path, events: Sequence[bytes], keys: LogKeys) -> Timed:
    """Seconds of each step."""
    found: Timed = {}
    disk = Disk()
    log = LogWriter(disk, path.with_suffix(".log"), keys)
    starts = range(0, len(events), GROUP)

    def append() -> None:
        for start in starts:
            log.append(EVENT, start, events[start : start + GROUP])
            log.sync()

    found["append and sync, 256 events a group"] = _seconds(append)
    log.close()
    reader = LogReader(log.path, keys)
    found["read all"] = _seconds(lambda: sum(1 for _ in reader.scan()))
    reader.close()
    sealed = LogWriter(disk, path.with_suffix(".chunk"), keys)
    positions: list[int] = []

    def seal() -> None:
        for start in range(0, len(events), EVENTS_A_BLOCK):
            positions.extend(sealed.append_block(start, events[start : start + EVENTS_A_BLOCK], 6).tolist())

    found["compress and write blocks"] = _seconds(seal)
    sealed.close()
    chunk = LogReader(sealed.path, keys)
    some = np.random.default_rng(2).permutation(positions)[:5000].tolist()
    found["read 5,000 events of blocks"] = _seconds(lambda: [chunk.event(position) for position in some])
    chunk.close()
    return found


def _answers(report: Report, folder: Path) -> None:
    """A thousand answers, one after the other, over plain text and over CURVE with rights that are looked up."""
    server, own = KeyPair.new(), KeyPair.new()
    server.write(Disk(), folder / "server.secret")
    access = folder / "access.toml"
    Disk().write_file(access, f'format = 1\n\n[keys.bench]\npublic_key = "{own.public}"\n{_ALL}'.encode())
    plain: list[float] = []
    safe: list[float] = []
    for _ in range(ROUNDS):
        plain.append(_ask_many(AccessFiles(), None))
        safe.append(_ask_many(AccessFiles(folder / "server.secret", access), Secured(own, server.public)))
    _tell(report, f"{ANSWERS} answers of {ANSWER_BYTES // 1000} kB", plain, safe)


def _ask_many(files: AccessFiles, secured: Secured | None) -> float:
    answer = bytes(ANSWER_BYTES)
    with zmq.Context() as context, zmq.Context() as asking:
        log = make_logger("bench")
        server = RpcServer(
            context,
            RpcSettings("tcp://127.0.0.1:*"),
            {"ping": lambda _args, _deadline: answer},
            log,
            open_entrance(context, files, log),
        )
        server.start()
        client = RpcClient(asking, server.endpoint, secured)
        try:
            client.call("ping", {}, 5)
            return _seconds(lambda: [client.call("ping", {}, 5) for _ in range(ANSWERS)])
        finally:
            client.close()
            server.stop()


def _signatures(report: Report) -> None:
    """A link has about 1.5 kB; a sealed event about 700 bytes, all of which are hashed when a day is opened."""
    key, link, data = SigningKey(os.urandom(32)), bytes(1500), bytes(64 << 20)
    signature = key.sign("bench", link)
    sign_ms = _seconds(lambda: [key.sign("bench", link) for _ in range(1000)])
    check_ms = _seconds(lambda: [key.public.signed("bench", link, signature) for _ in range(1000)])
    hash_s = _seconds(lambda: hashlib.sha256(data).digest())
    report.add(
        "sign_ms", round(sign_ms, 4), f"signing a link: {sign_ms:.3f} ms; checking one: {check_ms:.3f} ms"
    )
    rate = len(data) / hash_s / 1e6
    report.add(
        "sha256_mb_per_s",
        round(rate),
        f"SHA-256: {rate:.0f} MB/s, {700 / rate:.2f} s for a million sealed events",
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
