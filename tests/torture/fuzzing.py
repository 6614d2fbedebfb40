"""Fuzzing: hostile bytes into one reader, blind by seed and guided by coverage (atheris, where it can be installed).

A target has valid inputs, and a check that says what a reader may do with any bytes at all. The mutations are those of
https://lcamtuf.coredump.cx/afl/technical_details.txt: flips, arithmetic,
interesting numbers, blocks moved, two inputs spliced.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torture.suite import Outcome, Suite

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from torture.suite import Budget

Check = Callable[[bytes], str | None]
"""Feeds one input to a reader; gives the sentence of a broken promise, or None. What it raises is one too."""

MOST_GROWTH = 256 << 20
"""Bytes of memory that all inputs of a slice together may add: a reader that believes a claimed size shows here."""

_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 63,
    (1 << 64) - 1,
)


@dataclass(frozen=True)
class Target:
    """One reader of bytes that come from outside."""

    name: str
    promise: str
    inputs: Callable[[], Sequence[bytes]]  # valid ones
    check: Callable[[Path], Check]  # with an empty folder of its own
    guided: Sequence[str] = ()  # modules whose coverage guides
    ci_rounds: int = 100_000


def blind(target: Target) -> Suite:
    """The suite of random mutations: each round is an input that its seed makes again."""

    def run(budget: Budget) -> Outcome:
        inputs, check = target.inputs(), target.check(budget.folder)
        outcome, before = Outcome(), _memory()
        for number in budget.numbers(outcome):
            data = mutate(inputs, budget.random(number))
            told = judge(check, data)
            outcome.rounds += 1
            if told is not None:
                outcome.fault(number, f"{told} (input {data[:2000].hex()})")
        if _memory() - before > MOST_GROWTH:
            outcome.fault(budget.first, f"memory grew by {(_memory() - before) >> 20} MiB")
        return outcome

    return Suite(
        f"fuzz-{target.name}", target.promise, "inputs", target.ci_rounds, 200_000_000, run, weight=0.5
    )


def guided(target: Target) -> Suite:
    """The suite that coverage guides: slices of a process of libFuzzer; the input that breaks a promise is told."""

    def run(budget: Budget) -> Outcome:
        outcome = Outcome()
        seconds = max(int(min(budget.until - time.monotonic(), 3600)), 5)
        corpus = budget.folder / "corpus"
        corpus.mkdir()
        for i, data in enumerate(target.inputs()):
            (corpus / f"{i}").write_bytes(data)
        command = [
            sys.executable,
            "-m",
            "torture.guided",
            target.name,
            str(corpus),
            f"-max_total_time={seconds}",
        ]
        command += [
            f"-seed={(budget.seed + budget.first) % (1 << 31) + 1}",
            f"-runs={budget.rounds}",
            "-max_len=65536",
        ]
        command += [f"-artifact_prefix={budget.folder}/", "-rss_limit_mb=2048", "-timeout=10"]
        tests = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=budget.folder, env=environment
        )
        lines = done.stderr.splitlines()
        ended = [line for line in lines if line.startswith("Done ")]
        outcome.rounds = int(ended[-1].split()[1]) if ended else 1
        if done.returncode:
            kept = [path.read_bytes() for path in budget.folder.glob("*-*") if path.is_file()]
            shown = kept[0][:2000].hex() if kept else "not kept"
            outcome.fault(
                budget.first, f"{done.stdout[-1500:]} {' | '.join(lines[-5:])[-1000:]} (input {shown})"
            )
        return outcome

    return Suite(f"guided-{target.name}", target.promise, "inputs", 20_000, 200_000_000, run, weight=0.5)


def judge(check: Check, data: bytes) -> str | None:
    """What a check says of one input; an exception that it lets through is a broken promise."""
    try:
        return check(data)
    except Exception as error:  # noqa: BLE001 - whatever comes out is what is looked for
        return f"{type(error).__name__}: {error}"


def mutate(inputs: Sequence[bytes], luck: random.Random) -> bytes:
    """One input changed in one to six ways, or random bytes now and then."""
    if luck.random() < 0.02:
        return luck.randbytes(luck.randrange(400))
    data = bytearray(luck.choice(inputs))
    for _ in range(luck.randint(1, 6)):
        luck.choice(_MUTATIONS)(data, luck, inputs)
    return bytes(data)


def _flip(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    if data:
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)


def _set(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    if data:
        data[luck.randrange(len(data))] = luck.randrange(256)


def _number(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    size = luck.choice((1, 2, 4, 8))
    at = luck.randrange(len(data) + 1)
    value = (luck.choice(_NUMBERS) + luck.randint(-2, 2)) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, luck.choice(("little", "big")))


def _cut(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    start = luck.randrange(len(data) + 1)
    del data[start : start + luck.randint(1, 64)]


def _truncate(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    del data[luck.randrange(len(data) + 1) :]


def _insert(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    at = luck.randrange(len(data) + 1)
    data[at:at] = luck.randbytes(luck.randint(1, 16))


def _repeat(data: bytearray, luck: random.Random, _inputs: Sequence[bytes]) -> None:
    start = luck.randrange(len(data) + 1)
    piece = data[start : start + luck.randint(1, 64)]
    at = luck.randrange(len(data) + 1)
    data[at:at] = piece * luck.randint(1, 4)


def _splice(data: bytearray, luck: random.Random, inputs: Sequence[bytes]) -> None:
    other = luck.choice(inputs)
    data[luck.randrange(len(data) + 1) :] = other[luck.randrange(len(other) + 1) :]


_MUTATIONS = (_flip, _set, _number, _cut, _truncate, _insert, _repeat, _splice)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
