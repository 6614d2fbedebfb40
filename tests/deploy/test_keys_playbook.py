"""`keys.yml` runs here as an administrator runs it: keys of a node come into the vault, and are changed there."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deploy.controller import ANSIBLE, PROGRAMS, run_ansible

if TYPE_CHECKING:
    from pathlib import Path

APPIA = PROGRAMS / "appia"


class Controller:
    """A machine with an inventory, the password of its vault, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.inventory = folder / "site"
        shutil.copytree(ANSIBLE / "inventories/one-node", self.inventory)
        password = folder / "password"
        password.write_text("only a test\n")
        password.chmod(0o600)
        self._folder, self._password = folder, password

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One program of Ansible."""
        return run_ansible(self._folder, *words, ANSIBLE_VAULT_PASSWORD_FILE=str(self._password))

    def keys(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `keys.yml` with variables of the command line."""
        given = json.dumps({"appia_command": str(APPIA), **variables})
        return self.run("ansible-playbook", "-i", str(self.inventory), "keys.yml", "-e", given)

    def vault(self) -> dict[str, str]:
        """What is in the vault."""
        seen = self.run("ansible-vault", "view", str(self.inventory / "group_vars/all/vault.yml"))
        assert seen.returncode == 0, seen.stderr
        found: dict[str, str] = yaml.safe_load(seen.stdout)["appia_vault"]
        return found


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def ring(vault: dict[str, str]) -> Any:
    return json.loads(b64decode(vault["ingester/wire/ring.json"]))


def test_the_keys_of_a_node_come_into_the_vault_and_are_changed_there(
    controller: Controller, tmp_path: Path
) -> None:
    """All that is left of a site is a copy of /etc/appia/keys; the key of frames is changed, the old one ends."""
    node = tmp_path / "keys-of-the-node"
    subprocess.run([APPIA, "keys", "new", node], check=True, capture_output=True)
    first = json.loads((node / "wire/ring.json").read_text())["primary"]

    played = controller.keys(appia_take_keys=str(node), appia_change_key="frames")
    assert played.returncode == 0, played.stdout + played.stderr
    vault = controller.vault()
    second = ring(vault)["primary"]
    assert first != second
    for seed in (
        f"wire/{first}.seed",
        *(f"signing/{path.name}" for path in (node / "signing").glob("*.key")),
    ):
        assert b64decode(vault[f"ingester/{seed}"]) == (node / seed).read_bytes()
    assert f"ingester/wire/{second}.seed" in vault

    played = controller.keys(appia_change_key="retire", appia_key=str(first))
    assert played.returncode == 0, played.stdout + played.stderr
    after = controller.vault()
    assert (controller.inventory / "group_vars/all/vault.yml.before").exists()
    assert {**vault, **after} == vault
    assert set(vault) - set(after) == {f"ingester/wire/{first}.seed"}


def test_what_is_asked_wrong_changes_nothing(controller: Controller, tmp_path: Path) -> None:
    """A folder without keys, and a key that nobody knows: the reason is said, and no vault is made."""
    for variables, why in (
        ({"appia_take_keys": str(tmp_path)}, "lacks wire/ring.json and signing/ACTIVE"),
        ({"appia_change_key": "frame"}, "value of appia_change_key must be one of"),
    ):
        played = controller.keys(**variables)
        assert played.returncode != 0
        assert why in " ".join(played.stdout.split())
    assert not (controller.inventory / "group_vars/all/vault.yml").exists()
