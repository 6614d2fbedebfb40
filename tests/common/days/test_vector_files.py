"""Sealed vectors on disk: every form gives the neighbours it promises, also those of the format before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest

from services.common.days import compression
from services.common.days.distinct import Embedded
from services.common.days.expansion import Nearness
from services.common.days.manifest import INDEX_FORMAT, MANIFEST, Manifest, digest_folder
from services.common.days.open_writer import VectorSpec
from services.common.days.sealed_reader import open_index
from services.common.days.vector_files import write_vectors
from services.common.days.vectors import NO_VECTOR
from services.common.durable import REAL
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.policies import Compression
    from services.common.days.vectors import VectorIndex

OLD = Path(__file__).parents[2] / "data" / "formats" / "index-1"
DIM = 16


def _clusters(items: int, directions: int = DIM, metric: str = "l2") -> np.ndarray:
    """Vectors around a few centres, none of them twice, that differ in some directions only."""
    rng = np.random.default_rng(8)
    spread = rng.normal(size=(items, directions)) @ rng.normal(size=(directions, DIM))
    vectors = rng.normal(size=(20, DIM))[rng.integers(0, 20, items)] * 5 + spread
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def _write(
    folder: Path, vectors: np.ndarray, compression: Compression, metric: str = "l2", codes: Any = None
) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    codes = np.arange(len(vectors), dtype=np.uint32) if codes is None else codes
    spec = VectorSpec("attack", "attack@0", DIM, metric)
    facts = write_vectors(REAL, folder, Embedded(vectors, codes), spec, compression)
    named = {"index": "attack", "model": "attack@0", "dim": DIM, "metric": metric, **facts}
    manifest = Manifest(
        "index", "2026-01-22", 1, len(codes), "", digest_folder(folder), named, INDEX_FORMAT, INDEX_FORMAT
    )
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return facts


def _recall(index: VectorIndex, vectors: np.ndarray, asked: int = 200) -> float:
    """The share of the ten true neighbours, by the given vectors, of rows that the index was not measured with."""
    near = Nearness(np.zeros(len(vectors), np.int64), 0)
    shares = []
    for row in np.random.default_rng(99).choice(len(vectors), asked, replace=False).tolist():
        if index.spec.metric == "cosine":
            true = 1 - vectors @ vectors[row]
        else:
            true = np.linalg.norm(vectors - vectors[row], axis=1)
        true[row] = np.inf
        found = index.search(index.vector(row), 11, near).rows
        shares.append(np.mean(true[found[found != row][:10]] <= np.sort(true)[9] * 1.00001 + 1e-6))
    return float(np.mean(shares))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize(("wanted", "kind"), [("fast", "fp32"), ("balanced", "sq8"), ("maximum", "pq")])
def test_what_a_policy_gives_finds_the_neighbours(
    tmp_path: Path, wanted: Compression, kind: str, metric: str
) -> None:
    """Measured from outside, recall@10 is near what the manifest says, and not far under 0.99 in any form."""
    vectors = _clusters(12_000, 2, metric)
    facts = _write(tmp_path, vectors, wanted, metric)
    index = open_index(tmp_path)
    assert (facts["wanted"], facts["kind"]) == (wanted, kind)
    assert facts["recall_at_10"] >= 0.99
    assert _recall(index, vectors) >= 0.985
    stored = sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix in {".bin", ".faiss"})
    stored -= (tmp_path / "rows.bin").stat().st_size
    assert stored == pytest.approx(12_000 * facts["bytes_per_vector"], rel=0.01)
    if facts["kind"] != "fp32":
        assert facts["bytes_per_vector"] <= compression.WORTH * 4 * DIM
        assert not (tmp_path / "vectors.faiss").exists()


def test_a_row_is_its_own_nearest_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of one vector have distance 0, however small its form."""
    vectors = _clusters(1500)
    codes = np.concatenate([np.arange(1500), np.arange(100)]).astype(np.uint32)
    for kind in ("sq8", "fp16", "pq"):
        monkeypatch.setattr(compression, "SMALLER", {"balanced": (kind,)})
        monkeypatch.setattr(compression, "LEAST_RECALL", 0.0)
        monkeypatch.setattr(compression, "WORTH", 2.0)
        folder = tmp_path / kind
        assert _write(folder, vectors, "balanced", codes=codes)["kind"] == kind
        index = open_index(folder)
        for row in (3, 50, 1599):
            found = index.search(index.vector(row), 2, Nearness(np.zeros(1600, np.int64), 0))
            assert set(found.rows.tolist()) == {row % 1500, row % 1500 + 1500}
            assert found.distances.tolist() == [0.0, 0.0]
            others = index.distances(index.vector(row), np.arange(1600))
            assert others[found.rows].tolist() == [0.0, 0.0]


