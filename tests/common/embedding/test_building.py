"""The builder starts the scripts, skips what is up to date, and says in one sentence what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.embedding import building
from services.common.embedding.building import Builder, checkout, inputs_digest
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.embedding.manifest import Manifest
    from services.common.embedding.store import ModelStore

    Install = Callable[..., Manifest]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose attack script fails as a script does: progress, then one sentence."""
    scripts = tmp_path / "project" / "models"
    scripts.mkdir(parents=True)
    (scripts / "making.py").write_text("")
    (scripts / "build_attack.py").write_text(
        'import sys\nprint("attack: half way", flush=True)\nsys.exit("There is no recorded traffic.")\n'
    )
    return scripts.parent


def test_the_checkout_holds_the_scripts() -> None:
    assert (checkout() / "models" / "build_attack.py").is_file()


def test_an_unknown_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="no model named 'entity'; the models are attack, semantic, temporal"
    ):
        Builder(checkout(), tmp_path, print).build(["entity"])


def test_missing_scripts_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AppiaError, match="run this from a checkout"):
        Builder(tmp_path, tmp_path / "models", print).build(["attack"])


def test_a_missing_package_is_told_with_the_command(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_EXTRA_PACKAGES", ("a_package_nobody_has",))
    with pytest.raises(AppiaError, match=r"needs a_package_nobody_has, .*pip install -e '.*\[models\]'"):
        Builder(project, tmp_path / "store", print).build(["attack"])


def test_a_failing_script_passes_its_lines_and_its_sentence(project: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(AppiaError, match=r"The attack model was not built: There is no recorded traffic\."):
        Builder(project, tmp_path / "store", lines.append).build(["attack"])
    assert lines == ["attack: half way", "There is no recorded traffic."]


def test_a_model_of_the_same_inputs_is_not_built_again(
    project: Path, store: ModelStore, install: Install
) -> None:
    manifest = install(inputs_digest=inputs_digest(project, "attack"))
    lines: list[str] = []
    assert Builder(project, store.root, lines.append).build(["attack"]) == [manifest.model_id]
    assert lines == [f"attack: already built ({manifest.model_id})"]


def test_a_changed_script_is_run_again(project: Path, store: ModelStore, install: Install) -> None:
    install(inputs_digest=inputs_digest(project, "attack"))
    (project / "models" / "build_attack.py").write_text('raise SystemExit("run again")')
    with pytest.raises(AppiaError, match="run again"):
        Builder(project, store.root, print).build(["attack"])


def test_a_damaged_model_is_built_again(project: Path, store: ModelStore, install: Install) -> None:
    manifest = install(inputs_digest=inputs_digest(project, "attack"))
    path = store.root / "attack" / manifest.sha256 / "model.onnx"
    path.chmod(0o644)
    path.write_bytes(b"damage")
    with pytest.raises(AppiaError, match="was not built"):
        Builder(project, store.root, print).build(["attack"])


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
