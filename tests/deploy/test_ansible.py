"""The playbooks' own modules and filters do what they say, and what roles write is what services and schemas know."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import os
import pwd
import stat
import sys
import tomllib
from pathlib import Path
from types import BuiltinFunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from deploy.controller import ANSIBLE, run_ansible

from services.cli.running import read_running
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk

ROLES = sorted(path.parent.parent for path in ANSIBLE.glob("roles/*/meta/argument_specs.yml"))
INVENTORIES = sorted(path.parent for path in ANSIBLE.glob("inventories/*/hosts.yml"))


def load(path: str) -> ModuleType:
    """A module of the playbooks, which lie in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ANSIBLE / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    intern = sys.intern
    try:
        spec.loader.exec_module(module)
    finally:
        # Ansible's library replaces it for the whole process, and torch, in tests that follow, does not take that.
        sys.intern = intern
    return module


def test_the_modules_leave_the_interpreter_as_it_was() -> None:
    """Tests of other things share this process; torch refuses a `sys.intern` that is no builtin."""
    assert isinstance(sys.intern, BuiltinFunctionType)


filters = load("filter_plugins/appia.py")
files = load("library/appia_files.py")
releases = load("library/appia_release.py")
services = load("library/appia_services.py")


def mine(path: Path, **more: Any) -> dict[str, Any]:
    """A file or folder of the user who runs the tests."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    return {"path": str(path), "owner": user, "group": _group(), **more}


def _group() -> str:
    return files.grp.getgrgid(os.getegid()).gr_name


class RefusedError(Exception):
    """What fail_json of a module raises here."""


class Module:
    """As much of AnsibleModule as the modules use; runs no command but those that are answered."""

    def __init__(self, params: dict[str, Any], *, check_mode: bool = False) -> None:
        self.params, self.check_mode = params, check_mode
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.ran: list[str] = []

    def run_command(self, words: list[str]) -> tuple[int, str, str]:
        command = " ".join(words)
        self.ran.append(command)
        return next((said for start, said in self.answers.items() if command.startswith(start)), (0, "", ""))

    def fail_json(self, msg: str, **_: Any) -> None:
        raise RefusedError(msg)

    def exit_json(self, **_: Any) -> None:
        """Nothing: the test looks at what was done."""


def apply(params: dict[str, Any], *, check_mode: bool = False) -> list[str]:
    """Run the module `appia_files` in this process; gives what it changed."""
    module = Module({"folders": [], "files": [], "only": [], "absent": [], **params}, check_mode=check_mode)
    done: dict[str, Any] = {}
    module.exit_json = done.update  # type: ignore[method-assign]
    real = files.AnsibleModule
    files.AnsibleModule = lambda **_: module
    try:
        files.main()
    finally:
        files.AnsibleModule = real
    return list(done["paths"])


# ---- filters


def test_settings_come_back_from_toml_as_they_were() -> None:
    """Whatever the inventory says reaches the service: quotes, line ends, every control character, tables in tables."""
    awkward = "".join(map(chr, range(1, 0xA0))) + "ü\u2028😀\"'\\"
    values = {
        "a": awkward,
        "b": True,
        "c": 3,
        "d": 1.5,
        "e": [1, "x", {"y": [True]}],
        "f": {"g": {"h h": ""}},
        "i": {},
    }
    assert tomllib.loads(filters.to_toml({**values, "left out": None})) == values


def test_secrets_of_the_vault_become_files_of_a_node() -> None:
    """A file, a folder with what is below it; what the vault lacks is named, and the playbook that makes it."""
    vault = {"registry/ca.pem": "QQ==", "registry/sub/login": "Qg==", "server/n1.secret": "Qw=="}
    found = filters.secret_files(vault, {"registry/": "/x/r/", "server/n1.secret": "/x/server.secret"})
    assert {one["path"]: one["base64"] for one in found} == {
        "/x/r/ca.pem": "QQ==",
        "/x/r/sub/login": "Qg==",
        "/x/server.secret": "Qw==",
    }
    assert {one["mode"] for one in found} == {"0400"}
    with pytest.raises(
        ValueError, match=r"The vault of the site has no server/n2\.secret: run the playbook keys\.yml"
    ):
        filters.secret_files(vault, {"server/n2.secret": "/x"})


def test_a_vault_is_a_folder_and_back(tmp_path: Path) -> None:
    """What keys.yml reads after `appia keys site` is what it wrote before, byte by byte."""
    vault = {"a/b.secret": base64.b64encode(bytes(range(256))).decode(), "public/c": "QQ=="}
    user = pwd.getpwuid(os.geteuid()).pw_name
    apply({"files": filters.secret_tree(vault, str(tmp_path), user, _group())})
    assert filters.read_folder(str(tmp_path)) == vault
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a/b.secret").stat().st_mode) == 0o400


def test_a_gate_names_what_is_missing_and_what_is_not_ready() -> None:
    """A service that is not registered, one that does not answer, one that is not ready with its reason."""
    fleet = {
        "services": [
            {"kind": "rag", "name": "a", "answers": True, "ready": True, "why": ""},
            {"kind": "rag", "name": "b", "answers": False, "ready": None, "why": "did not answer"},
            {"kind": "rag", "name": "c", "answers": True, "ready": False, "why": ""},
        ]
    }
    assert filters.not_ready(["rag/a", "rag/b", "rag/c", "rag/d"], fleet) == [
        "rag/d is not registered",
        "rag/b is not ready (did not answer)",
        "rag/c is not ready (it does not say why)",
    ]


def test_the_newest_release_is_found_by_its_numbers() -> None:
    """10 is after 9, and a node without a release is not in the way."""
    assert filters.newest(["releases/0.9.1", "releases/0.10.0", "releases/0.10.0"]) == "releases/0.10.0"
    assert filters.newest([]) == ""


# ---- appia_files


def test_files_become_what_is_given_and_a_second_time_nothing_happens(tmp_path: Path) -> None:
    """Content, mode, folders that are missing, and strangers that go; in check mode nothing of it."""
    folder, secret = tmp_path / "secrets", tmp_path / "secrets/registry/login"
    wanted = {
        "folders": [mine(folder, mode="0700")],
        "files": [
            mine(secret, content="u:p\n", mode="0400"),
            mine(tmp_path / "open", content="", mode="0644"),
        ],
        "only": [str(folder)],
    }
    assert apply(wanted, check_mode=True) == [str(folder), str(secret), str(tmp_path / "open")]
    assert not folder.exists()
    apply(wanted)
    (folder / "registry/stranger").write_text("old")
    (folder / "older").mkdir()
    secret.chmod(0o444)
    assert apply(wanted) == [str(secret), str(folder / "older"), str(folder / "registry/stranger")]
    assert apply(wanted) == []
    assert (secret.read_text(), stat.S_IMODE(secret.stat().st_mode)) == ("u:p\n", 0o400)
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700


def test_folders_above_are_open_where_those_of_who_logged_in_are_not(tmp_path: Path) -> None:
    """An administrator with a umask of 077 makes folders that services can enter all the same."""
    before = os.umask(0o077)
    try:
        apply(
            {
                "folders": [mine(tmp_path / "above/folder")],
                "files": [mine(tmp_path / "over/it/file", content="")],
            }
        )
    finally:
        os.umask(before)
    for folder in ("above", "above/folder", "over", "over/it"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o755


def test_what_is_not_valid_changes_nothing(tmp_path: Path) -> None:
    """Not even the files before it; the sentence is that of the program, about the path where the file would be."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    refuse = f"{sys.executable} -c 'import sys; sys.exit(sys.argv[1] + \" is wrong\")' %s"
    params = {"files": [mine(first, content="a"), mine(second, content="b", validate=refuse)]}
    module = Module({})
    module.answers[sys.executable] = (2, "", "x is wrong")
    assert "is wrong" in files.Wanted.of(params["files"][1]).invalid(module)
    with pytest.raises(RefusedError, match=rf"^{second} is not valid, and nothing was changed: "):
        apply_refused(params)
    assert not first.exists()


