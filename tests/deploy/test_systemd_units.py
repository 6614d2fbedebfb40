"""The units of deploy/systemd as files: how exposed a service is, what they promise, and what docs/systemd.md says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
UNITS = PROJECT / "deploy/systemd"
COMMON = "appia-.service.d/10-common.conf"
SERVICES = ("appia-ingester", "appia-origin", "appia-health", "appia-rag@", "appia-mirror@")
INSTANCES = {"appia-rag@": "appia-rag@1", "appia-mirror@": "appia-mirror@main"}
MOST_EXPOSED = 2.0
MANY = {
    "After",
    "Wants",
    "SystemCallFilter",
    "LoadCredential",
    "Environment",
    "ReadOnlyPaths",
    "InaccessiblePaths",
}
"""Keys that add up over the files of a unit; of every other one the last file wins."""
ETCD = Path("/lib/systemd/system/etcd.service")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings_of(name: str) -> list[tuple[str, str]]:
    """Key and value of each line of a file of units, in order."""
    lines = (UNITS / name).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#[")
    return [(key, value) for key, _, value in pairs]


def value_of(name: str, key: str) -> str:
    """The one value of a key in a file; empty where it is not there."""
    found = [value for one, value in settings_of(name) if one == key]
    assert len(found) <= 1, (name, key)
    return found[0] if found else ""


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    """The units as a machine has them, with instances of the templates and Debian's etcd where it is installed."""
    folder = tmp_path / "system"
    shutil.copytree(UNITS, folder)
    for template, instance in INSTANCES.items():
        shutil.copy(folder / f"{template}.service", folder / f"{instance}.service")
    if ETCD.exists():
        shutil.copy(ETCD, folder)
    return folder


@needs_systemd
@pytest.mark.parametrize("name", [*(INSTANCES.get(name, name) for name in SERVICES), "etcd"])
def test_a_service_is_hardly_exposed(loaded: Path, name: str) -> None:
    """By the measure of `systemd-analyze security`, of 10 that are worst."""
    path = loaded / f"{name}.service"
    if not path.exists():
        pytest.skip("etcd-server is not installed: it brings the unit that the drop-in is for")
    words = ("systemd-analyze", "security", "--offline=true", "--no-pager", str(path))
    said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=loaded).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= MOST_EXPOSED, said


@needs_systemd
def test_systemd_finds_nothing_wrong_in_any_file(loaded: Path) -> None:
    """No key that it does not know, no value that it ignores; programs that are not installed here do not count."""
    names = [*(f"{INSTANCES.get(name, name)}.service" for name in SERVICES), "appia.slice", "appia.target"]
    words = ("systemd-analyze", "verify", "--man=no", *(str(loaded / name) for name in names))
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=loaded)
    complaints = [
        line for line in done.stderr.splitlines() if str(loaded) in line or line.startswith("appia")
    ]
    assert [line for line in complaints if "is not executable" not in line] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_says_nothing_that_the_common_file_would_take_back(name: str) -> None:
    """Drop-ins are read after the unit: a key in both would silently have the common value."""
    common = {key for key, _ in settings_of(COMMON)}
    own = {key for key, _ in settings_of(f"{name}.service")}
    assert own & common <= MANY


@pytest.mark.parametrize("name", SERVICES)
def test_program_settings_and_secrets_of_a_service_have_one_name(name: str) -> None:
    """`appia-rag@1` runs appia-rag with rag-1.toml and the secrets of rag-1; without settings it is not started."""
    program = name.removesuffix("@")
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert program in scripts
    short = program.removeprefix("appia-") + ("-%i" if name.endswith("@") else "")
    unit = f"{name}.service"
    settings = f"/etc/appia/{short}.toml"
    assert value_of(unit, "ExecStart") == f"/opt/appia/current/bin/{program} --settings {settings}"
    assert value_of(unit, "ConditionPathExists") == settings
    assert value_of(unit, "LoadCredential") == f"secrets:/etc/appia/secrets/{short}"


