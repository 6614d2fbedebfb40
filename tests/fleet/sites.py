"""Two sites on five machines, and all that an administrator writes down to have them installed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from fleet.analyst import Desk
from fleet.sensors import Intake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.machines import Machines

ANALYST = "alice"
SECRET_MODE = 0o400
QUICK_ALERTS = [
    {"name": "service-down", "for": "5s"},
    {"name": "etcd-down", "for": "5s"},
    {"name": "service-not-ready", "for": "20s"},
]
"""The rules that come with appia, sooner: whether they fire is what is tried here, and not how long they wait."""


@dataclass(frozen=True)
class Plan:
    """What one site consists of, by the names of machines and of places on the network.

    `numbers` are those of its replicas on each machine, and so their ports: two sites on one machine use others.
    `members` are machines with a member of etcd; a site without uses that of the site before it.
    """

    name: str
    ingester: str
    replicas: tuple[str, ...]
    members: tuple[str, ...]
    sensors: tuple[str, ...]
    numbers: tuple[int, ...] = (1,)
    mirror_port: int = 9604
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def machines(self) -> tuple[str, ...]:
        """Every machine that has a part of it."""
        return tuple(dict.fromkeys((self.ingester, *self.replicas, *self.members)))

    @property
    def replica_names(self) -> tuple[str, ...]:
        """The names under which its replicas register."""
        return tuple(f"{machine}-{self.name}{number}" for machine in self.replicas for number in self.numbers)

    def units(self, kind: str) -> tuple[str, ...]:
        """The units of its replicas (`rag`) or its mirror (`mirror`) on a machine of `replicas`."""
        if kind == "mirror":
            return (f"appia-mirror@{self.name}.service",)
        return tuple(f"appia-rag@{self.name}{number}.service" for number in self.numbers)


class Written:
    """The inventory of one site, in a folder, as an administrator has it."""

    def __init__(self, plan: Plan, folder: Path, machines: Machines, analysts: tuple[str, ...]) -> None:
        """`analysts` are the places that may ask."""
        self.plan, self.folder = plan, folder / plan.name
        self._machines, self._analysts = machines, analysts
        self._password = folder / "vault.password"
        self._root = folder

    @property
    def hosts(self) -> Path:
        """The inventory file."""
        return self.folder / "hosts.yml"

    @property
    def vault(self) -> Path:
        """The file of its secrets, encrypted."""
        return self.folder / "group_vars/all/vault.yml"

    @property
    def environment(self) -> dict[str, str]:
        """What playbooks need to open the vault."""
        return {"ANSIBLE_VAULT_PASSWORD_FILE": str(self._password)}

    def write(self, bundle: str, first: Plan | None = None) -> None:
        """Write it. `bundle` is a folder on the nodes; `first` is the site whose etcd this one uses, if it has none."""
        group_vars = self.folder / "group_vars/all"
        group_vars.mkdir(parents=True, exist_ok=True)
        if not self._password.exists():
            self._password.write_text(os.urandom(24).hex())
            self._password.chmod(SECRET_MODE)
        (group_vars / "site.yml").write_text(json.dumps(self._variables(bundle, first), indent=1))
        groups = {
            "ingester": [self.plan.ingester],
            "rag": self.plan.replicas,
            "health": [self.plan.ingester],
            "etcd": self.plan.members,
        }
        children: dict[str, Any] = {
            group: {"hosts": {key: {} for key in names}} for group, names in groups.items()
        }
        inventory = {"all": {"hosts": self._machines.inventory(self.plan.machines), "children": children}}
        self.hosts.write_text(json.dumps(inventory, indent=1))

    def _variables(self, bundle: str, first: Plan | None) -> dict[str, Any]:
        places = self._machines.network.places
        analysts = [places[name].address for name in self._analysts]
        return {
            "appia_site": self.plan.name,
            "appia_bundle_on_node": bundle,
            "appia_sensor_networks": [places[name].address for name in self.plan.sensors],
            "appia_analyst_networks": analysts,
            "appia_admin_networks": [self._machines.network.gateway],
            "appia_analysts": [ANALYST],
            "appia_replicas": [
                {"name": f"{self.plan.name}{number}", "number": number} for number in self.plan.numbers
            ],
            "appia_mirror_observe_port": self.plan.mirror_port,
            "appia_alerts": {"rule": QUICK_ALERTS},
            "appia_health_settings": {"interval_s": 3},
            "appia_command": str(Path(sys.executable).with_name("appia")),
            "appia_ansible_vault": str(Path(sys.executable).with_name("ansible-vault")),
            **(self._of_another(first) if first else {"appia_etcd_client_networks": self._everybody()}),
            **self.plan.settings,
        }

    def _of_another(self, first: Plan) -> dict[str, Any]:
        addresses = {name: self._machines[name].address for name in first.members}
        vault = self._root / first.name / "group_vars/all/vault.yml"
        return {"appia_etcd_hosts": addresses, "appia_etcd_site": first.name, "appia_etcd_vault": str(vault)}

    def _everybody(self) -> list[str]:
        return [machine.address for machine in self._machines]

    def secrets(self) -> dict[str, bytes]:
        """What is in the vault, by its path. Blocks for a second."""
        words = [str(Path(sys.executable).with_name("ansible-vault")), "view", str(self.vault)]
        environment = {**os.environ, **self.environment}
        said = subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout
        found = yaml.safe_load(said)["appia_vault"]
        return {name: base64.b64decode(content) for name, content in found.items()}

    def hand_out(self, folder: Path, secrets: Mapping[str, bytes], *parts: str) -> None:
        """Give somebody parts of the secrets: files whose path begins with one of `parts`, in a folder of his own."""
        for name, content in secrets.items():
            if name.startswith(parts):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_bytes(content)
                path.chmod(SECRET_MODE)


def desks(sites: Mapping[str, Written], folder: Path, members: tuple[str, ...]) -> dict[str, Desk]:
    """What the analyst gets of each site (docs/site.md): his key, and how to read the registry at `members`."""
    found = {}
    for name, written in sites.items():
        own = folder / name
        written.hand_out(own, written.secrets(), f"clients/{ANALYST}.secret", "reader/")
        registry = f"etcds://{','.join(f'{address}:2379' for address in members)}/appia/{name}"
        found[name] = Desk(registry, str(own / "reader"), str(own / f"clients/{ANALYST}.secret"))
    (folder / "desks.json").write_text(json.dumps({name: asdict(desk) for name, desk in found.items()}))
    return found


def intake(written: Written, folder: Path, address: str) -> Intake:
    """What a sensor of the site gets: the key ring, and where to send."""
    written.hand_out(folder, written.secrets(), "ingester/wire/")
    return Intake(f"tcp://{address}:5570", folder / "ingester")
