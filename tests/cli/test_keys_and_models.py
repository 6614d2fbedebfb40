"""`appia keys` and `appia models`: what they make, list and find damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.cli.keys import new
from services.cli.store_folder import model_store_folder
from services.common.chain.keys import read_signing_ring
from services.common.errors import UsageError
from services.common.wire.keys import new_key_ring, read_key_ring

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Appia = Callable[..., subprocess.CompletedProcess[str]]


def test_keys_are_made_once(appia: Appia, tmp_path: Path) -> None:
    """The ring is usable at once, readable by its owner only, and never overwritten."""
    keys = tmp_path / "keys"
    made = json.loads(appia("keys", "new", str(keys), "--json").stdout)
    ring = json.loads((keys / "wire" / "ring.json").read_text())
    assert made == {
        "keys": str(keys),
        "primary": ring["primary"],
        "signing": (keys / "signing" / "ACTIVE").read_text().strip(),
    }
    seed = keys / "wire" / f"{ring['primary']}.seed"
    assert (seed.stat().st_mode & 0o777) == 0o400
    again = appia("keys", "new", str(keys))
    assert (again.returncode, again.stdout) == (2, "")
    assert "is not overwritten" in again.stderr
    assert appia("keys", "new", str(tmp_path / "other")).stdout.startswith("Made key ")


def test_keys_that_were_half_made_are_finished(tmp_path: Path) -> None:
    """A run that was killed leaves a ring alone, or a key that signs and is not named: no service takes that."""
    keys = tmp_path / "keys"
    ring = new_key_ring(keys)
    for _ in range(2):
        new(keys, as_json=True)
        signing = read_signing_ring(keys)
        assert signing is not None
        assert read_key_ring(keys).primary == ring.primary
        (keys / "signing" / "ACTIVE").unlink()
    assert len(signing.keys) == 2  # one more: what the other signed, if it did, stays provable
    new(keys, as_json=True)
    with pytest.raises(UsageError, match="is not overwritten"):
        new(keys)


@pytest.mark.parametrize(
    ("given", "environment", "folder"),
    [
        ("/srv/models", {"XDG_DATA_HOME": "/data"}, "/srv/models"),
        (None, {"XDG_DATA_HOME": "/data"}, "/data/appia/models"),
        (None, {}, "~/.local/share/appia/models"),
        (None, {"XDG_DATA_HOME": ""}, "~/.local/share/appia/models"),
        (None, {"XDG_DATA_HOME": "relative"}, "~/.local/share/appia/models"),
    ],
)
def test_where_models_are(given: str | None, environment: dict[str, str], folder: str) -> None:
    """What is given wins; else the user's data directory, by the rules of its specification."""
    found = model_store_folder(Path(given) if given else None, environment)
    assert found == Path(folder).expanduser()


@pytest.mark.usefixtures("_models")
def test_models_are_listed_and_whole(appia: Appia) -> None:
    """The store that was built has the four models in use, and every byte of them is right."""
    listed = json.loads(appia("models", "list", "--json").stdout)
    active = {row["model"].partition("@")[0] for row in listed["models"] if row["active"]}
    assert active >= {"attack", "entity", "semantic", "temporal"}
    assert "in use" in appia("models", "list").stdout.splitlines()[0]
    verified = appia("models", "verify", "--json")
    assert verified.returncode == 0
    assert {row["wrong"] for row in json.loads(verified.stdout)["models"]} == {""}


@pytest.mark.usefixtures("_models")
def test_a_damaged_model_is_found(appia: Appia, start_stack: Callable[..., object], tmp_path: Path) -> None:
    """One changed byte is found in the copy that a state directory has, and the store it came from is whole."""
    start_stack(tmp_path / "state")
    models = tmp_path / "state" / "models"
    path = next(models.glob("attack/*/model.onnx"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o640)
    path.write_bytes(content)
    done = appia("models", "verify", "--models", str(models))
    assert done.returncode == 1
    assert "is damaged: its sha256 is" in done.stdout
    assert "1 of 4 models in" in done.stderr
    assert appia("models", "verify").returncode == 0


@pytest.mark.usefixtures("_models")
def test_what_is_built_is_not_built_again(appia: Appia) -> None:
    """A second build says which models there are, and prints their ids as JSON."""
    done = appia("models", "build", "--json")
    assert done.returncode == 0, done.stderr
    assert [name.partition("@")[0] for name in json.loads(done.stdout)["models"]] == [
        "attack",
        "attack-pca",
        "entity",
        "semantic",
        "temporal",
        "temporal-pca",
    ]
    assert "already" in done.stderr
    assert "is ready" not in done.stderr


def test_an_empty_store_says_what_to_do(appia: Appia, tmp_path: Path) -> None:
    """Nothing listed is no error, and names the command that builds."""
    done = appia("models", "list", "--models", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout == f"No model is in {tmp_path}: build them with `appia models build`.\n"


def test_another_stored_model_comes_into_use(appia: Appia, own_models: Path) -> None:
    """By the id that the list shows; what is not there is told, and nothing changes."""
    pca = next(folder for folder in (own_models / "attack-pca").iterdir() if len(folder.name) == 64)
    (own_models / "attack-pca" / "ACTIVE").write_text("0" * 64 + "\n")
    done = appia("models", "use", f"attack-pca@{pca.name[:12]}", "--models", str(own_models))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"attack-pca@{pca.name[:12]} is in use from the next `appia up` on" in done.stdout
    assert (own_models / "attack-pca" / "ACTIVE").read_text() == f"{pca.name}\n"
    unknown = appia("models", "use", "attack-pca@000000000000", "--models", str(own_models), "--json")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "is not in" in unknown.stderr
    assert (own_models / "attack-pca" / "ACTIVE").read_text() == f"{pca.name}\n"


@pytest.mark.usefixtures("_models")
def test_a_state_directory_gets_the_models_of_the_store(appia: Appia, tmp_path: Path) -> None:
    """An ingester finds one model an index; a second run changes nothing, whatever the store has lost."""
    state = tmp_path / "state"
    first = appia("models", "install", "--state", str(state), "--json")
    assert first.returncode == 0, first.stderr
    installed = json.loads(first.stdout)["installed"]
    assert sorted(model.partition("@")[0] for model in installed) == [
        "attack",
        "entity",
        "semantic",
        "temporal",
    ]
    assert (state.stat().st_mode & 0o777, (state / "VERSION").read_text()) == (0o750, "1\n")
    assert appia("models", "verify", "--models", str(state / "models")).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}
    again = appia("models", "install", "--state", str(state), "--models", str(tmp_path / "none"))
    assert again.stdout == f"The models in {state / 'models'} are those in use already.\n"
    assert {path: path.stat().st_mtime_ns for path in state.rglob("*")} == before


@pytest.mark.usefixtures("_models")
def test_settings_of_the_ingester_choose_what_is_installed(appia: Appia, tmp_path: Path) -> None:
    """A model that the store lacks is named, with the setting that asks for it; so is a wrong state directory."""
    settings = tmp_path / "ingester.toml"
    state = tmp_path / "state"
    settings.write_text(f'state = "{state}"\nkeys = "{tmp_path}"\nsemantic_model = "semantic-es"\n')
    done = appia("models", "install", "--state", str(state), "--settings", str(settings))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no semantic-es model in" in done.stderr
    assert "the setting semantic_model asks for it" in done.stderr
    assert not (state / "models" / "semantic").exists()
    (tmp_path / "file").write_text("")
    wrong = appia("models", "install", "--state", str(tmp_path / "file"))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "is not a directory" in wrong.stderr
