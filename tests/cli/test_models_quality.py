"""`appia models evaluate` and `appia models train` on days that a real stack has sealed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Appia = Callable[..., subprocess.CompletedProcess[str]]

DAY = "2026-11-20"
EVENTS = 7853


def test_evaluate_tells_every_index(appia: Appia, sealed_sample: Path) -> None:
    """Each index and fused, by class, the same as JSON and as a table; exit status 0 without a stack that runs."""
    done = appia("models", "evaluate", "--state", str(sealed_sample), "--baselines", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["days"], found["events"], found["plots"]) == ([DAY], EVENTS, [])
    assert found["base"] + sum(found["queries"].values()) == EVENTS
    names = [row["name"] for row in found["rows"]]
    assert names[3:] == ["attack", "semantic", "temporal", "fused"]
    fused = found["rows"][-1]
    assert fused["overall"] > 0.8
    assert set(fused["classes"]) == set(found["queries"])
    text = appia(
        "models", "evaluate", "--state", str(sealed_sample), "--index", "fused", "--confusion"
    ).stdout
    assert f"1 day: {found['base']:,} searched" in text
    shown = next(line for line in text.splitlines() if line.startswith("overall")).split()[-1]
    assert float(shown) == pytest.approx(fused["overall"], abs=0.001)
    assert "| class | its neighbours are |" in text


def test_pictures_are_written(appia: Appia, sealed_sample: Path, tmp_path: Path) -> None:
    """A PNG for each index that was asked for; the command says where."""
    pytest.importorskip("matplotlib", reason="needs the extra `train`")
    folder = tmp_path / "new" / "plots"
    words = ("--index", "semantic", "--index", "fused", "--plots", str(folder))
    done = appia("models", "evaluate", "--state", str(sealed_sample), *words)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["semantic.png"]
    assert f"Drawn: {folder / 'semantic.png'}" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("evaluate", "--index", "entity"), 2, "there is no index 'entity' to evaluate; there are: attack"),
        (("evaluate", "--days", "2026-11-19"), 1, "no sealed day 2026-11-19: `appia seal 2026-11-19`"),
        (("evaluate", "--days", "yesterday"), 2, "'yesterday' is not a day"),
        (("evaluate", "--days", ","), 2, "--days ',' names no day"),
        (("train", "semantic"), 2, "'semantic' cannot be trained; what can: attack, temporal"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    appia: Appia, sealed_sample: Path, words: tuple[str, ...], status: int, sentence: str
) -> None:
    """A wrong index, day or model ends with its status and a sentence, and nothing on standard output."""
    done = appia("models", *words, "--state", str(sealed_sample))
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in done.stderr


def test_a_trained_model_comes_into_use_or_not(appia: Appia, sealed_sample: Path, own_models: Path) -> None:
    """Training tells the scores beside the model in use, and leaves in the store what its answer says."""
    pytest.importorskip("torch", reason="needs the extra `train`")
    before = (own_models / "temporal" / "ACTIVE").read_text().strip()
    words = (
        "--seconds",
        "5",
        "--threads",
        "1",
        "--models",
        str(own_models),
        "--state",
        str(sealed_sample),
        "--json",
    )
    done = appia("models", "train", "temporal", *words)
    found = json.loads(done.stdout)
    names = [row["name"] for row in found["rows"]]
    assert names[-2:] == ["current", "new"]
    current, new = found["rows"][-2:]
    better = new["overall"] >= current["overall"] and new["macro"] >= current["macro"]
    assert found["better"] == found["installed"] == better
    assert done.returncode == (0 if better else 1)
    active = (own_models / "temporal" / "ACTIVE").read_text().strip()
    assert (active == before) == (not better)
