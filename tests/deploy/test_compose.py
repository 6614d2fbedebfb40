"""docker-compose.yml and the Dockerfile: the files hold together, and the services would take their settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from services.common.settings import load_settings
from services.health.settings import HealthSettings
from services.ingester.settings import IngesterSettings
from services.origin.settings import OriginSettings
from services.rag.settings import RagSettings

if TYPE_CHECKING:
    from services.common.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
SERVICES: dict[str, type[ServiceSettings]] = {
    "ingester": IngesterSettings,
    "origin": OriginSettings,
    "rag-1": RagSettings,
    "rag-2": RagSettings,
    "health": HealthSettings,
}
ONCE = {"keys", "etcd-users", "appia"}
WRITERS = {"keys", "ingester", "health"}
SMALLEST_MACHINE_MB = 4096
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def kind_of(name: str) -> str:
    return name.partition("-")[0]


def compose(**given: str) -> dict[str, Any]:
    """The file as it is with these variables; anchors and defaults are resolved as Compose does."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda match: given.get(match[1], match[2]), text))
    return found


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def settings_of(name: str, service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """What the service would read: its file and the environment of its container."""
    for variable in [one for one in os.environ if one.startswith("APPIA_")]:
        monkeypatch.delenv(variable)
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    return load_settings(SERVICES[name], COMPOSE / Path(service["command"][-1]).name)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_takes_its_settings(
    name: str, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens at the address of its container, at the published port, and is looked at where it shows itself."""
    service = services[name]
    settings = settings_of(name, service, monkeypatch)
    values = settings.model_dump()
    assert service["command"][:2] == [f"appia-{kind_of(name)}", "--settings"]
    address = service["networks"]["appia"]["ipv4_address"]
    listens = values["v2"] if name == "ingester" else values["bind"]
    assert listens.startswith(f"tcp://{address}:")
    assert service["healthcheck"]["test"] == ["CMD", "appia-ready", values["observe"].rpartition(":")[2]]
    published = service.get("ports", [])
    port = listens.rpartition(":")[2]
    assert published == ([] if name == "health" else [f"127.0.0.1:{port}:{port}"])
    assert values["registry"] == "etcds://172.30.77.10:2379/appia/main"
    assert (values["server_key"], values["access"]) == (
        Path("/etc/appia/keys/server.secret"),
        Path("/etc/appia/keys/access.toml"),
    )
    assert values["name"] == name


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_reads_is_mounted_read_only(name: str, services: dict[str, Any]) -> None:
    """Its own keys, its settings, and the days; only who has to write may."""
    mounts = [volume.split(":") for volume in services[name]["volumes"]]
    modes = {target: mode[0] if mode else "rw" for _, target, *mode in mounts}
    assert modes.pop("/var/lib/appia") == ("rw" if name in WRITERS else "ro")
    assert set(modes.values()) == {"ro"}
    assert (
        next(source for source, target, *_ in mounts if target == "/etc/appia/keys")
        == f"keys-{kind_of(name)}"
    )
    assert "site" not in [source for source, *_ in mounts]


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    """Nobody special, nothing to write in the image, no capability, bounded memory, processes and logs."""
    for name, service in services.items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "noexec" in service["tmpfs"][0], name
        assert service["mem_limit"].endswith("m"), name
        assert service["pids_limit"] <= 256, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert ("healthcheck" in service) == (name not in ONCE), name
        assert "privileged" not in service, name


def test_memory_is_bounded_as_by_systemd(services: dict[str, Any]) -> None:
    """One measured figure, wherever a service runs; together they leave the smallest machine something."""
    for name in ("origin", "health"):
        unit = (ROOT / "deploy" / "systemd" / f"appia-{name}.service").read_text("utf-8")
        found = re.search(r"^MemoryMax=(\d+)M$", unit, re.MULTILINE)
        assert found is not None
        assert services[name]["mem_limit"] == f"{found[1]}m"
    running = [one for name, one in services.items() if name not in ONCE and "profiles" not in one]
    assert sum(int(one["mem_limit"].removesuffix("m")) for one in running) < SMALLEST_MACHINE_MB


def test_the_order_of_a_start_has_no_ring(services: dict[str, Any]) -> None:
    """Keys come first, users of etcd before the ingester, and what is waited for can come true."""
    for service in services.values():
        for other, wanted in service.get("depends_on", {}).items():
            once = wanted["condition"] == "service_completed_successfully"
            assert once == (other in ONCE), other
    order: list[str] = []
    while len(order) < len(services):
        free = [
            one
            for one in services
            if one not in order and set(services[one].get("depends_on", ())) <= set(order)
        ]
        assert free, f"a ring among {set(services) - set(order)}"
        order += free
    assert order.index("keys") < order.index("etcd") < order.index("etcd-users") < order.index("ingester")


def test_another_network_is_one_variable() -> None:
    """No address is written a second time."""
    text = yaml.safe_dump(compose(APPIA_NET="10.9.8"))
    assert "172.30" not in text
    assert "etcds://10.9.8.10:2379/appia/main" in text


def test_every_variable_has_its_line_in_the_example() -> None:
    """Also those that name images; what the example says is what holds without it."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    example = dict(
        line.split("=", 1)
        for line in (COMPOSE / "env.example").read_text("utf-8").splitlines()
        if re.match(r"\w+=", line)
    )
    defaults = dict(VARIABLE.findall(text))
    assert {name: value for name, value in example.items() if name != "COMPOSE_PROJECT_NAME"} == defaults


def test_health_expects_the_services_that_there_are(services: dict[str, Any]) -> None:
    """One that is taken away from the file is no longer missed."""
    expected = tomllib.loads((COMPOSE / "health.toml").read_text("utf-8"))["expect"]
    replicas = [f"rag/{name}" for name in services if name.startswith("rag-")]
    assert expected == ["ingester/ingester", *replicas]


@pytest.mark.parametrize("tool", ["docker-compose", "podman-compose"])
def test_compose_reads_the_file(tool: str) -> None:
    """Each of the programs that is here takes the file as it is."""
    found = shutil.which(tool, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{tool} is not installed")
    if tool == "podman-compose" and shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    done = subprocess.run(
        [found, "--file", str(ROOT / "docker-compose.yml"), "config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "appia-ingester" in done.stdout


def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    """Every warning is one that stands beside its line."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_let_through() -> None:
    """`.dockerignore` names what goes into an image, and no more than that."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    ]
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE)
        for source in [word for word in line.split() if not word.startswith("--")][:-1]
        if "$" not in source
    }
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).is_relative_to(one) for one in allowed), source
    assert not any(one.startswith((".git", ".venv", "tests", "docs", "samples")) for one in allowed)
