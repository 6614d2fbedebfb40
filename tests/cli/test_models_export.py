"""`appia models export`, as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Appia = Callable[..., subprocess.CompletedProcess[str]]


def test_a_folder_becomes_a_model_of_the_store(appia: Appia, tmp_path: Path) -> None:
    """A tiny Chronos goes into the store, is listed and whole, and the setting that chooses it is told."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    transformers = pytest.importorskip("transformers", reason="needs the extra train")
    torch.manual_seed(1)
    config = transformers.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    config.chronos_config = {
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "n_tokens": 64,
        "n_special_tokens": 2,
        "eos_token_id": 1,
        "use_eos_token": True,
    }
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "chronos-mini")
    words = "models", "export", "chronos", "--from", str(tmp_path / "chronos-mini")
    store = "--models", str(tmp_path / "store")
    done = appia(*words, *store)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^graph_to_torch_largest_difference: ", done.stdout, re.MULTILINE)
    assert 'temporal_model = "chronos-mini"' in done.stdout.splitlines()[-1]
    (listed,) = json.loads(appia("models", "list", *store, "--json").stdout)["models"]
    again = json.loads(appia(*words, *store, "--json").stdout)
    assert listed["model"] == again["model"]
    assert again["measured"]["graph_to_torch_largest_difference"] <= 1e-4
    assert appia("models", "verify", *store).returncode == 0


def test_a_wrong_folder_is_one_sentence(appia: Appia, tmp_path: Path) -> None:
    """Nothing of a folder that is none of the kind is stored, and the exit status says that the command was wrong."""
    pytest.importorskip("transformers", reason="needs the extra train")
    words = (
        "models",
        "export",
        "sbert",
        "--from",
        str(tmp_path),
        "--as",
        "mine",
        "--models",
        str(tmp_path / "store"),
    )
    done = appia(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"appia: {tmp_path} is not a sentence-transformers folder: modules.json cannot be read "
        "(No such file or directory)\n"
    )
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is not None, reason="the packages of the extra train are installed"
)
def test_without_the_extra_a_sentence_says_what_to_install(appia: Appia, tmp_path: Path) -> None:
    done = appia("models", "export", "sbert", "--from", str(tmp_path))
    assert done.returncode == 1
    assert "torch" in done.stderr
    assert "train" in done.stderr
