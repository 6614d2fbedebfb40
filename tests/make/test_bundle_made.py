"""A whole bundle as `make bundle` makes it; what comes over the network is put in its place by the test."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from make.bundle import __main__ as bundling
from services.common.days.names import INDICES
from services.common.embedding.store import ModelStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from make.bundle.locked import Pin
    from make.bundle.target import Target

ROOT = Path(__file__).parents[2]


def _wheels(pins: Iterable[Pin], _target: Target, cache: Path) -> dict[str, Path]:
    cache.mkdir(parents=True, exist_ok=True)
    found = {}
    for pin in pins:
        path = cache / f"{pin.name.replace('-', '_')}-{pin.version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(zipfile.ZipInfo("name"), pin.name)
        found[pin.name] = path
    return found


def _debs(_target: Target, _cache: Path, repository: Path) -> list[str]:
    repository.mkdir()
    (repository / "Packages").write_text("Package: etcd-server\n")
    return ["etcd-server=1"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A bundle for arm64 of another version than the project's, in the place of an older one."""
    monkeypatch.setattr(bundling.wheels, "collect", _wheels)
    monkeypatch.setattr(bundling.debs, "collect", _debs)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "dist"
    old = out / "appia-bundle-9.9.9-arm64"
    old.mkdir(parents=True)
    (old / "left over").touch()
    words = ["bundle", "--arch", "arm64", "--release", "9.9.9", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    bundling.main()
    assert re.search(r"appia-bundle-9\.9\.9-arm64: \d+\.\d MB", capsys.readouterr().out)
    assert sorted(path.name for path in out.iterdir()) == [old.name, f"{old.name}.tar"]
    return old


def test_it_has_every_part_and_is_whole(made: Path) -> None:
    """The lists of wheels name files that are there by hashes that they have, and verify.sh agrees."""
    done = subprocess.run(
        [shutil.which("sh") or "sh", str(made / "verify.sh")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (made / "left over").exists()
    for name in ("deploy/ansible", "deploy/systemd", "docs/site.md", "debs/Packages", "LICENSE"):
        assert (made / name).exists(), name
    node, controller = (
        set(re.findall(r"^([\w-]+)==", (made / "wheels" / f"{name}.txt").read_text(), re.MULTILINE))
        for name in ("requirements", "controller")
    )
    assert "appia" in node < controller
    assert "ansible-core" in controller - node
    assert len(controller) == len(list((made / "wheels").glob("*.whl")))
    said = json.loads((made / "bundle.json").read_bytes())
    assert {name: said[name] for name in ("format", "version", "arch", "suite", "python", "debs")} == {
        "format": 1,
        "version": "9.9.9",
        "arch": "arm64",
        "suite": "bookworm",
        "python": "3.11",
        "debs": ["etcd-server=1"],
    }


def test_two_at_a_time_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins when the first is whole: what both would write is never half of each."""
    monkeypatch.setattr(bundling.wheels, "collect", _wheels)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["bundle", "--out", str(tmp_path / "dist")])
    cache = tmp_path / "cache" / "appia" / "bundle"
    held = []

    def look(target: Target, where: Path, repository: Path) -> list[str]:
        handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.append(True)
        finally:
            os.close(handle)
        return _debs(target, where, repository)

    monkeypatch.setattr(bundling.debs, "collect", look)
    bundling.main()
    assert held == [True]


def test_its_models_are_those_in_use_and_no_others(made: Path) -> None:
    store = ModelStore(made / "models")
    models = store.models()
    assert sorted(one.manifest.name for one in models) == sorted(INDICES)
    assert all(one.active for one in models)
    for one in models:
        store.load(one.manifest.name)


def test_what_was_not_asked_for_rightly_makes_nothing(tmp_path: Path) -> None:
    """A wrong processor, a key that is none, no models: each is one sentence, and leaves what was there."""
    for words, sentence in (
        (["--arch", "sparc"], "invalid choice: 'sparc'"),
        (["--sign", str(tmp_path / "none")], "could not be read"),
        (["--python", "three"], "--python"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "make.bundle", "--out", str(tmp_path / "dist"), *words],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "dist").exists()