def apply_refused(params: dict[str, Any]) -> None:
    """Run `appia_files` where every validation says no."""
    module = Module({"folders": [], "only": [], "absent": [], **params})
    module.answers[""] = (2, "", "no")
    real = files.AnsibleModule
    files.AnsibleModule = lambda **_: module
    try:
        files.main()
    finally:
        files.AnsibleModule = real


# ---- appia_services


def state(**facts: str) -> dict[str, str]:
    """What systemd says of a unit that runs since the machine began."""
    usual = {
        "ActiveState": "active",
        "SubState": "running",
        "UnitFileState": "enabled",
        "LoadState": "loaded",
    }
    return {
        **usual,
        "NeedDaemonReload": "no",
        "ExecMainStartTimestampMonotonic": "1",
        "NRestarts": "0",
        **facts,
    }


@pytest.mark.parametrize(
    ("facts", "new_file", "did"),
    [
        ({}, False, []),
        ({}, True, ["restarted x.service"]),
        ({"NeedDaemonReload": "yes"}, False, ["restarted x.service"]),
        (
            {"ActiveState": "inactive", "UnitFileState": "disabled"},
            False,
            ["enabled x.service", "started x.service"],
        ),
        ({"ActiveState": "activating", "SubState": "start"}, False, []),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, False, ["started x.service"]),
    ],
)
def test_a_service_is_begun_anew_when_what_it_reads_is_newer(
    tmp_path: Path, facts: dict[str, str], did: list[str], *, new_file: bool
) -> None:
    """And only then: no other task has to remember that it changed something."""
    settings = tmp_path / "x.toml"
    settings.touch()
    if not new_file:
        os.utime(settings, (0, 0))
    module = Module({})
    said = "".join(f"{key}={value}\n" for key, value in state(**facts).items())
    module.answers["systemctl show"] = (0, said, "")
    doing = services.Services(module, services.Systemd(module))
    doing.start({"unit": "x.service", "inputs": [str(settings), str(tmp_path / "not there")]})
    assert [one.partition(":")[0] for one in doing.did] == did
    assert any("restart x.service" in ran for ran in module.ran) == any("start" in one for one in did)