def test_only_who_writes_may_write() -> None:
    """Origin writes nothing, a replica its entry in a registry of files, a mirror the copy of its own site."""
    places = {
        name: {
            value
            for key, value in settings_of(f"{name}.service")
            if key in {"StateDirectory", "ReadWritePaths"}
        }
        for name in SERVICES
    }
    assert places == {
        "appia-ingester": {"appia"},
        "appia-origin": set(),
        "appia-health": {"/var/lib/appia"},
        "appia-rag@": {"-/var/lib/appia/main/registry"},
        "appia-mirror@": {"appia/%i"},
    }
    assert value_of(COMMON, "ProtectSystem") == "strict"


def test_the_keys_of_the_ingester_are_hidden_from_all_others() -> None:
    hidden = {name: value_of(f"{name}.service", "InaccessiblePaths") for name in SERVICES}
    assert hidden.pop("appia-ingester") == ""
    assert set(hidden.values()) == {"-/etc/appia/keys"}
    assert "-/etc/appia/keys" in value_of("etcd.service.d/appia.conf", "InaccessiblePaths").split()


def test_the_units_are_plain_files() -> None:
    """Nothing is filled in: what differs between machines stands in /etc/appia and in drop-ins."""
    for path in UNITS.rglob("*"):
        if path.is_file():
            assert not re.search(r"\{\{|\$\{|@[A-Z]+@", path.read_text()), path


def test_a_stopped_process_can_be_ended_by_the_watchdog() -> None:
    """Any other signal would wait until it goes on."""
    assert value_of(COMMON, "WatchdogSignal") == "SIGKILL"
    assert 0 < int(value_of(COMMON, "WatchdogSec")) <= 60


def test_the_user_and_the_folders_are_those_of_the_units() -> None:
    """What sysusers.d and tmpfiles.d make is what the units name."""
    assert (UNITS / "sysusers.d/appia.conf").read_text().splitlines()[-1].split()[:2] == [
        "u",
        value_of(COMMON, "User"),
    ]
    made = [
        line.split() for line in (UNITS / "tmpfiles.d/appia.conf").read_text().splitlines() if line[0] == "d"
    ]
    assert {path: (mode, owner) for _, path, mode, owner, _ in made} == {
        "/etc/appia": ("0755", "root"),
        "/etc/appia/keys": ("0700", "appia"),
        "/etc/appia/secrets": ("0700", "root"),
        "/var/lib/appia": ("0750", "appia"),
    }


def megabytes(value: str) -> int:
    """MiB of a value of MemoryMax=, such as 900M or 25% of a machine with 4 GiB."""
    assert value[-1] in "M%", value
    return int(value[:-1]) if value[-1] == "M" else round(int(value[:-1]) / 100 * 4096)


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of docs/systemd.md, without its first two lines."""
    section = (PROJECT / "docs/systemd.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_bounds_is_what_the_units_say() -> None:
    """Each bound, and the sum for the machine that has most of them."""
    columns = ("MemoryHigh", "MemoryMax", "CPUWeight", "IOWeight", "OOMScoreAdjust")
    rows = {row[0]: row for row in rows_of("Bounds")}
    files = {"etcd": "etcd.service.d/appia.conf", **{f"{name}": f"{name}.service" for name in SERVICES}}
    for name, file in files.items():
        assert rows[name][2:] == [value_of(file, column) for column in columns], name
    counted = {"etcd": 1, "appia-ingester": 1, "appia-origin": 1, "appia-health": 1, "appia-rag@": 2}
    for column in (2, 3):
        total = sum(megabytes(rows[name][column]) * times for name, times in counted.items())
        assert rows["one machine with all and two replicas"][column] == f"{total}M"


def test_the_documentation_lists_every_file() -> None:
    """And its table names what each unit reads."""
    text = (PROJECT / "docs/systemd.md").read_text()
    for name in SERVICES:
        assert (
            value_of(f"{name}.service", "ConditionPathExists").replace(
                "%i", "SITE" if "mirror" in name else "N"
            )
            in text
        )
    for path in UNITS.iterdir():
        assert path.name.removesuffix(".service").rstrip("@") in text, path


def test_the_boot_tests_furnish_the_units_that_are_here() -> None:
    """A unit that is added is started by somebody's test."""
    assert {path.name.removesuffix(".service") for path in UNITS.glob("*.service")} == set(SERVICES)
    assert json.dumps(sorted(INSTANCES)) == json.dumps(
        sorted(name for name in SERVICES if name.endswith("@"))
    )
