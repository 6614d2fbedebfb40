"""The builder copies what is shipped, starts the scripts of the rest, and says in one sentence what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.embedding import building
from services.common.embedding.building import SHIPPED_FOLDER, SHIPPED_NAMES, USER_SCRIPT, Builder, checkout
from services.common.embedding.manifest import MANIFEST_FILE, MODEL_FILE, MadeBy
from services.common.embedding.model_inputs import SOURCES, inputs_digest, script_of
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.embedding.manifest import Manifest
    from services.common.embedding.store import ModelStore

    Install = Callable[..., Manifest]

TRAINED = MadeBy(script=USER_SCRIPT, arguments=("attack",), libraries={})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose semantic script fails as a script does: progress, then one sentence."""
    scripts = tmp_path / "project" / "models"
    scripts.mkdir(parents=True)
    (scripts / "build_semantic.py").write_text(
        'import sys\nprint("semantic: half way", flush=True)\nsys.exit("There are no weights.")\n'
    )
    return scripts.parent


@pytest.fixture
def shipped(project: Path, make_manifest: Callable[..., Manifest], model_bytes: bytes) -> Manifest:
    """An attack model that the project ships."""
    folder = project / SHIPPED_FOLDER / "attack"
    folder.mkdir(parents=True)
    manifest = make_manifest({MODEL_FILE: model_bytes}, training_data="what is shipped")
    (folder / MODEL_FILE).write_bytes(model_bytes)
    (folder / MANIFEST_FILE).write_bytes(manifest.to_json())
    return manifest


def test_the_checkout_holds_every_script() -> None:
    assert all((checkout() / script_of(name)).is_file() for name in SOURCES)


def test_an_unknown_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model named 'none'; the models are attack, attack-pca, entity"):
        Builder(checkout(), tmp_path, print).build(["none"])


def test_a_shipped_model_is_copied_and_in_use(project: Path, store: ModelStore, shipped: Manifest) -> None:
    lines: list[str] = []
    assert Builder(project, store.root, lines.append).build(["attack"]) == [shipped.model_id]
    assert store.load("attack").manifest == shipped
    assert lines == [f"attack: {shipped.model_id} is ready in {store.root}"]


@pytest.mark.usefixtures("shipped")
def test_copying_needs_no_package_of_an_extra(
    project: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_EXTRA_PACKAGES", ("a_package_nobody_has",))
    assert Builder(project, store.root, print).build(["attack"])


def test_what_is_there_is_not_copied_again(project: Path, store: ModelStore, shipped: Manifest) -> None:
    Builder(project, store.root, print).build(["attack"])
    before = (store.root / "attack" / shipped.sha256 / MANIFEST_FILE).stat().st_ino
    lines: list[str] = []
    Builder(project, store.root, lines.append).build(["attack"])
    assert lines == [f"attack: already built ({shipped.model_id})"]
    assert (store.root / "attack" / shipped.sha256 / MANIFEST_FILE).stat().st_ino == before


def test_a_newer_shipped_model_takes_the_place_of_an_older_one(
    project: Path, store: ModelStore, install: Install, shipped: Manifest
) -> None:
    old = install(dim=2)
    assert Builder(project, store.root, print).build(["attack"]) == [shipped.model_id]
    assert {model.sha256: model.active for model in store.models()} == {
        old.sha256: False,
        shipped.sha256: True,
    }


def test_a_model_trained_by_the_user_stays_in_use(
    project: Path, store: ModelStore, install: Install, shipped: Manifest
) -> None:
    mine = install(dim=2, made_by=TRAINED)
    lines: list[str] = []
    assert Builder(project, store.root, lines.append).build(["attack"]) == [mine.model_id]
    assert lines[0].startswith(f"attack: {mine.model_id} was trained here and stays in use")
    assert Builder(project, store.root, print, replace_trained=True).build(["attack"]) == [shipped.model_id]


def test_a_damaged_model_is_replaced(project: Path, store: ModelStore, shipped: Manifest) -> None:
    """Also one that claims to be the user's: nobody can use it."""
    Builder(project, store.root, print).build(["attack"])
    path = store.root / "attack" / shipped.sha256 / MODEL_FILE
    path.chmod(0o644)
    path.write_bytes(b"damage")
    Builder(project, store.root, print).build(["attack"])
    store.verify("attack", shipped.sha256)


def test_a_damaged_shipped_file_is_refused(project: Path, store: ModelStore, shipped: Manifest) -> None:
    (project / SHIPPED_FOLDER / "attack" / MODEL_FILE).write_bytes(b"damage")
    with pytest.raises(AppiaError, match="is damaged"):
        Builder(project, store.root, print).build(["attack"])
    assert not (store.root / "attack" / shipped.sha256).exists()


@pytest.mark.usefixtures("shipped")
def test_a_model_under_another_name_is_refused(project: Path, store: ModelStore) -> None:
    folder = project / SHIPPED_FOLDER
    (folder / "attack").rename(folder / "temporal")
    with pytest.raises(AppiaError, match="holds a model named attack"):
        Builder(project, store.root, print).build(["temporal"])


def test_a_missing_shipped_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match=r"attack model is not in .*run this from a checkout"):
        Builder(tmp_path, tmp_path / "models", print).build(["attack"])


