"""`make/sbom.py` lists what is locked and shipped, whole, with the hashes that are compared when it is installed."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The bill of this checkout."""
    target = tmp_path_factory.mktemp("bill") / "below" / "appia.cdx.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "make" / "sbom.py"), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "components, CycloneDX 1.6" in done.stdout) == (0, True), done.stderr
    made: dict[str, Any] = json.loads(target.read_bytes())
    return made


def _packages(bill: dict[str, Any]) -> dict[str, Any]:
    return {one["purl"]: one for one in bill["components"] if one["type"] == "library"}


def test_every_locked_package_is_listed_with_its_hashes(bill: dict[str, Any]) -> None:
    """The names, versions and hashes are those of the lock, no more and no less."""
    lock = (ROOT / "requirements" / "lock.txt").read_text()
    packages = _packages(bill)
    locked = re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
    assert sorted(packages) == sorted(f"pkg:pypi/{name}@{version}" for name, version in locked)
    listed = [
        known["content"]
        for package in packages.values()
        for reference in package["externalReferences"]
        for known in reference["hashes"]
    ]
    assert sorted(listed) == sorted(re.findall(r"--hash=sha256:(\w+)", lock))


def test_it_says_what_is_there_because_of_what(bill: dict[str, Any]) -> None:
    """Every part is needed by another one, down from appia, whose version is that of the project."""
    assert bill["metadata"]["component"]["name"] == "appia"
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    reached, ahead = set(), ["appia"]
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += needs[ref]
    assert reached == {"appia", *(one["bom-ref"] for one in bill["components"])}
    (faiss,) = (ref for ref in needs["appia"] if ref.startswith("pkg:pypi/faiss-cpu@"))
    assert any(ref.startswith("pkg:pypi/numpy@") for ref in needs[faiss])


def test_what_is_only_for_some_systems_says_so(bill: dict[str, Any]) -> None:
    (colorama,) = (one for ref, one in _packages(bill).items() if ref.startswith("pkg:pypi/colorama@"))
    assert colorama["properties"] == [{"name": "appia:condition", "value": "sys_platform == 'win32'"}]


def test_shipped_models_are_parts(bill: dict[str, Any]) -> None:
    """With the SHA-256 of the file that is loaded."""
    listed = {
        one["name"]: one["hashes"][0]["content"] for one in bill["components"] if "model" in one["type"]
    }
    shipped = sorted((ROOT / "models" / "shipped").glob("*/model.onnx"))
    assert listed == {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shipped}
