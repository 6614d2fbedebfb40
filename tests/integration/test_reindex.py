"""A whole stack whose sealed days get the vectors of another model: killed in between, compared, served, taken back."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from services.cli.models import model_store_folder
from services.common.counts import read_counts
from services.common.days.file_blocks import COUNT
from services.common.embedding.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from services.common.embedding.store import ModelStore, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Stack = Any

APPIA = [sys.executable, "-m", "services.cli.main"]
EVENTS = 6000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store that the test may change."""
    given = os.environ.get("APPIA_MODELS")
    shipped = model_store_folder(Path(given) if given else None, os.environ)
    if not (shipped / "temporal" / "ACTIVE").exists():
        pytest.skip(f"no models are in {shipped}: run `appia models build`")
    return Path(shutil.copytree(shipped, tmp_path_factory.mktemp("models") / "store"))


def _install_other(store: Path, name: str, scale: float) -> str:
    """Make a model active that scales the components of the one that is; gives the new one's id."""
    models = ModelStore(store)
    loaded = models.load(name)
    graph = onnx.load_from_string(loaded.files[MODEL_FILE])
    (output,) = graph.graph.output
    inner = f"{output.name}-inner"
    for node in graph.graph.node:
        node.output[:] = [inner if out == output.name else out for out in node.output]
    factors = np.linspace(1.0, scale, loaded.manifest.dim, dtype=np.float32)
    graph.graph.initializer.append(numpy_helper.from_array(factors, "factors"))
    graph.graph.node.append(onnx.helper.make_node("Mul", [inner, "factors"], [output.name]))
    data = graph.SerializeToString()
    values = {**loaded.manifest.model_dump(mode="json"), "files": {MODEL_FILE: sha256_of(data)}}
    manifest = Manifest.model_validate(values)
    with models.stage(name) as staged:
        (staged / MODEL_FILE).write_bytes(data)
        (staged / MANIFEST_FILE).write_bytes(manifest.to_json())
        models.install(staged)
    return manifest.model_id


@pytest.fixture(scope="module")
def stack(start_stack: Callable[..., Stack], store: Path, sample: Path, feeds: Path, end_of: Any) -> Stack:
    """A stack with sealed days of the sample, and a day that is open."""
    stack = start_stack("--models", str(store))
    end_of(stack.feed("--format", "cicflowmeter", "--limit", str(EVENTS), str(sample)))
    stack.wait_for_rows(EVENTS)
    for day in stack.names.days():
        stack.appia("seal", day)
    end_of(stack.feed("--format", "zeek-conn", str(feeds / "conn.log")))
    return stack


def _models_served(stack: Stack, index: str) -> dict[str, str]:
    days = stack.appia("days")["days"]
    return {day["day"]: day["indices"][index]["model"] for day in days if day["state"] == "sealed"}


