"""The store publishes models whole, finds them by their sha256, and never hands out a damaged one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from services.common.embedding.manifest import MANIFEST_FILE, MODEL_FILE
from services.common.embedding.store import ModelStore, copy_active
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from services.common.embedding.manifest import Manifest

    Install = Callable[..., Manifest]


def folder_of(store: ModelStore, manifest: Manifest) -> Path:
    return store.root / manifest.name / manifest.sha256


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_an_installed_model_is_active_and_loads(
    store: ModelStore, install: Install, model_bytes: bytes
) -> None:
    manifest = install()
    loaded = store.load("attack")
    assert store.active("attack") == manifest.sha256
    assert loaded.manifest == manifest
    assert loaded.files == {MODEL_FILE: model_bytes}


def test_published_files_cannot_be_written(store: ModelStore, install: Install) -> None:
    folder = folder_of(store, install())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o444}


def test_a_newer_model_becomes_active_and_the_older_stays(store: ModelStore, install: Install) -> None:
    older, newer = install(), install(metric="cosine")
    assert store.active("attack") == newer.sha256
    assert store.load("attack", older.sha256).manifest == older
    assert {(model.sha256, model.active) for model in store.models()} == {
        (older.sha256, False),
        (newer.sha256, True),
    }


def test_an_older_model_comes_into_use_again(store: ModelStore, install: Install) -> None:
    older, newer = install(), install(metric="cosine")
    assert store.use(older.model_id) == older
    assert store.active("attack") == older.sha256
    overwrite(folder_of(store, newer) / MODEL_FILE, b"damaged")
    for model_id, told in (
        (newer.model_id, "is damaged"),
        ("attack@000000000000", "is not in"),
        ("x", "is not in"),
    ):
        with pytest.raises(AppiaError, match=told):
            store.use(model_id)
    assert store.active("attack") == older.sha256


def test_installing_again_leaves_the_model_file_alone(store: ModelStore, install: Install) -> None:
    path = folder_of(store, install()) / MODEL_FILE
    before = path.stat().st_ino
    install()
    assert path.stat().st_ino == before


def test_the_same_model_made_from_other_inputs_gets_the_newer_manifest(
    store: ModelStore, install: Install
) -> None:
    """Otherwise it would look out of date for ever, and be built each time."""
    older = install()
    newer = install(inputs_digest="1" * 64)
    assert newer.sha256 == older.sha256
    assert store.load("attack").manifest == newer


def test_installing_again_replaces_a_damaged_model(store: ModelStore, install: Install) -> None:
    folder = folder_of(store, install())
    overwrite(folder / MODEL_FILE, b"damage")
    install()
    assert store.load("attack").files[MODEL_FILE] != b"damage"


def test_no_staging_folder_is_left(store: ModelStore, install: Install) -> None:
    install()
    assert {path.name for path in (store.root / "attack").iterdir()} == {
        store.active("attack"),
        "ACTIVE",
        ".lock",
    }


def test_a_missing_model_is_told_with_the_command(store: ModelStore) -> None:
    with pytest.raises(AppiaError, match=r"No attack model is in .*appia models build"):
        store.load("attack")


@pytest.mark.parametrize("pointer", [b"", b"../../x\n", b"\xff\n", b"0123\n"])
def test_a_bad_pointer_is_refused(store: ModelStore, install: Install, pointer: bytes) -> None:
    install()
    (store.root / "attack" / "ACTIVE").write_bytes(pointer)
    with pytest.raises(AppiaError, match="does not hold a sha256"):
        store.load("attack")


def test_a_flipped_bit_is_refused(store: ModelStore, install: Install, model_bytes: bytes) -> None:
    path = folder_of(store, install()) / MODEL_FILE
    overwrite(path, model_bytes[:-1] + bytes([model_bytes[-1] ^ 1]))
    with pytest.raises(AppiaError, match=r"damaged: its sha256 is .* the manifest says"):
        store.load("attack")


def test_a_missing_model_file_is_refused(store: ModelStore, install: Install) -> None:
    (folder_of(store, install()) / MODEL_FILE).unlink()
    with pytest.raises(AppiaError, match=r"model\.onnx cannot be read"):
        store.load("attack")


def test_a_missing_manifest_is_refused(store: ModelStore, install: Install) -> None:
    (folder_of(store, install()) / MANIFEST_FILE).unlink()
    with pytest.raises(AppiaError, match=r"no readable manifest\.json"):
        store.load("attack")


def test_a_swapped_file_with_a_matching_manifest_is_refused(store: ModelStore, install: Install) -> None:
    """Changing the file and its sha256 in the manifest together still leaves the wrong folder name."""
    folder = folder_of(store, install())
    other = install(dim=7)
    overwrite(folder / MANIFEST_FILE, other.to_json())
    with pytest.raises(AppiaError, match="is another one than its place says"):
        store.load("attack", folder.name)


def test_a_changed_input_hash_in_the_manifest_is_refused(store: ModelStore, install: Install) -> None:
    path = folder_of(store, install()) / MANIFEST_FILE
    data = json.loads(path.read_bytes())
    data["input"]["hash"] = "0" * 64
    overwrite(path, json.dumps(data).encode())
    with pytest.raises(AppiaError, match="is another one than its place says"):
        store.load("attack")


def test_an_unsafe_model_is_not_installed(store: ModelStore, install: Install) -> None:
    with pytest.raises(AppiaError, match="refused"):
        install({MODEL_FILE: b"not a model"})
    assert store.models() == []


def test_an_empty_store_lists_nothing(store: ModelStore) -> None:
    assert store.models() == []


def test_verify_returns_the_manifest_of_a_whole_model(store: ModelStore, install: Install) -> None:
    manifest = install()
    assert store.verify("attack", manifest.sha256) == manifest


def test_a_copy_is_active_whole_and_its_own(store: ModelStore, install: Install, tmp_path: Path) -> None:
    manifest = install()
    target = ModelStore(tmp_path / "state" / "models")
    assert copy_active(store, target, ("attack",)) == [manifest.model_id]
    overwrite(folder_of(store, manifest) / MODEL_FILE, b"damage")
    assert target.load("attack").manifest == manifest


def test_copying_twice_is_harmless_and_repairs(store: ModelStore, install: Install, tmp_path: Path) -> None:
    manifest = install()
    target = ModelStore(tmp_path / "state")
    copy_active(store, target, ("attack",))
    overwrite(folder_of(target, manifest) / MODEL_FILE, b"damage")
    copy_active(store, target, ("attack",))
    assert target.load("attack").manifest == manifest


def test_a_damaged_model_is_not_copied(store: ModelStore, install: Install, tmp_path: Path) -> None:
    overwrite(folder_of(store, install()) / MODEL_FILE, b"damage")
    target = ModelStore(tmp_path / "state")
    with pytest.raises(AppiaError, match="damaged"):
        copy_active(store, target, ("attack",))
    assert target.models() == []


def _stage_and_wait(root: Path, staged: Event) -> None:
    with ModelStore(root).stage("attack") as folder:
        (folder / MODEL_FILE).write_bytes(b"half a mod")
        staged.set()
        signal.pause()


def test_a_killed_maker_leaves_nothing_in_the_way(store: ModelStore, install: Install) -> None:
    """After kill -9 while staging, the next maker gets the lock and an empty folder."""
    context = multiprocessing.get_context("spawn")
    staged = context.Event()
    maker = context.Process(target=_stage_and_wait, args=(store.root, staged))
    maker.start()
    assert staged.wait(60)
    os.kill(maker.pid or 0, signal.SIGKILL)
    maker.join()
    manifest = install()
    assert store.load("attack").manifest == manifest
