"""Which packages a bundle takes: those that run on the machine it is for, whatever machine it is made on."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from make.bundle.locked import DEV_LOCK, LOCK, Pin, controller_pins, read_pins, runtime_pins
from make.bundle.target import Target
from make.bundle.wheels import build_own, collect, requirements

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
BOOKWORM_ARM, TRIXIE = Target("arm64", "bookworm", "3.11"), Target("amd64", "trixie", "3.13")
Place = "Callable[[str], Pin]"


def test_a_node_gets_what_runs_and_nothing_that_only_builds_models() -> None:
    names = set(runtime_pins(ROOT, BOOKWORM_ARM))
    assert {"faiss-cpu", "onnxruntime", "numpy", "pyzmq", "etcd3gw", "cryptography"} <= names
    assert not {"onnx", "safetensors", "hatchling", "torch", "transformers", "ansible-core", "pytest"} & names
    assert not {"pywin32", "colorama", "httpx2-jsfetch"} & names


def test_conditions_are_those_of_the_machine_it_is_for() -> None:
    """Not those of this one, which pip would take: each Python has its numpy."""
    locked = {
        "3.11": runtime_pins(ROOT, BOOKWORM_ARM)["numpy"],
        "3.13": runtime_pins(ROOT, TRIXIE)["numpy"],
    }
    assert locked["3.11"].version != locked["3.13"].version


def test_the_controller_gets_ansible_in_the_versions_of_the_nodes() -> None:
    """One folder of wheels serves both, so what both need is there once."""
    runtime, controller = runtime_pins(ROOT, BOOKWORM_ARM), controller_pins(ROOT, BOOKWORM_ARM)
    assert {"ansible-core", "jinja2", "resolvelib"} <= set(controller)
    assert not {"ansible-lint", "pytest"} & set(controller)
    for name in set(runtime) & set(controller):
        assert runtime[name].version == controller[name].version


@pytest.mark.parametrize("lock", [LOCK, DEV_LOCK])
def test_every_entry_of_a_lock_is_read_with_its_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pins = read_pins(ROOT / lock, BOOKWORM_ARM)
    unconditional = re.findall(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=.*\n)+)", text, re.MULTILINE)
    assert len(unconditional) > 80
    for name, version, hashes in unconditional:
        assert pins[name].version == version
        assert len(pins[name].hashes) == hashes.count("--hash=sha256:")


def test_wheels_are_for_the_c_library_of_the_release_or_older_ones() -> None:
    tags = {str(tag) for tag in BOOKWORM_ARM.tags()}
    assert {"cp311-cp311-manylinux_2_36_aarch64", "cp310-abi3-manylinux_2_28_aarch64", "py3-none-any"} <= tags
    assert not any("x86_64" in tag or "_2_37_" in tag or "musllinux" in tag for tag in tags)


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Pin]:
    """Puts a small wheel of this name into the cache, and gives what a lock would say of it."""
    (tmp_path / "cache").mkdir()

    def put(name: str) -> Pin:
        package, version = name.split("-")[:2]
        head = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        path = tmp_path / "cache" / f"{name}.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{package}-{version}.dist-info/METADATA", head)
            wheel.writestr(f"{package}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\n")
            wheel.writestr("what.txt", name)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return Pin(package, version, frozenset({sha256}), frozenset())

    return put


def test_of_several_wheels_the_best_that_fits_is_taken(place: Callable[[str], Pin], tmp_path: Path) -> None:
    names = [
        "fast-1.0-py3-none-any",
        "fast-1.0-cp311-cp311-manylinux_2_28_aarch64",
        "fast-1.0-cp311-cp311-manylinux_2_39_aarch64",
        "fast-1.0-cp311-cp311-manylinux_2_28_x86_64",
        "fast-2.0-cp311-cp311-manylinux_2_28_aarch64",
    ]
    hashes = frozenset().union(*(place(name).hashes for name in names))
    found = collect([Pin("fast", "1.0", hashes, frozenset())], BOOKWORM_ARM, tmp_path / "cache")
    assert found["fast"].name == f"{names[1]}.whl"


def test_a_wheel_that_the_lock_does_not_know_is_not_taken(
    place: Callable[[str], Pin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged in the cache, or put there: pip is asked for another, and where there is none nothing is made."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    pin = place("fast-1.0-py3-none-any")
    with (tmp_path / "cache" / "fast-1.0-py3-none-any.whl").open("ab") as file:
        file.write(b"more")
    with pytest.raises(SystemExit, match="could not be fetched"):
        collect([pin], BOOKWORM_ARM, tmp_path / "cache")


def test_what_is_missing_is_fetched_by_hash_for_the_other_machine(
    place: Callable[[str], Pin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip takes it from where it is set up to, here a folder; the second time nobody is asked."""
    pins = [place("fast-1.0-cp311-cp311-manylinux_2_28_aarch64"), place("any-2.0-py3-none-any")]
    (tmp_path / "cache").rename(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    found = collect(pins, BOOKWORM_ARM, tmp_path / "cache")
    assert sorted(found) == ["any", "fast"]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert collect(pins, BOOKWORM_ARM, tmp_path / "cache") == found


def test_pip_is_told_one_hash_a_file(place: Callable[[str], Pin], tmp_path: Path) -> None:
    pins = [place("b-1.0-py3-none-any"), place("a-2.0-py3-none-any")]
    hashes = {pin.name: next(iter(pin.hashes)) for pin in pins}
    assert requirements((tmp_path / "cache").glob("*.whl")) == (
        f"a==2.0 \\\n    --hash=sha256:{hashes['a']}\nb==1.0 \\\n    --hash=sha256:{hashes['b']}\n"
    )


def test_the_same_tree_gives_the_same_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built twice, under another umask; under another version it calls itself that, as an upgrade needs."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    epoch = 1_790_000_000
    one = build_own(ROOT, first, "0.9.1", epoch)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    two = build_own(ROOT, second, "0.9.1", epoch)
    assert one.name == "appia-0.9.1-py3-none-any.whl"
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as wheel:
        names = wheel.namelist()
        assert "services/ingester/main.py" in names
        assert {name.split("/")[0] for name in names} == {"services", "appia-0.9.1.dist-info"}
        entry_points = wheel.read("appia-0.9.1.dist-info/entry_points.txt").decode()
    assert "appia-mirror = services.mirror.main:main" in entry_points
