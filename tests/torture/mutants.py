"""Seeded mutants: the product with one sync, check, rename or bound taken out. Each has to be caught by a named test.

`PYTHONPATH=tests python -m torture.mutants` makes a copy of `services` for each, changes the one place, and runs the
test that must fail; before that it runs the same tests over the copy unchanged, where they must pass. A mutant whose
place is no longer in the code is an error too, so that none of them goes away unnoticed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261120
PATIENCE_S = 300
ROUNDS_AT_ONCE = 1000
EVENTUALLY_S = 10
"""How long a test waits for what a mutant never does; without one it is there in a fraction of a second."""
COPIED = "services"
LEFT_OUT = frozenset({COPIED, ".git", ".appia", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"})


@dataclass(frozen=True)
class Mutant:
    """One change: `old`, found exactly once in `file`, becomes `new`; `test` must fail then.

    `test` is a suite with a number of rounds, "power-cut 2000", or a pytest node.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


POWER, CRASH, RUIN = "power-cut 3000", "crash 120", "corruption 600"

MUTANTS = (
    Mutant(
        "the day log is not synced before the acknowledgement",
        "services/ingester/intake.py",
        "            log.sync()\n        self._tools.dead_letter.sync()\n",
        "            pass\n        self._tools.dead_letter.sync()\n",
        POWER,
    ),
    Mutant(
        "the dead letter is not synced before the acknowledgement",
        "services/ingester/intake.py",
        "            log.sync()\n        self._tools.dead_letter.sync()\n",
        "            log.sync()\n",
        POWER,
    ),
    Mutant(
        "feedback is not synced before it is acknowledged",
        "services/ingester/feedback.py",
        "            self._log.sync()\n",
        "            pass\n",
        POWER,
    ),
    Mutant(
        "a pointer is renamed before its content is synced",
        "services/common/durable.py",
        "            file.write(data)\n            file.sync()\n",
        "            file.write(data)\n",
        POWER,
    ),
    Mutant(
        "a pointer's folder is not synced after the rename",
        "services/common/durable.py",
        "        self.calls.rename(staged, path)\n        self.sync_folder(path.parent)\n",
        "        self.calls.rename(staged, path)\n",
        "tests/common/test_durable.py",
    ),
    Mutant(
        "a pointer is written in place instead of renamed",
        "services/common/durable.py",
        '        staged = path.with_name(f".{path.name}{_STAGED}")\n',
        "        staged = path\n",
        "crash 520",
    ),
    Mutant(
        "files of a generation are not synced before it is published",
        "services/common/durable.py",
        "                self.sync_file(os.path.join(folder, name))  # noqa: PTH118 - os.walk gives strings\n",
        "",
        POWER,
    ),
    Mutant(
        "the folder of a new log is not synced",
        "services/common/durable.py",
        "            if new:\n                self.sync_folder(path.parent)\n",
        "            if new and not path:\n                self.sync_folder(path.parent)\n",
        POWER,
    ),
    Mutant(
        "the folder above a new folder is not synced",
        "services/common/durable.py",
        "                raise\n        self.sync_folder(path.parent)\n",
        "                raise\n",
        POWER,
    ),
    Mutant(
        "a removed folder's new name is not synced before its files go",
        "services/common/durable.py",
        "            self.rename(path, going)\n",
        "            self.calls.rename(path, going)\n",
        "power-cut 20000",
    ),
    Mutant(
        "a start does not sync what it found",
        "services/ingester/recovery.py",
        "            self.disk.sync_file(path)\n",
        "            pass\n",
        "power-cut 20000",
    ),
    Mutant(
        "open segments go before the pointer names the generation that holds them",
        "services/common/days/sealing.py",
        "        self.disk.publish(names.staging, names.generation(plan.generation).folder)\n",
        "        self.disk.publish(names.staging, names.generation(plan.generation).folder)\n"
        "        for number in names.segments():\n"
        "            self.disk.remove(names.segment(number).folder)\n",
        "crash 520",
    ),
    Mutant(
        "an event that is sent again is taken again",
        "services/ingester/intake.py",
        "        new = day.known.add_new(payloads)\n",
        "        new = day.known.add_new(payloads) | True\n",
        CRASH,
    ),
    Mutant(
        "the checksum of a log record is not looked at",
        "services/common/days/log.py",
        "checksum(self.file_id, kind, lsn, payload) != crc",
        "checksum(self.file_id, kind, lsn, payload) < 0",
        "tests/common/days/test_log.py",
    ),
    Mutant(
        "the hash of a sealed file is not looked at",
        "services/common/days/checked.py",
        '        if hashlib.file_digest(file, "sha256").hexdigest() != wanted.sha256:\n',
        "        if not wanted.sha256:\n",
        RUIN,
    ),
    Mutant(
        "a replayed frame is opened again",
        "services/common/wire/senders.py",
        "        return 0 <= self.highest - seq < WINDOW and bool(self._bits >> (self.highest - seq) & 1)\n",
        "        return False\n",
        "tests/common/wire/test_senders.py",
    ),
    Mutant(
        "an older boot of a sender is taken",
        "services/common/wire/senders.py",
        "        if boot < known.boot:\n",
        "        if boot < 0:\n",
        "tests/common/wire/test_senders.py",
    ),
    Mutant(
        "a claimed size is believed beyond what LZ4 can give",
        "services/common/wire/body.py",
        "    if size > LZ4_LARGEST_RATIO * len(block) + LZ4_SLACK_BYTES:\n",
        "    if size < 0:\n",
        "tests/common/wire/test_body.py",
    ),
    Mutant(
        "a boot number is given out without being kept",
        "services/common/wire/boots.py",
        '        replace_file(disk, path, f"{boot}\\n".encode())\n',
        "",
        "tests/common/wire/test_boots.py",
    ),
    Mutant(
        "k has no upper bound",
        "services/rag/protocol.py",
        "MAX_K = 1000\n",
        "MAX_K = 10**9\n",
        "tests/rag/test_schemas.py",
    ),
    Mutant(
        "any key may ask",
        "services/common/access/door.py",
        "        elif self._book.table.of_key(key) is not None:\n",
        "        elif key:\n",
        "tests/common/access/test_door.py",
    ),
    Mutant(
        "a signature of the chain is not looked at",
        "services/common/chain/keys.py",
        "            self._key.verify(signature, _message(purpose, data))\n",
        "            len(signature)\n",
        "tests/common/chain",
    ),
    Mutant(
        "a writer does not look whether another has a higher epoch",
        "services/ingester/fence.py",
        "        if found is not None and found.epoch >= self._epoch:\n",
        "        if found is not None and found.epoch < 0:\n",
        "tests/ingester/test_fence.py",
    ),
    Mutant(
        "what did not go on a full disk counts as known",
        "services/ingester/intake.py",
        "            day.known.take_back(payloads)\n",
        "            pass\n",
        "tests/ingester/test_full_disk.py::test_what_nobody_sends_again_is_held_until_there_is_room",
    ),
    Mutant(
        "an event of the future is taken",
        "services/ingester/intake.py",
        "    if seconds > newest_s:\n",
        "    if seconds > newest_s + LATE_S:\n",
        "soak 1",
    ),
    Mutant(
        "a day of which a log was written under a later clock is never quiet",
        "services/ingester/sealing_jobs.py",
        "if write <= now else since_s for write",
        "for write",
        "tests/ingester/test_sealing_jobs.py::test_a_day_left_over_is_sealed_after_the_next_start",
    ),
)


