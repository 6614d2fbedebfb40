"""An index whose files fit its manifest and are malformed all the same: it is tried elsewhere first, and refused."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest

from services.common.days import compression, trial_process
from services.common.days.distinct import Embedded
from services.common.days.manifest import INDEX_FORMAT, MANIFEST, Manifest, digest_folder, read_manifest
from services.common.days.open_writer import VectorSpec
from services.common.days.sealed_reader import open_entity_index, open_index
from services.common.days.trial import ProcessTrials, TrialLimits
from services.common.days.vector_files import write_vectors
from services.common.days.vectors import NO_VECTOR
from services.common.durable import REAL
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.policies import Compression

    Start = Callable[..., ProcessTrials]

OLD = Path(__file__).parents[2] / "data" / "formats" / "index-1"
DIM, ITEMS, ROWS = 8, 1200, 1500
MODULE = """
import ctypes, os, socket, time
from services.common.days.trial_process import serve
from services.common.errors import AppiaError

def look(files):
    with open({started!r}, "a") as file:
        pass
    if files.folder.name != "sound":
        {what}

with open({helpers!r}, "ab") as file:
    file.write(b"x")
serve(socket.socket(fileno=os.dup(0)), look)
"""


def _index(folder: Path, wanted: Compression = "balanced") -> Path:
    """An index of 1,500 rows, some with the same vector and some with none."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    vectors = (
        rng.normal(size=(20, DIM))[rng.integers(0, 20, ITEMS)] * 5 + rng.normal(size=(ITEMS, DIM))
    ).astype("f4")
    codes = np.concatenate([np.arange(ITEMS), np.arange(ROWS - ITEMS)]).astype(np.uint32)
    codes[-10:] = NO_VECTOR
    spec = VectorSpec("attack", "attack@0", DIM, "l2")
    facts = write_vectors(REAL, folder, Embedded(vectors, codes), spec, wanted)
    _state(folder, {"index": "attack", "model": "attack@0", "dim": DIM, "metric": "l2", **facts})
    return folder


def _state(folder: Path, facts: dict[str, Any], rows: int = ROWS) -> None:
    """Write a manifest that fits the files, as somebody would who changed them."""
    made = Manifest(
        "index", "2026-01-22", 1, rows, "", digest_folder(folder), facts, INDEX_FORMAT, INDEX_FORMAT
    )
    (folder / MANIFEST).write_bytes(made.to_json())


def _change(folder: Path, name: str, dtype: str, change: Callable[[Any], None]) -> None:
    """Change the numbers of a file, and the manifest so that it fits."""
    numbers = np.fromfile(folder / name, dtype)
    change(numbers)
    (folder / name).chmod(0o644)
    numbers.tofile(folder / name)
    before = read_manifest(folder)
    (folder / MANIFEST).chmod(0o644)
    (folder / MANIFEST).write_bytes(replace(before, artifacts=digest_folder(folder)).to_json())


def _at(place: int, number: float) -> Callable[[Any], None]:
    def change(numbers: Any) -> None:
        numbers[place] = number

    return change


@pytest.fixture(scope="module")
def trials() -> Iterator[ProcessTrials]:
    """The trials of a replica, all by one helper process."""
    made = ProcessTrials()
    yield made
    made.rest()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Trials of which each does `what`, but for a folder named `sound`; `helpers` has a byte for each process."""
    started: list[ProcessTrials] = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(what: str, limits: TrialLimits | None = None) -> ProcessTrials:
        names = {"started": str(tmp_path / "started"), "helpers": str(tmp_path / "helpers")}
        (tmp_path / "stand_in.py").write_text(MODULE.format(what=what, **names))
        started.append(ProcessTrials(limits, "stand_in"))
        return started[-1]

    yield make
    for trials in started:
        trials.rest()


@pytest.mark.parametrize("wanted", ["fast", "balanced", "maximum"])
def test_what_was_written_passes(
    tmp_path: Path, trials: ProcessTrials, wanted: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every form, with lists and without."""
    assert open_index(_index(tmp_path / "plain", wanted), trials).rows == ROWS
    monkeypatch.setattr(compression, "EXACT_NUMBERS", 1000)
    assert open_index(_index(tmp_path / "lists", wanted), trials).accelerator is not None


