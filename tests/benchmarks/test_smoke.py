"""A benchmark runs from end to end on a small part of the sample, and its results have what readers of them need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.traffic import write_rounds
from services.cli.store_folder import model_store_folder

PROJECT = Path(__file__).parents[2]
EVENTS = 500


@pytest.fixture
def _models() -> None:
    given = os.environ.get("APPIA_MODELS")
    store = model_store_folder(None if given is None else Path(given), os.environ)
    if not (store / "temporal" / "ACTIVE").exists():
        pytest.skip(f"no models are in {store}: run `appia models build`")


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "benchmarks" / script), *words]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("_models")
def test_ingest_writes_whole_results(tmp_path: Path) -> None:
    """500 events of the sample go in, are seen, sealed and measured, and both result files say so."""
    out = tmp_path / "results" / "ingest.json"
    sample = PROJECT / "samples" / "office-day.csv.gz"
    words = ("--events", str(EVENTS), "--input", str(sample), "--work", str(tmp_path / "work"))
    done = run("bench_ingest.py", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result) == {"bench", "command", "machine", "settings", "figures"}
    assert {"cpu", "cores", "memory_gib", "kernel", "python", "packages", "date", "commit"} <= set(
        result["machine"]
    )
    figures = result["figures"]
    assert set(figures) == {"speed", "ingester_resident", "cpu", "ingester_threads", "sealing", "disk"}
    assert (figures["speed"]["stored"], figures["speed"]["refused"]) == (EVENTS, {})
    assert sum(day["rows"] for day in figures["sealing"]["days"].values()) == EVENTS
    assert {"intake", "indexer", "sink"} <= set(figures["ingester_threads"])
    assert all(figures["disk"]["sealed_by_part"].values())
    text = out.with_suffix(".md").read_text()
    assert "500 events" in text
    assert str(tmp_path) not in text + out.read_text(), "results hold no folder of this machine"


@pytest.mark.usefixtures("_models")
def test_compression_compares_every_policy(tmp_path: Path) -> None:
    """Each index and policy has its size, recall and times; what keeps all numbers finds all neighbours."""
    out, work = tmp_path / "compression.json", tmp_path / "work"
    sample = PROJECT / "samples" / "office-day.csv.gz"
    words = ("--events", str(EVENTS), "--input", str(sample), "--work", str(work), "--questions", "20")
    done = run("bench_compression.py", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    for index in ("attack", "semantic", "temporal"):
        for policy in ("fast", "balanced", "maximum"):
            figure = figures[f"{index}_{policy}"]
            assert figure["recall_at_10"] >= 0.98
            assert 0 < figure["bytes"] <= figures[f"{index}_fast"]["bytes"]
        assert figures[f"{index}_fast"]["recall_at_10"] == 1.0


@pytest.mark.usefixtures("_models")
def test_semantic_counts_compares_and_asks(tmp_path: Path) -> None:
    """On the sample alone: its sentences are counted, 8 bits compared, and questions asked in three ways."""
    if not list((PROJECT / ".appia" / "cache").glob("*/model.safetensors")):
        pytest.skip("the weights of the semantic model are not in .appia/cache: it was built elsewhere")
    out = tmp_path / "semantic.json"
    done = run("bench_semantic.py", "--sample-only", "--out", str(out))
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    assert figures["narratives of samples/office-day"]["events"] == 7853
    assert 0.98 < figures["8 against 32 bits on samples/office-day"]["cosine_least"] <= 1
    asked = figures["questions, unseen, 8 bits"]
    assert asked["in Spanish through the glossary"]["found"] > asked["in Spanish as they are"]["found"] + 0.3


@pytest.mark.usefixtures("_models")
def test_novel_is_counted_by_label_and_timed(tmp_path: Path) -> None:
    """Every label of the sample has its share in every index; of its only day one in a thousand is novel."""
    out, work = tmp_path / "novel.json", tmp_path / "work"
    sample = PROJECT / "samples" / "office-day.csv.gz"
    words = ("--events", str(EVENTS), "--input", str(sample), "--work", str(work), "--weeks", "2")
    done = run("bench_novel.py", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    for index in ("attack", "semantic", "temporal", "fused"):
        groups = figures["novel_99.9"][index]
        assert sum(group["events"] for group in groups) == 7853
        assert len({group["label"] for group in groups}) == 10
        assert 0 < sum(group["events"] * group["novel"] for group in groups) <= 8.1
        assert figures[f"speed_{index}"]["first_s"] > 0


def test_missing_input_is_one_sentence(tmp_path: Path) -> None:
    """A file that is not there ends a benchmark with one sentence and status 1, before anything is started."""
    done = run("bench_ingest.py", "--input", str(tmp_path / "none.csv"), "--work", str(tmp_path / "work"))
    assert done.returncode == 1
    assert done.stderr.strip() == f"bench_ingest: there is no file {tmp_path / 'none.csv'}"
    assert not (tmp_path / "work").exists()


def test_rounds_go_through_the_weeks_first(tmp_path: Path) -> None:
    """With two weeks the second round is a week later, the third a little later than the first."""
    source = tmp_path / "flows.csv"
    source.write_text("Timestamp,Flow Duration\n2017-07-03 08:00:00,1000\n")
    write_rounds(source, tmp_path / "more.csv", 3, 0.05, weeks=2)
    times = [line.split(",")[0] for line in (tmp_path / "more.csv").read_text().splitlines()[1:]]
    assert [time[:19] for time in times] == [
        "2017-07-03 08:00:00",
        "2017-07-10 08:00:00",
        "2017-07-03 08:02:50",
    ]


def test_the_cost_of_safety_is_told_as_ratios(tmp_path: Path) -> None:
    """Logs and answers, plain and safe, each with its ratio; and what a signature takes."""
    out = tmp_path / "security.json"
    done = run("bench_security.py", "--events", "300", "--work", str(tmp_path / "work"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    assert figures["1000_answers_of_20_kB"]["ratio"] > 0
    assert {"read_all", "compress_and_write_blocks", "sign_ms", "sha256_mb_per_s"} <= set(figures)