@pytest.mark.parametrize(
    ("unit", "active", "did"),
    [
        ("appia-rag@1.service", "inactive", ["started appia.target"]),
        ("appia-rag@1.service", "active", []),
        ("etcd.service", "inactive", []),
    ],
)
def test_services_of_appia_are_stopped_by_the_target_that_runs_with_them(
    unit: str, active: str, did: list[str]
) -> None:
    """A target that was never started stops nothing."""
    module = Module({})
    module.answers["systemctl show"] = (
        0,
        "".join(f"{key}={value}\n" for key, value in state(ActiveState=active).items()),
        "",
    )
    doing = services.Services(module, services.Systemd(module))
    doing.gather([{"unit": unit}])
    assert doing.did == did


# ---- appia_release


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A node in a folder: two releases, settings and an addition to a unit."""
    places = SimpleNamespace(
        root=tmp_path / "opt",
        settings=tmp_path / "etc",
        units=tmp_path / "units",
        command=tmp_path / "bin/appia",
    )
    for path in (places.settings, places.units / "appia-.service.d", places.command.parent):
        path.mkdir(parents=True)
    for version, unit in (("1", "appia-a.service"), ("2", "appia-b.service")):
        release = places.root / "releases" / version
        (release / "deploy/systemd/etcd.service.d").mkdir(parents=True)
        (release / "release.json").write_text("{}")
        (release / "deploy/systemd" / unit).write_text(version)
        (release / "deploy/systemd/appia.target").write_text(version)
        (release / "deploy/systemd/etcd.service.d/appia.conf").write_text(version)
    monkeypatch.setattr(releases, "ROOT", places.root)
    monkeypatch.setattr(releases, "SETTINGS", places.settings)
    monkeypatch.setattr(releases, "UNITS", places.units)
    monkeypatch.setattr(releases, "COMMAND", places.command)
    monkeypatch.setattr(releases, "has_user", lambda: True)
    monkeypatch.setattr(releases.os, "chown", lambda *_: None)
    return places


def use(node: SimpleNamespace, version: str) -> list[str]:
    doing = releases.Node(Module({"etcd": False}))
    doing.use(node.root / "releases" / version)
    return list(doing.did)


def test_a_release_and_its_units_come_into_use_and_the_one_before_comes_back(node: SimpleNamespace) -> None:
    """With its settings and additions as they were; what only the newer one had is gone, and etcd stays as it is."""
    use(node, "1")
    assert (node.root / "current").readlink() == Path("releases/1")
    assert use(node, "1") == []
    (node.settings / "rag-1.toml").write_text("old = 1\n")
    (node.units / "appia-.service.d/20-networks.conf").write_text("old")
    use(node, "2")
    assert (node.root / "previous").readlink() == Path("releases/1")
    assert sorted(path.name for path in node.units.iterdir()) == [
        "appia-.service.d",
        "appia-b.service",
        "appia.target",
        "multi-user.target.wants",
    ]
    (node.settings / "rag-1.toml").write_text("new = 1\n")
    (node.settings / "rag-2.toml").write_text("")
    (node.units / "appia-.service.d/20-networks.conf").write_text("new")
    back = releases.Node(Module({"etcd": False}))
    back.go_back(node.root / "releases/1")
    assert (node.root / "current").readlink() == Path("releases/1")
    assert not (node.root / "previous").is_symlink()
    assert {path.name: path.read_text() for path in node.settings.iterdir()} == {"rag-1.toml": "old = 1\n"}
    assert (node.units / "appia-.service.d/20-networks.conf").read_text() == "old"
    assert (node.units / "appia.target").read_text() == "1"
    assert not (node.units / "appia-b.service").exists()


def test_what_is_enabled_begins_with_the_machine_until_appia_is_taken_away(node: SimpleNamespace) -> None:
    """Services are wanted by appia.target, so that has to be wanted by what the machine begins with."""
    use(node, "1")
    wanted = node.units / "multi-user.target.wants/appia.target"
    assert wanted.is_symlink()
    assert wanted.resolve() == node.units / "appia.target"
    releases.Node(Module({"etcd": False})).leave()
    assert not os.path.lexists(wanted)


def test_the_way_back_leads_on_to_the_release_before_that(node: SimpleNamespace) -> None:
    """An upgrade that failed leaves what it found: the release in use, and the one before it."""
    (node.root / "releases/3").mkdir()
    (node.root / "releases/3/release.json").write_text("{}")
    for version in ("1", "2", "3"):
        use(node, version)
    releases.Node(Module({"etcd": False})).go_back(node.root / "releases/2")
    assert [(node.root / link).readlink().name for link in ("current", "previous")] == ["2", "1"]


def test_a_secret_that_comes_back_is_at_no_moment_for_others(
    node: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while it is written, nor by one who has what an earlier run left open."""
    secret, left = node.settings / "alerts.toml", node.settings / ".alerts.toml.new"
    left.write_text("left")
    left.chmod(0o644)
    modes = list[int]()
    monkeypatch.setattr(
        releases.os, "chown", lambda path, *_: modes.append(stat.S_IMODE(path.stat().st_mode))
    )
    monkeypatch.setattr(releases.os, "fsync", lambda file: modes.append(stat.S_IMODE(os.fstat(file).st_mode)))
    before = os.umask(0o022)
    try:
        with left.open() as reader:
            releases.replace(secret, b"secret", 0o640)
            assert reader.read() == "left"
    finally:
        os.umask(before)
    assert modes == [0o600, 0o640]  # as it is made, and as it is when it is on disk
    assert (secret.read_text(), stat.S_IMODE(secret.stat().st_mode)) == ("secret", 0o640)
    assert not left.exists()