def test_format_1_passes(trials: ProcessTrials) -> None:
    """Its lists are read by faiss, from the mapped file."""
    index = open_index(OLD, trials)
    assert index.accelerator is not None
    assert len(index.accelerator.candidates(index.vector(3), 5, None)) == 5


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_anything_passes(tmp_path: Path, trials: ProcessTrials, rows: int) -> None:
    spec = VectorSpec("attack", "attack@0", DIM, "cosine")
    embedded = Embedded(np.ones((rows, DIM), np.float32), np.arange(rows, dtype=np.uint32))
    facts = write_vectors(REAL, tmp_path, embedded, spec, "balanced")
    _state(tmp_path, {"index": "attack", "model": "attack@0", "dim": DIM, "metric": "cosine", **facts}, rows)
    assert open_index(tmp_path, trials).rows == rows


MALFORMED = {
    "a row beyond the vectors": (
        "rows.bin",
        "<u4",
        _at(3, ITEMS),
        "a row has a vector beyond the 1200 there are",
    ),
    "a row twice": ("rows.bin", "<u4", _at(ROWS + 3, 7), "are not all the rows"),
    "a row that is none": ("rows.bin", "<u4", _at(ROWS + 3, 2**32 - 1), "are not all the rows"),
    "rows of another vector": ("rows.bin", "<u4", _at(2 * ROWS + 5, 2**32 - 1), "are not in that order"),
    "a list without end": (
        "lists.bin",
        "<u4",
        _at(1, 2**32 - 1),
        "do not hold each of the 1200 vectors once",
    ),
    "a list that begins late": ("lists.bin", "<u4", _at(0, 1), "do not hold each of the 1200 vectors once"),
    "a centre that is no number": (
        "lists.bin",
        "<f4",
        _at(-1, np.nan),
        "centre of a list has numbers that are not",
    ),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_numbers_that_lead_nowhere_are_refused(tmp_path: Path, trials: ProcessTrials, name: str) -> None:
    """The index opens without a trial, its files fit: a question would then fail, or take all the memory there is."""
    file, dtype, change, told = MALFORMED[name]
    folder = _index(tmp_path / "made")
    _change(folder, file, dtype, change)
    assert open_index(folder).rows == ROWS
    with pytest.raises(AppiaError, match=f"made is not used: when it was tried, this was found: .*{told}"):
        open_index(folder, trials)


def test_vectors_that_are_no_numbers_are_refused(tmp_path: Path, trials: ProcessTrials) -> None:
    folder = _index(tmp_path / "made", "fast")
    _change(folder, "vectors.faiss", "u1", lambda raw: raw[45:].fill(255))
    with pytest.raises(AppiaError, match="a vector has numbers that are not finite"):
        open_index(folder, trials)


def test_lists_of_faiss_that_name_no_vector_are_refused(tmp_path: Path, trials: ProcessTrials) -> None:
    """Numbers in the lists of format 1 beyond the vectors."""
    folder = Path(shutil.copytree(OLD, tmp_path / "old"))
    ivf: Any = faiss.read_index(str(OLD / "ivf.faiss"))
    ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(0), ivf.invlists.list_size(0))
    ids[0] = 1 << 40
    faiss.write_index(ivf, str(tmp_path / "changed"))
    changed = np.fromfile(tmp_path / "changed", np.uint8)
    _change(folder, "ivf.faiss", "u1", lambda raw: raw.__setitem__(slice(None), changed))
    assert open_index(folder).rows == 400
    with pytest.raises(AppiaError, match="do not hold each of the 300 vectors once"):
        open_index(folder, trials)


@pytest.mark.parametrize("name", ["vectors.faiss", "ivf.faiss"])
def test_another_kind_of_faiss_index_is_not_opened(tmp_path: Path, name: str) -> None:
    """faiss would read any of its kinds, a graph for instance, whatever the manifest says."""
    folder = Path(shutil.copytree(OLD, tmp_path / "old"))
    graph = faiss.IndexHNSWFlat(8, 4)
    graph.add(np.random.default_rng(1).normal(size=(300, 8)).astype("f4"))
    size = (folder / name).stat().st_size
    faiss.write_index(graph, str(tmp_path / "graph"))
    kind = np.frombuffer((tmp_path / "graph").read_bytes()[:size], np.uint8)
    _change(folder, name, "u1", lambda raw: raw.__setitem__(slice(None), kind))
    with pytest.raises(AppiaError, match=f"{name} (is no flat index|holds no lists)"):
        open_index(folder)