def test_missing_scripts_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match="run this from a checkout"):
        Builder(tmp_path, tmp_path / "models", print).build(["semantic"])


def test_a_missing_package_is_told_with_the_command(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_EXTRA_PACKAGES", ("a_package_nobody_has",))
    with pytest.raises(AppiaError, match=r"needs a_package_nobody_has, .*pip install -e '.*\[models\]'"):
        Builder(project, tmp_path / "store", print).build(["semantic"])


def test_a_failing_script_passes_its_lines_and_its_sentence(project: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(AppiaError, match=r"The semantic model was not built: There are no weights\."):
        Builder(project, tmp_path / "store", lines.append).build(["semantic"])
    assert lines == ["semantic: half way", "There are no weights."]


def test_a_model_of_the_same_inputs_is_not_made_again(
    project: Path, store: ModelStore, install: Install
) -> None:
    manifest = install(name="semantic", inputs_digest=inputs_digest(project, "semantic"))
    lines: list[str] = []
    assert Builder(project, store.root, lines.append).build(["semantic"]) == [manifest.model_id]
    assert lines == [f"semantic: already built ({manifest.model_id})"]


def test_a_changed_script_is_run_again(project: Path, store: ModelStore, install: Install) -> None:
    install(name="semantic", inputs_digest=inputs_digest(project, "semantic"))
    (project / "models" / "build_semantic.py").write_text('raise SystemExit("run again")')
    with pytest.raises(AppiaError, match="run again"):
        Builder(project, store.root, print).build(["semantic"])


def test_the_digest_follows_names_and_contents(project: Path) -> None:
    digests = {inputs_digest(project, "attack")}
    (project / "samples").mkdir()
    (project / "samples" / "a.csv.gz").write_bytes(b"1")
    digests.add(inputs_digest(project, "attack"))
    (project / "samples" / "a.csv.gz").write_bytes(b"2")
    digests.add(inputs_digest(project, "attack"))
    (project / "samples" / "a.csv.gz").rename(project / "samples" / "b.csv.gz")
    digests.add(inputs_digest(project, "attack"))
    assert len(digests) == 4


def test_every_pattern_of_inputs_names_a_file() -> None:
    """A renamed script that nobody follows would leave a model out of date without a word."""
    empty = [
        (name, pattern)
        for name, source in SOURCES.items()
        for pattern in source.inputs
        if not list(checkout().glob(pattern))
    ]
    assert not empty


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_what_is_shipped_was_made_from_the_files_that_are_here(name: str, store: ModelStore) -> None:
    """Where this fails, run `python -m models.make_shipped` and commit what it makes."""
    Builder(checkout(), store.root, print).build([name])
    loaded = store.load(name)
    assert loaded.manifest.inputs_digest == inputs_digest(checkout(), name)
    assert loaded.manifest.licence.startswith("Apache-2.0")
    assert sum(map(len, loaded.files.values())) < 5_000_000