def test_releases_that_nobody_needs_go(node: SimpleNamespace) -> None:
    """Neither the one in use nor the one before, and in check mode none."""
    for version in ("1", "2"):
        use(node, version)
    (node.root / "releases/0").mkdir()
    checking = releases.Node(Module({"etcd": False}, check_mode=True))
    checking.prune()
    assert (node.root / "releases/0").exists()
    releases.Node(Module({"etcd": False})).prune()
    assert sorted(path.name for path in (node.root / "releases").iterdir()) == ["1", "2"]


# ---- schema and examples


def options() -> dict[str, dict[str, Any]]:
    """Every variable of every role."""
    found: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text("utf-8"))
        found |= spec["argument_specs"]["main"]["options"]
    return found


def test_every_variable_has_a_default_and_a_description() -> None:
    """But for those that a playbook is given on its command line, or that keys.yml writes."""
    defaults: dict[str, Any] = {}
    for role in ROLES:
        path = role / "defaults/main.yml"
        defaults |= yaml.safe_load(path.read_text("utf-8")) if path.exists() else {}
    known = options()
    given = {name for name, option in known.items() if option["description"].startswith("For ")} | {
        "appia_vault"
    }
    assert set(defaults) == set(known) - given
    assert all(option["description"].endswith(".") for option in known.values())


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.name)
def test_examples_set_only_what_roles_know(inventory: Path) -> None:
    """And have the groups that the playbooks are about."""
    values = yaml.safe_load((inventory / "group_vars/all/site.yml").read_text("utf-8"))
    assert filters.unknown_names(list(values), str(ANSIBLE / "roles")) == []
    assert filters.unknown_names(["appia_sensor_network"], str(ANSIBLE / "roles")) == ["appia_sensor_network"]
    groups = yaml.safe_load((inventory / "hosts.yml").read_text("utf-8"))["all"]["children"]
    assert set(groups) == {"etcd", "ingester", "rag", "health"}


# ---- the roles, as far as they go without a node