@pytest.mark.parametrize(("fact", "value"), [("dim", "x"), ("items", None), ("nprobe", -1), ("metric", 7)])
def test_facts_that_make_no_sense_fail_that_index_only(
    tmp_path: Path, trials: ProcessTrials, fact: str, value: Any
) -> None:
    """Whatever a manifest says, what comes out is the error that leaves the rest of the day served."""
    folder = _index(tmp_path / "made")
    facts = {**read_manifest(folder).facts, fact: value}
    _state(folder, facts)
    with pytest.raises(AppiaError):
        open_index(folder, trials)
    del facts["index"]
    _state(folder, facts)
    with pytest.raises(AppiaError):
        open_entity_index(folder)


@pytest.mark.parametrize("changed", [{"min_reader": "1"}, {"rows": "many"}, {"facts": []}, {"rows": -1}])
def test_a_manifest_of_other_types_fails_that_index_only(
    tmp_path: Path, trials: ProcessTrials, changed: dict[str, Any]
) -> None:
    folder = _index(tmp_path / "made")
    made = replace(read_manifest(folder), **changed)
    (folder / MANIFEST).write_bytes(made.to_json())
    with pytest.raises(AppiaError):
        open_index(folder, trials)


ENDS = {
    "os.kill(os.getpid(), 11)": "it ended the process (SIGSEGV)",
    "ctypes.string_at(8)": "it ended the process (SIGSEGV)",
    "os._exit(3)": "it ended the process (exit status 3)",
    "os.abort()": "it ended the process (SIGABRT)",
    "bytearray(1 << 40)": "it took more memory than it may",
    "time.sleep(100)": "it took more than 2 seconds",
    "open({!r}, 'wb').write(b'x' * 100000)": "this was found: OSError: [Errno 27] File too large",
    "raise AppiaError('so it is')": "this was found: so it is",
    "os.kill(os.getppid(), 9)": "the process that tries it ended",
}


@pytest.mark.parametrize("what", list(ENDS))
def test_whatever_opening_does_it_does_to_nobody_else(tmp_path: Path, start: Start, what: str) -> None:
    """It is told in a sentence, and the next index is tried as if nothing had been."""
    trials = start(what.format(str(tmp_path / "written")), TrialLimits(2.0, 64 << 20))
    bad, sound = _index(tmp_path / "bad", "fast"), _index(tmp_path / "sound")
    with pytest.raises(AppiaError) as caught:
        open_index(bad, trials)
    assert str(caught.value) == f"{bad} is not used: when it was tried, {ENDS[what]}; run `appia verify`"
    assert open_index(sound, trials).rows == ROWS


def test_each_version_is_tried_once(tmp_path: Path, start: Start) -> None:
    """What passed is known by its content, wherever it lies; the helper ends when there is nothing to do."""
    trials = start("raise AppiaError('never')")
    first = _index(tmp_path / "sound")
    open_index(first, trials)
    trials.rest()
    for _ in range(2):
        open_index(first, trials)
    again = Path(shutil.copytree(first, tmp_path / "copied"))
    open_index(again, trials)
    assert (tmp_path / "helpers").read_bytes() == b"x"
    _change(again, "rows.bin", "<u4", _at(3, 5))
    with pytest.raises(AppiaError, match="never"):
        open_index(again, trials)
    assert (tmp_path / "helpers").read_bytes() == b"xx"


def test_a_helper_that_cannot_start_is_told(tmp_path: Path) -> None:
    """Nothing is opened that was not tried."""
    trials = ProcessTrials(module="no_such_module")
    with pytest.raises(AppiaError, match=r"the process that tries it (ended|did not answer)"):
        open_index(_index(tmp_path / "made"), trials)
    trials.rest()


def test_a_helper_that_the_system_does_not_start_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without file handles left is told so for this index, and has as many as before."""

    def refused(*_args: object, **_more: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", refused)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(AppiaError, match="Too many open files"):
            open_index(_index(tmp_path / "version"), ProcessTrials())
        shutil.rmtree(tmp_path / "version")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_manifest_too_large_to_hand_over_is_refused(tmp_path: Path, trials: ProcessTrials) -> None:
    folder = _index(tmp_path / "made")
    _state(folder, {**read_manifest(folder).facts, "passed_over": ["x" * 200_000]})
    with pytest.raises(AppiaError, match="which are too many"):
        open_index(folder, trials)


def test_a_helper_whose_replica_was_killed_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has an answer that nobody hears any more: no traceback in a log, and no process that stays."""
    monkeypatch.setattr(trial_process, "_tried", lambda *_: "")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.send(b"{}")
    trial_process.serve(theirs, lambda _: None)
    assert theirs.fileno() == -1