def test_sealed_days_get_another_model_while_the_old_one_serves(
    stack: Stack, store: Path, eventually: Callable[..., None]
) -> None:
    """Killed with kill -9 while it embeds, it goes on; the answers change when it is activated and change back."""
    before = _models_served(stack, "attack")
    old = set(before.values()).pop()
    new = _install_other(store, "attack", 3.0)
    words = ["reindex", "--index", "attack", "--models", str(store)]
    largest = max(before, key=lambda day: stack.rows()[day])
    work = stack.names.day(largest).generation(1).index_work("attack")
    running = subprocess.Popen(
        [*APPIA, *words, largest, "--state", str(stack.names.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (done := read_counts(work / COUNT)[0]):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)
    ingester = stack.now.ingester.pid
    os.kill(ingester, signal.SIGKILL)
    done = read_counts(work / COUNT)[0]
    running.communicate()
    assert running.returncode == 1
    eventually("it is back", lambda: stack.now.ingester.pid != ingester)
    assert _models_served(stack, "attack") == before

    answer = stack.appia(*words)
    assert {(one["day"], one["model"]) for one in answer["made"]} == {(day, new) for day in before}
    resumed = next(one for one in answer["made"] if one["day"] == largest)
    assert resumed["kept"] == done > 0
    assert (answer["served"], answer["failed"]) == ([], [])
    for one in answer["waiting"]:
        assert (one["served"], one["waiting"], one["overlap"]["before"]) == (old, new, old)
        assert 0 < one["overlap"]["mean"] <= 1
    assert _models_served(stack, "attack") == before, "nobody asked for it to be served"
    assert stack.appia(*words)["made"] == [], "it waits already"

    served = stack.appia("reindex", "--activate", "--index", "attack")["served"]
    assert {one["day"] for one in served} == set(before)
    eventually("replicas follow", lambda: set(_models_served(stack, "attack").values()) == {new})
    stack.appia("verify")
    back = stack.appia("reindex", "--rollback", largest)["served"]
    assert [(one["day"], one["model"]) for one in back] == [(largest, old)]
    eventually("replicas follow", lambda: _models_served(stack, "attack")[largest] == old)
    stack.appia("reindex", "--activate", largest)
    eventually("replicas follow", lambda: set(_models_served(stack, "attack").values()) == {new})


def test_questions_reach_days_of_both_models(stack: Stack, eventually: Callable[..., None]) -> None:
    """The open day has the new model since the restart: an event of it finds sealed ones that were taken back."""
    stack.appia("reindex", "--rollback", "--index", "attack")
    eventually("replicas follow", lambda: len(set(_models_served(stack, "attack").values())) == 1)
    (opened,) = (day["day"] for day in stack.appia("days")["days"] if day["state"] == "open")
    event = stack.appia("list", "--limit", "1", "--day", opened)["events"][0]
    for index in ("attack", "fused"):
        answer = stack.appia("similar", event["event_id"], "--index", index, "-k", "8", "--flat")
        assert {hit["day"] for hit in answer["hits"]} - {opened}, "sealed days are of the other model"
        assert len(answer["receipt"]["models"]["attack"]) == 2
        assert answer["receipt"]["missing"] == []
    stack.appia("reindex", "--activate", "--index", "attack")


def test_a_terminal_is_asked_before_the_new_vectors_serve(stack: Stack, store: Path) -> None:
    """The report is shown, and what is answered counts: no leaves the old vectors, y serves the new ones."""
    before = _models_served(stack, "temporal")
    _install_other(store, "temporal", 5.0)
    words = ["reindex", "--index", "temporal", "--models", str(store)]
    status, shown = _on_terminal([*APPIA, *words, "--state", str(stack.names.root)], b"n\n")
    assert (status, "Serve the new vectors? [y/N]" in shown, "overlap" in shown) == (0, True, True)
    assert "wait for `appia reindex --activate`" in shown
    assert _models_served(stack, "temporal") == before
    status, shown = _on_terminal([*APPIA, *words, "--state", str(stack.names.root)], b"y\n")
    assert (status, "is served by temporal@" in shown) == (0, True)
    assert stack.appia(*words, "--yes")["waiting"] == []
    assert stack.appia("verify")["days"]


def _on_terminal(command: list[str], answer: bytes) -> tuple[int, str]:
    """Run a command whose input and output are a terminal, and type an answer."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    os.write(leader, answer)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(leader)
    return process.wait(60), shown.decode()


def test_what_cannot_be_done_is_a_sentence(stack: Stack) -> None:
    """Open days, unknown indices, and nothing to serve or to go back to are refused."""
    root = str(stack.names.root)

    def refused(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*APPIA, "reindex", *words, "--state", root], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert refused("2001-01-01") == (
        1,
        (
            "appia: Day 2001-01-01 is not sealed: `appia days` shows which are, and `appia seal 2001-01-01` seals it "
            "if it has events.\n"
        ),
    )
    assert refused("--index", "nothing")[0] == 2
    assert refused("--activate", "--rollback")[0] == 2
    assert refused("yesterday")[0] == 2
    status, said = refused("--activate", "--index", "semantic")
    assert (status, said) == (1, "appia: no index of any sealed day has a version that waits to be served\n")
    status, said = refused("--rollback", "--index", "semantic")
    assert (status, said) == (1, "appia: no index of any sealed day has an earlier version to go back to\n")
    assert json.loads(json.dumps(stack.appia("reindex", "--index", "semantic")))["made"] == []