def build(mutant: Mutant | None, folder: Path) -> None:
    """Put the project into `folder`: `services` copied and changed, the rest by links.

    Raises:
        LookupError: the mutant's place is not in the code exactly once.
    """
    for path in ROOT.iterdir():
        if path.name not in LEFT_OUT:
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / COPIED, folder / COPIED, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is None:
        return
    place = folder / mutant.file
    text = place.read_text("utf-8")
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.name}: its place is {text.count(mutant.old)} times in {mutant.file}")
    place.write_text(text.replace(mutant.old, mutant.new), "utf-8")


def holds(test: str, folder: Path) -> bool:
    """Whether a test passes with the `services` in `folder`. A suite is done in parts, up to the first fault."""
    name, _, rounds = test.partition(" ")
    if name.startswith("tests/"):
        return _passes(name, folder)
    return not any(
        _breaks(name, first, int(rounds), folder) for first in range(0, int(rounds), ROUNDS_AT_ONCE)
    )


def _passes(name: str, folder: Path) -> bool:
    """Whether tests of the project pass. Raises RuntimeError where they cannot be run: that would catch nothing."""
    done = _run(["pytest", "-q", "-x", "-p", "no:cacheprovider", name], folder)
    if done.returncode > 1:  # https://docs.pytest.org/en/stable/reference/exit-codes.html
        raise RuntimeError(f"{name} cannot be run: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.returncode == 0


def _breaks(suite: str, first: int, rounds: int, folder: Path) -> bool:
    part = ["--first", f"{first}", "--rounds", f"{min(ROUNDS_AT_ONCE, rounds - first)}"]
    limits = ["--one-fault", "--seed", f"{SEED}", "--seconds", f"{PATIENCE_S}"]
    done = _run(["torture", suite, "--slice", *limits, *part], folder)
    return done.returncode != 0 or json.loads(done.stdout.strip().splitlines()[-1])["broken"] > 0


def _run(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'tests'}"}
    environment["APPIA_TEST_EVENTUALLY_S"] = f"{EVENTUALLY_S}"
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def judge(mutant: Mutant) -> str | None:
    """What is wrong with a mutant: that it lives, or is none any more."""
    with tempfile.TemporaryDirectory(prefix="appia-mutant-") as name:
        folder = Path(name)
        try:
            build(mutant, folder)
        except LookupError as error:
            return str(error)
        return f"{mutant.name}: {mutant.test} did not catch it" if holds(mutant.test, folder) else None


def judge_sound(tests: Iterable[str]) -> list[str]:
    """The tests that fail without any mutant, which would prove nothing with one. Takes as long as they do."""
    with tempfile.TemporaryDirectory(prefix="appia-mutant-") as name:
        build(None, Path(name))
        return [
            f"{test} fails without a mutant" for test in sorted(set(tests)) if not holds(test, Path(name))
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all mutants; 1 where one lives."""
    parser = argparse.ArgumentParser("torture.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name has one of these words")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at the same time; 2 by default")
    chosen = parser.parse_args(arguments)
    mutants = [m for m in MUTANTS if not chosen.words or any(word in m.name for word in chosen.words)]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        told = list(pool.map(judge, mutants))
    for mutant, fault in zip(mutants, told, strict=True):
        print(
            f"{'LIVES ' if fault else 'caught'} {mutant.name}  [{mutant.test}]{f': {fault}' if fault else ''}"
        )
    faults = [*filter(None, told), *judge_sound(mutant.test for mutant in mutants)]
    for fault in faults:
        print(fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