SETTINGS = {
    "ingester_settings": ("services.ingester.settings", "IngesterSettings"),
    "ingester_origin_settings": ("services.origin.settings", "OriginSettings"),
    "rag_mirror_settings": ("services.mirror.settings", "MirrorSettings"),
    "health_settings": ("services.health.settings", "HealthSettings"),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the roles make of the example of three nodes: every variable with settings, on the node that it is for."""
    folder = tmp_path_factory.mktemp("play")
    book = [
        _show("node-1", "ingester", ["ingester_settings", "ingester_origin_settings", "ingester_endpoints"]),
        _show("node-1", "health", ["health_settings"]),
        _show("node-2", "rag", ["rag_mirror_settings", "rag_replicas"]),
    ]
    (folder / "templates").symlink_to(
        ANSIBLE / "roles/rag/templates"
    )  # outside of the role they are looked for here
    (folder / "show.yml").write_text(yaml.safe_dump(book))
    (folder / "vault.json").write_text(
        json.dumps({"appia_vault": _vault(), "common_bundle": {"version": "1"}})
    )
    run = run_ansible(
        folder,
        *("ansible-playbook", "-i", str(ANSIBLE / "inventories/three-nodes")),
        *("-e", f"@{folder / 'vault.json'}", str(folder / "show.yml")),
        ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal",
        ANSIBLE_CALLBACK_RESULT_FORMAT="json",
        SHOWN=str(folder),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("shown-*.json")}


def _show(host: str, role: str, names: list[str]) -> dict[str, Any]:
    """A play that writes variables of a role into files of this machine."""
    copies = [
        {
            "name": f"Show {name}",
            "ansible.builtin.copy": {
                "content": f"{{{{ {name} | to_json }}}}",
                "dest": f"{{{{ lookup('ansible.builtin.env', 'SHOWN') }}}}/shown-{name}.json",
                "mode": "0600",
            },
        }
        for name in names
    ]
    load_role = {
        "name": "Know the role",
        "ansible.builtin.include_role": {"name": role, "public": True, "apply": {"when": False}},
    }
    return {
        "hosts": host,
        "gather_facts": False,
        "connection": "local",
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [load_role, *copies],
    }


def _vault() -> dict[str, str]:
    """Every name that `appia keys site` gives a file for the example, with nothing in it."""
    names = ["registry/ca.pem", "ingester/wire/ring.json", "clients/health.secret", "clients/operator.secret"]
    names += [f"server/node-{number}.secret" for number in (1, 2, 3)]
    names += [f"clients/mirror-node-{number}.secret" for number in (2, 3)]
    return dict.fromkeys(names, "")


def _fields(where: str, name: str) -> set[str]:
    return set(getattr(importlib.import_module(where), name).model_fields)


@pytest.mark.parametrize("name", SETTINGS)
def test_roles_write_settings_that_services_have(rendered: dict[str, Any], name: str) -> None:
    """Files are credentials, or below /etc/appia and /var/lib/appia: nothing else is there for a service."""
    values = rendered[f"shown-{name}"]
    assert set(values) <= _fields(*SETTINGS[name])
    paths = [value for value in values.values() if isinstance(value, str) and value.startswith("/")]
    assert paths
    for path in paths:
        assert path.startswith(("/etc/appia/", "/var/lib/appia/main", "/run/credentials/appia-"))


def test_replicas_of_a_role_are_the_services_settings(rendered: dict[str, Any]) -> None:
    """One file each, which reads as settings of a replica, and says where clients reach it."""
    (replica,) = rendered["shown-rag_replicas"]
    values = tomllib.loads(replica["content"])
    assert set(values) <= _fields("services.rag.settings", "RagSettings")
    assert values["advertise"] == "tcp://10.0.0.12:5561"
    assert values["server_key"] == "/run/credentials/appia-rag@1.service/secrets_server.secret"
    assert [one["path"] for one in replica["secrets"]] == [
        "/etc/appia/secrets/rag-1/registry/ca.pem",
        "/etc/appia/secrets/rag-1/server.secret",
    ]


def test_commands_find_the_services_that_systemd_keeps(rendered: dict[str, Any], tmp_path: Path) -> None:
    """endpoints.json of the role is what `appia --state` reads."""
    names = StateNames(tmp_path)
    claim_layout(names, Disk())
    names.endpoints.write_text(json.dumps(rendered["shown-ingester_endpoints"]))
    running = read_running(tmp_path)
    assert running.ingester.control == "tcp://10.0.0.11:5572"
    assert running.registry == "etcds://10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379/appia/main"


def test_health_expects_every_service_of_the_site(rendered: dict[str, Any]) -> None:
    """By the names under which they register."""
    assert rendered["shown-health_settings"]["expect"] == [
        "ingester/ingester",
        "origin/origin",
        "mirror/node-2",
        "mirror/node-3",
        "rag/node-2-1",
        "rag/node-3-1",
    ]
