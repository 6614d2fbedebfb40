"""The container `keys` gives each service what it needs of the site's secrets, and takes back what is gone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.running import INSTALLED
from services.common.durable import Disk
from services.common.site.names import SiteFolder
from services.common.wire.ring_changes import retire_key, rotate_ring

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "deploy" / "compose" / "prepare.py"
ENVIRON = {
    "INGESTER": "172.30.77.11",
    "ETCD": "172.30.77.10",
    "REGISTRY": "etcds://172.30.77.10:2379/appia/main",
    "ANALYSTS": "alice, bob",
}


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare"] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(prepare: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> SiteFolder:
    """The secrets of the site, made by the command that the container runs."""
    folder = SiteFolder(tmp_path_factory.mktemp("site") / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SITE", folder.root)
        assert prepare.make_site(prepare.Asked.of(ENVIRON)) == 0
    return folder


def names_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def hand_out(prepare: ModuleType, site: SiteFolder, target: Path) -> dict[str, Any]:
    parts = prepare.parts_of(site)
    for service, given in parts.items():
        prepare.hand_out(Disk(), target / service, dict(prepare.files_of(given)))
    return {service: names_below(target / service) for service in parts}


def test_each_service_gets_its_own(prepare: ModuleType, site: SiteFolder, tmp_path: Path) -> None:
    """The key of the authority and the passwords of etcd go nowhere, the seeds to the ingester and the operator."""
    given = hand_out(prepare, site, tmp_path)
    registry = {f"registry/{name}" for name in ("ca.pem", "client.pem", "client-key.pem", "login", "seal")}
    common = {"access.toml", "server.secret", *registry}
    assert given["etcd"] == {"ca.pem", "server.pem", "server-key.pem"}
    assert given["origin"] == common
    assert given["rag"] == {*common, "signing.public"}
    assert given["health"] == {*common, "signing.public", "health.secret"}
    assert given["ingester"] > common
    assert {Path(name).parent.name for name in given["ingester"] - common} == {"wire", "signing"}
    assert {name for name in given["operator"] if "wire/" not in name} == {
        *registry,
        "operator.secret",
        "server.public",
    }
    reader = (tmp_path / "operator" / "registry" / "login").read_bytes()
    assert reader == (site.reader / "login").read_bytes() != (site.registry / "login").read_bytes()
    for path in tmp_path.rglob("*"):
        mode = path.stat().st_mode & 0o777
        assert mode in ({0o700} if path.is_dir() else {0o400, 0o444, 0o640}), path


def test_a_second_time_nothing_is_touched(prepare: ModuleType, site: SiteFolder, tmp_path: Path) -> None:
    """Running services look at what changes."""
    hand_out(prepare, site, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    hand_out(prepare, site, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_key_that_is_retired_goes(prepare: ModuleType, site: SiteFolder, tmp_path: Path) -> None:
    """Its seed is taken back from the ingester, after a ring that does not need it is there."""
    first = hand_out(prepare, site, tmp_path)["ingester"]
    primary = rotate_ring(site.ingester, Disk()).primary
    names = [name for name, _ in prepare.files_of({"wire": site.ingester / "wire"})]
    assert names[-1] == "wire/ring.json"
    both = hand_out(prepare, site, tmp_path)["ingester"]
    assert both - first == {f"wire/{primary}.seed"}
    old = next(name for name in first if name.endswith(".seed"))
    retire_key(site.ingester, Disk(), int(Path(old).stem))
    assert first - hand_out(prepare, site, tmp_path)["ingester"] == {old}


def test_the_command_finds_the_services(prepare: ModuleType) -> None:
    """`endpoints.json` says that nobody supervises them, and where they register."""
    running = prepare.endpoints(prepare.Asked.of(ENVIRON))
    assert (running.pid, running.registry) == (INSTALLED, ENVIRON["REGISTRY"])
    assert running.ingester.control == "tcp://172.30.77.11:5572"
    assert prepare.Asked.of(ENVIRON).analysts == ("alice", "bob")


def test_what_goes_wrong_ends_the_start(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong name is told by `appia keys site`, and its exit status is that of the container."""
    monkeypatch.setattr(prepare, "SITE", tmp_path / "site")
    asked = prepare.Asked.of({**ENVIRON, "ANALYSTS": "operator"})
    assert prepare.make_site(asked) == 2
    with pytest.raises(KeyError, match="ETCD"):
        prepare.Asked.of({"INGESTER": "172.30.77.11"})
