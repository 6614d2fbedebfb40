"""The Nomad jobs can be parsed, and what they say of ports, paths and settings is what the services take."""

from __future__ import annotations

import functools
import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hcl2
import pytest

from services.common.settings import load_settings
from services.common.site.wanted import ETCD_PORT
from services.health.settings import HealthSettings
from services.ingester.settings import IngesterSettings
from services.mirror.settings import MirrorSettings
from services.origin.settings import OriginSettings
from services.rag.settings import RagSettings

if TYPE_CHECKING:
    from services.common.settings import ServiceSettings

JOBS = sorted((Path(__file__).parents[2] / "deploy" / "nomad").glob("*.nomad.hcl"))
SETTINGS: dict[str, type[ServiceSettings]] = {
    "appia-health": HealthSettings,
    "appia-ingester": IngesterSettings,
    "appia-mirror": MirrorSettings,
    "appia-origin": OriginSettings,
    "appia-rag": RagSettings,
}
PORTS = {"intake": 5570, "control": 5572, "health": 5573, "origin": 5574}
"""docs/nomad.md; the metrics port of etcd is called health too."""
DYNAMIC = 23456
HEREDOC = re.compile(r'"?<<-TOML\n(.*?)\n\s*TOML"?', re.DOTALL)
NODE = "node-1"


def plain(value: Any) -> Any:
    """What the parser gives, without its quotes and marks; a list of one block is that block."""
    if isinstance(value, str):
        heredoc = HEREDOC.fullmatch(value)
        return textwrap.dedent(heredoc[1]) if heredoc else value.removeprefix('"').removesuffix('"')
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {plain(name): plain(one) for name, one in value.items() if name != "__is_block__"}
    return value


