"""Another version of an index is made beside the one that serves, resumed after kill -9, compared, and served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.counts import read_counts
from services.common.days.chunk import open_chunk
from services.common.days.file_blocks import COUNT, VECTORS, FileBlocks
from services.common.days.index_builder import IndexTools
from services.common.days.names import EVENT_INDICES, INDICES, numbered, read_pointer
from services.common.days.overlap import read_overlap
from services.common.days.reindex import Reindexer
from services.common.days.switching import activate, roll_back
from services.common.days.units import UNITS
from services.common.days.verify import verify_day
from services.common.days.versions import versions_of
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.embedders import Embedders
    from services.common.days.names import DayNames, GenerationNames, StateNames
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.sealing import Sealer
    from services.common.durable import Disk

PROJECT = Path(__file__).parents[3]
DAY = "2026-01-22"
ROWS = 700


@pytest.fixture
def day(
    state: StateNames,
    sealer: Sealer,
    make_payloads: Callable[..., list[bytes]],
    write_segment: Callable[..., None],
) -> DayNames:
    """A sealed day."""
    names = state.day(DAY)
    write_segment(names.segment(1), make_payloads(ROWS))
    assert sealer.seal(names, 1).failed == {}
    return names


class Counting:
    """An embedder of another model: it counts what it embeds, and can break off."""

    def __init__(self, inner: Any, breaks_after: int = 1 << 30) -> None:
        self.inner, self.left, self.units = inner, breaks_after, 0
        self.name, self.dim, self.metric = inner.name, inner.dim, inner.metric
        self.model_id = f"{inner.name}@{'1' * 12}"

    def embed(self, values: Any, /) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError("broken off")
        self.units += len(values)
        return -self.inner.embed(values)


@pytest.fixture
def reindexer(disk: Disk, embedders: Embedders, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reindexer]:
    """A reindexer with other models, whose blocks are small."""
    for kind in UNITS.values():
        monkeypatch.setattr(kind, "block", 64)

    def make(breaks_after: int = 1 << 30) -> Reindexer:
        others = {name: Counting(embedders.named(name), breaks_after) for name in INDICES}
        return Reindexer(disk, IndexTools(replace(embedders, **others), lambda *_: None))

    return make


@pytest.mark.parametrize("index", INDICES)
def test_a_new_version_waits_until_it_is_served_and_can_be_taken_back(
    day: DayNames,
    reindexer: Callable[..., Reindexer],
    disk: Disk,
    read_sealed: Callable[[GenerationNames], SealedReader],
    index: str,
) -> None:
    """The reader that is open all the while sees the old vectors, then the new ones, then the old ones again."""
    generation = day.generation(1)
    reader = read_sealed(generation)

    def served() -> tuple[str, float]:
        view = reader.view()
        vectors = view.hosts.vectors if index == "entity" else view.indices[index]  # type: ignore[union-attr]
        return vectors.spec.model_id, float(vectors.vector(3)[0])

    old = served()
    report = reindexer().build(day, index)
    assert (report.version, report.kept) == (2, 0)
    assert report.units == (8 + 16 if index == "entity" else _units(day, index))
    assert (served(), read_pointer(generation.index_current(index))) == (old, 1)
    assert not generation.index_work(index).exists()
    switch = activate(day, index, disk)
    assert (switch.version, switch.before, switch.before_model) == (2, 1, old[0])
    assert served() == (f"{index}@{'1' * 12}", pytest.approx(-old[1]))
    assert verify_day(day).faults == ()
    with pytest.raises(AppiaError, match="waits"):
        activate(day, index, disk)
    assert roll_back(day, index, disk).model == old[0]
    assert served() == old
    with pytest.raises(AppiaError, match="no earlier version"):
        roll_back(day, index, disk)
    assert activate(day, index, disk).version == 2, "what was taken back waits"


def _units(day: DayNames, index: str) -> int:
    chunk = open_chunk(day.generation(1).chunk)
    columns: Any = chunk.columns
    chunk.log.close()
    if index == "attack":
        return ROWS
    if index == "semantic":
        return len(np.unique(columns["narrative"]))
    return len(np.unique(columns["src_ip"].astype(np.int64) << 32 | columns["time_ns"] // 56_250_000_000))


@pytest.mark.parametrize("index", EVENT_INDICES)
def test_what_was_embedded_before_it_broke_off_is_not_embedded_again(
    day: DayNames, reindexer: Callable[..., Reindexer], disk: Disk, index: str
) -> None:
    """The second run embeds the rest alone, and its files are those of a run that was never broken off."""
    total = _units(day, index)
    generation = day.generation(1)
    with pytest.raises(OSError, match="broken off"):
        reindexer(breaks_after=1).build(day, index)
    done, _ = read_counts(generation.index_work(index) / COUNT)
    assert done == min(64, total)
    with (generation.index_work(index) / VECTORS).open("ab") as file:
        file.write(b"torn")
    second = reindexer()
    report = second.build(day, index)
    assert (report.kept, report.units) == (done, total)
    assert second.tools.embedders.named(index).units == total - done  # type: ignore[attr-defined]
    broken = _content(generation.index_version(index, 2))
    activate(day, index, disk)
    roll_back(day, index, disk)
    disk.remove(generation.index_version(index, 2))
    reindexer().build(day, index)
    assert _content(generation.index_version(index, 2)) == broken


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_what_another_model_or_chunk_left_is_not_gone_on_from(
    day: DayNames, reindexer: Callable[..., Reindexer]
) -> None:
    """The plan beside the blocks says what they are of; where it differs, all begins again."""
    work = day.generation(1).index_work("attack")
    with pytest.raises(OSError, match="broken off"):
        reindexer(breaks_after=2).build(day, "attack")
    plan = work / "plan.json"
    plan.write_text(plan.read_text().replace("attack@111111111111", "attack@222222222222"))
    assert reindexer().build(day, "attack").kept == 0


def test_blocks_that_the_disk_lost_are_made_again(tmp_path: Path, disk: Disk) -> None:
    """A count that promises more than the files hold counts nothing."""
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    first = FileBlocks(disk, tmp_path / "work", {"a": 1}, 3)
    first.append(vectors[[0, 1, 1]])
    first.append(vectors[[2, 0]])
    first.close()
    again = FileBlocks(disk, tmp_path / "work", {"a": 1}, 3)
    again.append(vectors[[3, 2]])
    found = again.finish()
    again.close()
    assert found.codes.tolist() == [0, 1, 1, 2, 0, 3, 2]
    assert np.array_equal(found.vectors, vectors)
    (tmp_path / "work" / VECTORS).write_bytes(b"")
    lost = FileBlocks(disk, tmp_path / "work", {"a": 1}, 3)
    assert lost.done == 0
    lost.append(vectors[:1])
    assert lost.finish().codes.tolist() == [0]
    lost.close()


def test_only_one_version_before_and_one_that_waits_are_kept(
    day: DayNames, reindexer: Callable[..., Reindexer], disk: Disk, embedders: Embedders
) -> None:
    """A third model takes the place of the one that waited; when it is served, what came before the last goes."""
    generation = day.generation(1)
    reindexer().build(day, "attack")
    assert reindexer().build(day, "attack").units == 0, "it waits already"
    for number in (2, 3):
        other = Counting(embedders.attack)
        other.model_id = f"attack@{number:012x}"
        Reindexer(disk, IndexTools(replace(embedders, attack=other), lambda *_: None)).build(day, "attack")
    assert numbered(generation.index("attack")) == [1, 4]
    activate(day, "attack", disk)
    assert versions_of(generation, "attack").before == 1
    reindexer().build(day, "attack")
    activate(day, "attack", disk)
    assert numbered(generation.index("attack")) == [4, 5]
    assert verify_day(day).faults == ()


def test_a_damaged_version_is_found_and_not_served(
    day: DayNames, reindexer: Callable[..., Reindexer], disk: Disk
) -> None:
    """`verify` reads the versions that wait or were before too; to serve a damaged one is refused."""
    generation = day.generation(1)
    reindexer().build(day, "attack")
    whole = verify_day(day)
    assert whole.faults == ()
    rows = generation.index_version("attack", 2) / "rows.bin"
    rows.chmod(0o644)
    rows.write_bytes(bytes(rows.stat().st_size))
    (fault,) = verify_day(day).faults
    assert "rows.bin was changed" in fault
    with pytest.raises(AppiaError, match=r"rows.bin was changed.*not served"):
        activate(day, "attack", disk)
    assert read_pointer(generation.index_current("attack")) == 1


def test_a_day_that_is_not_sealed_is_refused(
    state: StateNames, day: DayNames, reindexer: Callable[..., Reindexer]
) -> None:
    """So is a sealed one that lacks the index."""
    with pytest.raises(AppiaError, match="Day 2026-01-23 is not sealed"):
        reindexer().build(state.day("2026-01-23"), "attack")
    day.generation(1).index_current("attack").unlink()
    with pytest.raises(AppiaError, match="has no index attack yet"):
        reindexer().build(day, "attack")


def test_the_report_lies_beside_the_version(day: DayNames, reindexer: Callable[..., Reindexer]) -> None:
    """Mirrored vectors have the same neighbours: the report says so, by class and over all."""
    reindexer().build(day, "attack")
    report = read_overlap(day.generation(1).index_version("attack", 2))
    assert report is not None
    assert (report["before"], report["after"]) == ("attack@000000000000", "attack@111111111111")
    assert (report["asked"], report["mean"], report["p10"]) == (200, 1.0, 1.0)
    assert {one["name"] for one in report["classes"]} == {"BENIGN", "MALICIOUS"}
    assert report["same_class_before"] == report["same_class_after"]
    assert report["examples"] == []
    assert read_overlap(day.generation(1).index_version("attack", 1)) is None


SLOW = """
import sys, time
from dataclasses import replace
sys.path.insert(0, {tests!r})
from tests.common.days.conftest import Projection
from services.common.days.embedders import Embedders
from services.common.days.index_builder import IndexTools
from services.common.days.names import StateNames
from services.common.days.reindex import Reindexer
from services.common.days.units import UNITS
from services.common.durable import Disk
from pathlib import Path