def test_a_form_that_loses_neighbours_is_passed_over_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no smaller form is good enough the vectors stay whole, and the manifest says what each reached."""
    monkeypatch.setattr(compression, "LEAST_RECALL", 1.1)
    vectors = _clusters(1500)
    facts = _write(tmp_path, vectors, "maximum")
    assert (facts["kind"], facts["wanted"], facts["recall_at_10"]) == ("fp32", "maximum", 1.0)
    assert [told.split(" ")[:2] for told in facts["passed_over"]] == [
        ["sq8:", "recall@10"],
        ["pq:", "recall@10"],
        ["fp16:", "recall@10"],
    ]
    assert (open_index(tmp_path).vector(77) == vectors[77]).all()


def test_few_vectors_stay_whole(tmp_path: Path) -> None:
    """Under a thousand vectors nothing is saved, and the manifest says so."""
    facts = _write(tmp_path, _clusters(999), "maximum")
    assert facts["kind"] == "fp32"
    assert facts["passed_over"] == ["smaller forms: 999 vectors are too few"]


def test_many_vectors_get_lists_and_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit vectors lie list by list; each row still has its own vector, and faiss reads the file."""
    monkeypatch.setattr(compression, "EXACT_NUMBERS", 1000)
    vectors = _clusters(4000)
    codes = np.random.default_rng(3).permutation(4000).astype(np.uint32)
    facts = _write(tmp_path, vectors, "fast", codes=codes)
    index = open_index(tmp_path)
    assert facts["kind"] == "fp32"
    assert 1 <= facts["nprobe"] < facts["nlist"]
    assert all((index.vector(row) == vectors[codes[row]]).all() for row in range(0, 4000, 37))
    assert faiss.read_index(str(tmp_path / "vectors.faiss")).ntotal == 4000
    assert _recall(index, vectors[codes]) >= 0.99


def test_the_same_vectors_give_the_same_files(tmp_path: Path) -> None:
    """Sealing again writes the same bytes, in every form."""
    vectors = _clusters(2000)
    for wanted in ("fast", "balanced", "maximum"):
        digests = []
        for attempt in ("first", "second"):
            folder = tmp_path / f"{wanted}-{attempt}"
            _write(folder, vectors, wanted)
            digests.append(digest_folder(folder))
        assert digests[0] == digests[1]


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("wanted", ["fast", "balanced", "maximum"])
def test_empty_and_single(tmp_path: Path, rows: int, wanted: Compression) -> None:
    """A day without events, or with one, has an index too."""
    vectors = _clusters(rows)
    _write(tmp_path, vectors, wanted)
    found = open_index(tmp_path).search(np.ones(DIM, np.float32), 5, Nearness(np.zeros(1, np.int64), 0))
    assert found.rows.tolist() == list(range(rows))


def test_rows_without_a_vector_are_never_found(tmp_path: Path) -> None:
    """They have no vector and no distance; a filter that passes only them finds nothing, others lose nothing."""
    vectors = _clusters(3000)
    codes = np.arange(3000, dtype=np.uint32)
    numbers = np.full(6000, NO_VECTOR, np.uint32)
    numbers[::2] = codes
    for wanted in ("fast", "balanced"):
        folder = tmp_path / wanted
        facts = _write(folder, vectors, wanted, codes=numbers)
        index = open_index(folder)
        assert (facts["rows_with_vector"], index.rows, index.left_out) == (3000, 6000, 3000)
        assert index.has(4)
        assert not index.has(5)
        assert not index.has(6000)
        with pytest.raises(IndexError, match="row 5 has no vector"):
            index.vector(5)
        near = Nearness(np.zeros(6000, np.int64), 0)
        query = index.vector(4)
        assert index.distances(query, np.array([4, 5, 6001])).tolist() == [0.0, np.inf, np.inf]
        assert (index.search(query, 500, near).rows % 2 == 0).all()
        assert index.search(query, 10, near, np.arange(1, 6000, 2)).rows.tolist() == []
        mixed = index.search(query, 10, near, np.arange(4, 9))
        assert sorted(mixed.rows.tolist()) == [4, 6, 8]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A writable copy of an index of format 1, with an IVF index of faiss beside its vectors."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_format_1_is_read(old: Path) -> None:
    """An index that an earlier release wrote answers as exact search over its vectors does."""
    index = open_index(old)
    vectors = np.asarray(index.vectors)
    assert (index.rows, len(vectors), index.left_out) == (400, 300, 0)
    assert index.accelerator is not None
    everything = index.distances(index.vector(7), np.arange(400))
    found = index.search(index.vector(7), 10, Nearness(np.zeros(400, np.int64), 0))
    assert found.distances.tolist() == np.sort(everything)[:10].tolist()
    exact = replace(index, accelerator=None).search(index.vector(7), 10, Nearness(np.zeros(400, np.int64), 0))
    assert exact.distances.tolist() == found.distances.tolist()


def test_a_newer_format_is_refused(old: Path) -> None:
    """A format that this release does not know is named with what to do."""
    text = (old / MANIFEST).read_text().replace('"min_reader": 1', '"min_reader": 3')
    (old / MANIFEST).write_text(text)
    with pytest.raises(AppiaError, match="needs a reader of format 3, this release knows 2"):
        open_index(old)


@pytest.mark.parametrize("name", ["lists.bin", "vectors.bin", "rows.bin"])
def test_a_file_that_does_not_fit_its_manifest_is_refused(tmp_path: Path, name: str) -> None:
    """Also where the manifest was written anew for a file that was cut off."""
    facts = _write(tmp_path, _clusters(3000), "balanced")
    assert facts["kind"] in {"sq8", "fp16"}
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-4])
    named = {"index": "attack", "model": "attack@0", "dim": DIM, "metric": "l2", **facts}
    manifest = Manifest("index", "2026-01-22", 1, 3000, "", digest_folder(tmp_path), named)
    (tmp_path / MANIFEST).write_bytes(manifest.to_json())
    with pytest.raises(AppiaError, match=f"{name} has .* bytes and should have"):
        open_index(tmp_path)
