"""A bundle of another version is whole, installs as that version, and leaves the one that it is of as it was."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from fleet.bundles import BROKEN, built_bundle, derive, newest_bundle, version_of

from make.bundle.pack import write_sums
from make.bundle.wheels import requirements
from services.common.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

METADATA = "Metadata-Version: 2.4\nName: appia\nVersion: 0.1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """One with our own wheel and another package, as `make bundle` lays it out."""
    folder = tmp_path / "appia-bundle-0.1.0-amd64"
    (folder / "wheels").mkdir(parents=True)
    own, other = folder / "wheels/appia-0.1.0-py3-none-any.whl", folder / "wheels/zebra-1.0-py3-none-any.whl"
    with zipfile.ZipFile(own, "w") as wheel:
        wheel.writestr("services/rag/main.py", "RUNS = True\n")
        wheel.writestr("appia-0.1.0.dist-info/METADATA", METADATA)
        wheel.writestr("appia-0.1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("appia-0.1.0.dist-info/RECORD", "")
    other.write_bytes(b"another package")
    for name in ("requirements.txt", "controller.txt"):
        (folder / "wheels" / name).write_text(requirements([own, other]))
    (folder / "bundle.json").write_text(json.dumps({"format": 1, "version": "0.1.0", "arch": "amd64"}))
    write_sums(folder)
    return folder


def sums_hold(folder: Path) -> bool:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def test_a_bundle_of_another_version_is_whole_and_the_first_one_stays(bundle: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    second = derive(bundle, tmp_path / "second", "0.2.0")
    assert version_of(second) == "0.2.0"
    assert sums_hold(second)
    assert sums_hold(bundle)
    assert before == {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    listed = (second / "wheels/requirements.txt").read_text()
    wheels = [second / "wheels/appia-0.2.0-py3-none-any.whl", second / "wheels/zebra-1.0-py3-none-any.whl"]
    assert listed == (second / "wheels/controller.txt").read_text() == requirements(wheels)


@pytest.mark.parametrize("broken", [False, True])
def test_pip_installs_it_as_that_version(bundle: Path, tmp_path: Path, broken: bool) -> None:  # noqa: FBT001
    derived = derive(bundle, tmp_path / "derived", "0.2.0", broken=broken)
    wheel = derived / "wheels/appia-0.2.0-py3-none-any.whl"
    target = tmp_path / "site"
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
    ]
    subprocess.run([*words, str(wheel)], check=True, capture_output=True)
    assert "Version: 0.2.0" in (target / "appia-0.2.0.dist-info/METADATA").read_text()
    assert ("broken on purpose" in (target / BROKEN).read_text()) == broken


def test_the_newest_bundle_is_taken_and_none_is_told(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert newest_bundle(tmp_path, "amd64") == bundle
    with pytest.raises(UsageError, match="make one with `make bundle`"):
        newest_bundle(tmp_path, "arm64")
    monkeypatch.setenv("APPIA_BUNDLE", str(bundle))
    assert built_bundle() == bundle