class Slow(Projection):
    def embed(self, values):
        time.sleep({pause})
        print(len(values), flush=True)
        return super().embed(values)

for kind in UNITS.values():
    kind.block = 32
models = [Slow(name, dim, metric, "3" * 12) for name, dim, metric in
          (("attack", 8, "l2"), ("semantic", 16, "cosine"), ("temporal", 12, "l2"), ("entity", 6, "l2"))]
tools = IndexTools(Embedders(*models), lambda *_: None)
report = Reindexer(Disk(), tools).build(StateNames(Path({root!r})).day({day!r}), "attack")
print("kept", report.kept, flush=True)
"""


def test_a_process_that_is_killed_loses_one_block_at_most(day: DayNames, state: StateNames) -> None:
    """Ended by kill -9 again and again in the middle; each next process embeds only what is left."""
    work = day.generation(1).index_work("attack")

    def start(pause: float) -> subprocess.Popen[str]:
        code = SLOW.format(tests=str(PROJECT), root=str(state.root), day=DAY, pause=pause)
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=dict(os.environ)
        )

    done = 0
    for target in (96, 320):
        process = start(0.03)
        until = time.monotonic() + 60
        while (done := read_counts(work / COUNT)[0]) < target:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        done = read_counts(work / COUNT)[0]
        assert target <= done < ROWS
    last = start(0.0)
    out, _ = last.communicate(timeout=120)
    *embedded, said = out.splitlines()
    assert said == f"kept {done}"
    assert sum(map(int, embedded)) == ROWS - done
    assert versions_of(day.generation(1), "attack").waiting == 2