@functools.cache
def job_in(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job of a file, and the defaults of its variables."""
    with path.open() as file:
        found = plain(hcl2.load(file))
    variables = {name: one["default"] for each in found["variable"] for name, one in each.items()}
    (job,) = found["job"]
    return next(iter(job.values())), variables


def group_of(job: dict[str, Any]) -> dict[str, Any]:
    """The one group of a job; of etcd what each member is made by."""
    if "dynamic" in job:
        found: dict[str, Any] = job["dynamic"][0]["group"]["content"][0]
        return found
    (group,) = job["group"]
    return next(iter(group.values()))  # type: ignore[no-any-return]


def named(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Blocks by their labels."""
    return {name: block for each in blocks for name, block in each.items()}


def tasks_of(path: Path) -> dict[str, Any]:
    return named(group_of(job_in(path)[0])["task"])


TASKS = [(path, name) for path in JOBS for name in tasks_of(path)]
each_task = pytest.mark.parametrize(
    ("path", "name"), TASKS, ids=lambda one: one if isinstance(one, str) else one.name.partition(".")[0]
)


def settings_text(task: dict[str, Any], ports: dict[str, Any], variables: dict[str, Any]) -> str:
    """The settings file as Nomad writes it on a node at 10.0.0.11."""

    def of_environment(match: re.Match[str]) -> str:
        kind, _, label = match[1].removeprefix("NOMAD_").partition("_")
        number = str(ports.get(label, {}).get("static", DYNAMIC)) if label in ports else ""
        known = {"PORT": number, "ADDR": f"10.0.0.11:{number}", "SHORT": "0a1b2c3d", "node.unique.name": NODE}
        assert kind in known, match[0]
        assert number or kind not in {"PORT", "ADDR"}, f"{match[0]} names no port of the group"
        return known[kind]

    text = re.sub(r"\$\{var\.(\w+)\}", lambda match: str(variables[match[1]]), task["template"][0]["data"])
    return re.sub(r'\{\{ env "([\w.]+)" \}\}', of_environment, text)


def test_there_is_a_job_for_everything() -> None:
    """Each service of appia, and etcd."""
    commands = {tasks_of(path)[name]["config"][0]["command"] for path, name in TASKS}
    assert commands == {*SETTINGS, "appia", "etcd"}


@each_task
def test_a_service_takes_its_settings(
    path: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens at ports of its group, is looked at where it shows itself, and reads what is mounted."""
    job, variables = job_in(path)
    group = group_of(job)
    task, ports = named(group["task"])[name], named(group["network"][0]["port"])
    config = task["config"][0]
    if config["command"] not in SETTINGS:
        return
    for variable in [one for one in os.environ if one.startswith("APPIA_")]:
        monkeypatch.delenv(variable)
    file = tmp_path / "settings.toml"
    file.write_text(settings_text(task, ports, variables))
    values = load_settings(SETTINGS[config["command"]], file).model_dump()
    assert config["args"] == ["--settings", f"/{task['template'][0]['destination']}"]
    for label, number in PORTS.items():
        assert ports.get(label, {}).get("static", number) == number
    service = task["service"][0]
    observed = ports[service["port"]].get("static", DYNAMIC)
    assert (values["observe"], service["address"]) == (f"127.0.0.1:{observed}", "127.0.0.1")
    assert values["registry"] == "etcds://10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379/appia/main"
    mounts = [one["destination"] for one in task["volume_mount"]]
    for value in values.values():
        if isinstance(value, Path):
            assert any(value.is_relative_to(one) for one in mounts), value


@each_task
def test_every_task_is_confined(path: Path, name: str) -> None:
    """Nobody special, nothing to write in the image, no capability, bounded memory; asked before it is killed."""
    task = tasks_of(path)[name]
    config = task["config"][0]
    assert (task["driver"], task["user"]) == ("docker", "10001:10001")
    assert config["readonly_rootfs"] is True
    assert config["cap_drop"] == ["all"]
    assert config["security_opt"] == ["no-new-privileges"]
    assert "privileged" not in config
    if "lifecycle" in task:
        return
    resources = task["resources"][0]
    assert resources["memory"] <= resources["memory_max"] <= 1200
    assert task["kill_timeout"] in {"30s", "60s"}
    (check,) = task["service"][0]["check"]
    assert (check["type"], check["path"]) == ("http", "/health" if name == "etcd" else "/readyz")


@each_task
def test_only_who_writes_may(path: Path, name: str) -> None:
    """Keys are read, and the days too but for the ingester, a mirror and health."""
    group = group_of(job_in(path)[0])
    volumes = named(group["volume"])
    for mount in named(group["task"])[name]["volume_mount"]:
        read_only = mount.get("read_only", False)
        writes = mount["destination"] == "/var/lib/etcd" or (
            mount["destination"] == "/var/lib/appia" and name in {"models", "ingester", "mirror", "health"}
        )
        assert read_only is not writes, mount
        assert read_only or not volumes[mount["volume"]].get("read_only"), mount


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name.partition(".")[0])
def test_an_update_is_gated(path: Path) -> None:
    """One at a time, by the checks; replicas begin with one more, and what does not get ready is taken back."""
    job, _ = job_in(path)
    (update,) = job["update"]
    assert (update["max_parallel"], update["health_check"]) == (1, "checks")
    assert update.get("auto_revert", False) is (job["type"] == "service")
    assert update.get("canary", 0) == (1 if path.name.startswith("rag") else 0)
    assert update.get("auto_promote", False) is path.name.startswith("rag")
    statics = [one for one in named(group_of(job)["network"][0]["port"]).values() if "static" in one]
    assert bool(statics) is not path.name.startswith("rag"), "a port of its own for one replica more"


def test_members_of_etcd_know_each_other() -> None:
    """Over TLS both ways, at the port that the registry is looked for."""
    path = next(path for path in JOBS if path.name.startswith("etcd"))
    group = group_of(job_in(path)[0])
    assert named(group["network"][0]["port"])["client"]["static"] == ETCD_PORT
    said = dict(one.split("=", 1) for one in tasks_of(path)["etcd"]["config"][0]["args"] if "=" in one)
    flags = [one for one in tasks_of(path)["etcd"]["config"][0]["args"] if "=" not in one]
    assert {"--client-cert-auth", "--peer-client-cert-auth"} == set(flags)
    for name, value in said.items():
        if name.endswith("-urls") and "metrics" not in name:
            assert "http://" not in value, name
        if name.endswith("-file"):
            assert Path(value).parent == Path("/etc/appia/keys"), name


def test_a_wrong_job_would_be_found(tmp_path: Path) -> None:
    """The parser refuses what is no HCL."""
    wrong = tmp_path / "wrong.nomad.hcl"
    wrong.write_text(JOBS[0].read_text("utf-8").rstrip().removesuffix("}"))
    with pytest.raises(Exception, match="Unexpected"):
        job_in(wrong)
