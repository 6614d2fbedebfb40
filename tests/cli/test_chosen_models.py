"""The settings `semantic_model` and `temporal_model` choose the models of a whole stack, from intake to sealed days."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from services.common.embedding.manifest import MANIFEST_FILE
from services.common.embedding.store import ModelStore

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Appia = Callable[..., subprocess.CompletedProcess[str]]
    Eventually = Callable[[str, Callable[[], bool]], None]


def copy_as(store: ModelStore, name: str, other: str) -> str:
    """Put a model into the store a second time, under another name; its id."""
    loaded = store.load(name)
    manifest = loaded.manifest.model_copy(update={"name": other})
    with store.stage(other) as staged:
        for file, data in loaded.files.items():
            (staged / file).write_bytes(data)
        (staged / MANIFEST_FILE).write_bytes(manifest.to_json())
        store.install(staged)
    return manifest.model_id


@pytest.fixture
def chosen(own_models: Path) -> dict[str, str]:
    """A second sentence model and a second window model in the store: their ids by index."""
    store = ModelStore(own_models)
    return {index: copy_as(store, index, f"{index}-two") for index in ("semantic", "temporal")}


def test_chosen_models_make_open_and_sealed_days(  # noqa: PLR0917 - fixtures
    start_stack: Callable[..., object],
    appia: Appia,
    own_models: Path,
    chosen: dict[str, str],
    sample: Path,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    """Events, questions and the sealed day all use the chosen models; the state keeps copies of no others of these."""
    settings = tmp_path / "mine.toml"
    settings.write_text('[ingester]\nsemantic_model = "semantic-two"\ntemporal_model = "temporal-two"\n')
    state = tmp_path / "state"
    start_stack(state, "--settings", str(settings), "--models", str(own_models))
    fed = appia("feed", "--state", str(state), "--format", "cicflowmeter", "--limit", "60", str(sample))
    assert fed.returncode == 0, fed.stderr

    def indexed() -> bool:
        days = json.loads(appia("days", "--state", str(state), "--json").stdout)["days"]
        return bool(days) and all(days[0]["indices"][index]["rows"] == 60 for index in chosen)

    def asked() -> tuple[str, str]:
        found = json.loads(appia("search", "name lookup", "--flat", "--state", str(state), "--json").stdout)
        event = found["hits"][0]["event_id"]
        like = json.loads(
            appia("similar", event, "--index", "temporal", "--state", str(state), "--json").stdout
        )
        return json.dumps(found["receipt"]["models"]), json.dumps(like["receipt"]["models"])

    eventually("all is indexed", indexed)
    assert [model in answer for model, answer in zip(chosen.values(), asked(), strict=True)] == [True, True]
    day = json.loads(appia("days", "--state", str(state), "--json").stdout)["days"][0]["day"]
    assert appia("seal", day, "--state", str(state)).returncode == 0
    assert [model in answer for model, answer in zip(chosen.values(), asked(), strict=True)] == [True, True]
    names = {path.name for path in (state / "models").iterdir()}
    assert names >= {"attack", "semantic-two", "temporal-two"}
    assert not names & set(chosen)


@pytest.mark.usefixtures("_models")
def test_a_model_that_is_not_there_is_named(appia: Appia, tmp_path: Path) -> None:
    """The start ends with one sentence that names the model and the setting."""
    (tmp_path / "mine.toml").write_text('[ingester]\nsemantic_model = "nowhere"\n')
    done = appia("up", "--state", str(tmp_path / "state"), "--settings", str(tmp_path / "mine.toml"))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("appia: there is no nowhere model in ")
    assert "the setting semantic_model asks for it" in last


@pytest.mark.usefixtures("_models")
def test_a_name_that_no_model_can_have_is_refused(appia: Appia, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[ingester]\ntemporal_model = "../elsewhere"\n')
    done = appia("up", "--state", str(tmp_path / "state"), "--settings", str(tmp_path / "mine.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "'temporal_model' is '../elsewhere'" in done.stderr
